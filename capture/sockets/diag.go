package sockets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// diagSeconds bounds one reading; 855 sockets take 2.5 ms.
const diagSeconds = 20

// dial opens a sock_diag socket in the network namespace of a process. The
// socket is made on an OS thread of its own that enters the namespace and comes
// back; when it cannot come back the thread ends with it. A socket stays in the
// namespace it was made in.
func dial(ctx context.Context, proc string, pid int) (*netlink.Conn, error) {
	config := &netlink.Config{}
	same, err := sameNamespace(proc, pid)
	if err != nil {
		return nil, err
	}
	if !same {
		ns, err := os.Open(namespacePath(proc, pid))
		if err != nil {
			return nil, fmt.Errorf("network namespace of the target: %w", bare(err))
		}
		defer func() { _ = ns.Close() }()
		config.NetNS = int(ns.Fd())
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, config)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	deadline := time.Now().Add(diagSeconds * time.Second)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(fmt.Errorf("sock_diag: %w", err), conn.Close())
	}
	return conn, nil
}

func namespacePath(proc string, pid int) string { return fmt.Sprintf("%s/%d/ns/net", proc, pid) }

// sameNamespace reports whether a process shares our network namespace. The
// namespace file needs ptrace-read permission; without it the table of /proc
// tells, which is one file in each namespace.
func sameNamespace(proc string, pid int) (bool, error) {
	ours, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false, fmt.Errorf("our network namespace: %w", bare(err))
	}
	theirs, err := os.Stat(namespacePath(proc, pid))
	if err == nil {
		return os.SameFile(ours, theirs), nil
	}
	denied := fmt.Errorf("network namespace of the target: %w", bare(err))
	if !errors.Is(err, os.ErrPermission) {
		return false, denied
	}
	ours, err = os.Stat(proc + "/thread-self/net/tcp")
	if err != nil {
		return false, denied
	}
	theirs, err = os.Stat(fmt.Sprintf("%s/%d/net/tcp", proc, pid))
	if err != nil || !os.SameFile(ours, theirs) {
		return false, denied
	}
	return true, nil
}

// bare takes the path off an error, which names a file of our own machine.
func bare(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// diagRequests are the requests for one table, in order: listeners first, so
// that the rows of their queues are known for theirs when they come.
func diagRequests(p snapshot.Protocol) [][]byte {
	switch p {
	case snapshot.TCP4:
		return [][]byte{inetRequest(unix.AF_INET, stateListen), inetRequest(unix.AF_INET, ^uint32(stateListen))}
	case snapshot.TCP6:
		return [][]byte{inetRequest(unix.AF_INET6, stateListen), inetRequest(unix.AF_INET6, ^uint32(stateListen))}
	case snapshot.Unix:
		return [][]byte{unixRequest()}
	}
	return nil
}

// readDiag adds the rows of one table. damaged counts rows that could not be
// decoded whole.
func readDiag(ctx context.Context, conn *netlink.Conn, p snapshot.Protocol, add func(row)) (damaged int, err error) {
	decode := decodeInet
	if p == snapshot.Unix {
		decode = decodeUnix
	}
	for _, request := range diagRequests(p) {
		const sockDiagByFamily = 20
		sent, err := conn.Send(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   request,
		})
		if err != nil {
			return damaged, fmt.Errorf("sock_diag: %w", err)
		}
		for m, err := range conn.ReceiveIter() {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return damaged, fmt.Errorf("sock_diag: %w", err)
			}
			if m.Header.Sequence != sent.Header.Sequence || m.Header.Type != sockDiagByFamily {
				continue
			}
			r, ok, err := decode(m.Data)
			if err != nil {
				damaged++
			}
			if ok && r.Protocol == p {
				add(r)
			}
		}
	}
	return damaged, nil
}
