package sockets

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// The tests read a real process: the test binary starts itself again, and that
// target makes a socket in every state it can. Sockets are made by system calls,
// because package net has a life of its own (keepalive, polling).

const (
	roleVariable = "LEAKSCOPE_SOCKETS_TEST_ROLE"
	// quickExit takes a second's sleep off every process under the race detector.
	quickExit = "GORACE=atexit_sleep_ms=0"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "target":
		if err := runTarget(os.Stdin, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "reader":
		if err := runReader(os.Stdin, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// made is one socket of the target, and what it says of itself.
type made struct {
	Name  string
	FD    int
	Inode uint64
	State snapshot.TCPState
	Info  *unix.TCPInfo // nil for unix sockets
}

// runTarget makes the sockets, then answers each line with what they are now,
// until its input ends.
func runTarget(in io.Reader, out io.Writer) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	all, err := makeSockets()
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		for i := range all {
			if all[i].Info == nil {
				continue
			}
			if all[i].Info, err = unix.GetsockoptTCPInfo(all[i].FD, unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
				return fmt.Errorf("%s: %w", all[i].Name, err)
			}
		}
		if err := encoder.Encode(all); err != nil {
			return err
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	if request.Uint16()&unix.IFF_UP != 0 {
		return nil
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// maker makes sockets and stops at the first error.
type maker struct {
	all []made
	err error
}

func (m *maker) try(err error) {
	if m.err == nil && err != nil {
		m.err = err
	}
}

func (m *maker) note(name string, fd int, state snapshot.TCPState) {
	var st unix.Stat_t
	m.try(unix.Fstat(fd, &st))
	s := made{Name: name, FD: fd, Inode: st.Ino, State: state}
	if domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); domain != unix.AF_UNIX {
		s.Info = &unix.TCPInfo{}
	}
	m.all = append(m.all, s)
}

func (m *maker) socket(family, kind int) int {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	m.try(err)
	return fd
}

func (m *maker) listen(at unix.Sockaddr, backlog int) (fd int, bound unix.Sockaddr) {
	family := unix.AF_INET
	if _, ok := at.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd = m.socket(family, unix.SOCK_STREAM)
	m.try(unix.Bind(fd, at))
	m.try(unix.Listen(fd, backlog))
	bound, err := unix.Getsockname(fd)
	m.try(err)
	return fd, bound
}

func (m *maker) connect(to unix.Sockaddr) int {
	family := unix.AF_INET
	if _, ok := to.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd := m.socket(family, unix.SOCK_STREAM)
	m.try(unix.Connect(fd, to))
	return fd
}

func (m *maker) accept(fd int) int {
	accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	m.try(err)
	return accepted
}

func (m *maker) write(fd int, size int) {
	_, err := unix.Write(fd, make([]byte, size))
	m.try(err)
}

// queued waits until a socket has bytes to read, so that what was sent on the
// other side is known to have arrived.
func (m *maker) queued(fd int) {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	m.try(err)
}

func makeSockets() ([]made, error) {
	m := &maker{}
	v4 := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	server, at := m.listen(v4, 16)
	if m.err != nil {
		return nil, m.err
	}
	pair := func() (client, accepted int) {
		client = m.connect(at)
		return client, m.accept(server)
	}
	m.note("listener", server, snapshot.Listen)

	client, accepted := pair()
	m.write(client, 1000)
	m.queued(accepted)
	m.note("established client", client, snapshot.Established)
	m.note("established server, 1000 bytes unread", accepted, snapshot.Established)

	client, accepted = pair()
	m.try(unix.SetsockoptInt(client, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	m.note("keepalive client", client, snapshot.Established)
	m.note("keepalive server", accepted, snapshot.Established)

	client, accepted = pair()
	m.write(client, 100)
	m.try(unix.Close(client))
	m.queued(accepted)
	m.note("close-wait, unread", accepted, snapshot.CloseWait)

	client, accepted = pair()
	m.try(unix.Shutdown(client, unix.SHUT_WR))
	m.queued(accepted)
	_, err := unix.Read(accepted, make([]byte, 10))
	m.try(err)
	m.note("fin-wait-2 with descriptor", client, snapshot.FinWait2)
	m.note("close-wait, EOF read", accepted, snapshot.CloseWait)

	client, accepted = pair() // TIME_WAIT on the listener's port
	m.try(unix.Close(accepted))
	m.queued(client)
	m.try(unix.Close(client))

	client, accepted = pair() // the peer never reads
	m.try(unix.SetNonblock(client, true))
	for m.err == nil {
		if _, err := unix.Write(client, make([]byte, 64<<10)); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			m.try(err)
		}
	}
	m.note("persist", client, snapshot.Established)
	m.note("full receive queue", accepted, snapshot.Established)

	busy, busyAt := m.listen(v4, 0) // room for one
	m.note("listener with a full queue", busy, snapshot.Listen)
	m.note("client in the queue", m.connect(busyAt), snapshot.Established)
	late := m.socket(unix.AF_INET, unix.SOCK_STREAM)
	m.try(unix.SetNonblock(late, true))
	if err := unix.Connect(late, busyAt); !errors.Is(err, unix.EINPROGRESS) {
		m.try(fmt.Errorf("connect to a full queue: %w", err))
	}
	m.note("syn-sent", late, snapshot.SynSent)

	both, bothAt := m.listen(&unix.SockaddrInet6{}, 16)
	m.note("dual-stack listener", both, snapshot.Listen)
	if sa, ok := bothAt.(*unix.SockaddrInet6); ok {
		mapped := m.connect(&unix.SockaddrInet4{Addr: v4.Addr, Port: sa.Port})
		m.note("v4 client of a v6 listener", mapped, snapshot.Established)
		m.note("v4-mapped server", m.accept(both), snapshot.Established)
		loopback := &unix.SockaddrInet6{Port: sa.Port, Addr: [16]byte{15: 1}}
		m.note("v6 client", m.connect(loopback), snapshot.Established)
		m.note("v6 server", m.accept(both), snapshot.Established)
	}

	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	m.try(err)
	m.write(ends[0], 300)
	m.note("unix sender", ends[0], snapshot.Established)
	m.note("unix receiver", ends[1], snapshot.Established)
	abstract := &unix.SockaddrUnix{Name: "@leakscope-test-" + strconv.Itoa(os.Getpid())}
	local := m.socket(unix.AF_UNIX, unix.SOCK_STREAM)
	m.try(unix.Bind(local, abstract))
	m.try(unix.Listen(local, 5))
	m.note("unix listener", local, snapshot.Listen)
	caller := m.socket(unix.AF_UNIX, unix.SOCK_STREAM)
	m.try(unix.Connect(caller, abstract))
	m.note("unix client in the queue", caller, snapshot.Established)
	m.note("unix datagram", m.socket(unix.AF_UNIX, unix.SOCK_DGRAM), snapshot.Close)
	return m.all, m.err
}

// target is a running target process.
type target struct {
	pid   int
	stdin io.WriteCloser
	out   *json.Decoder
}

// startTarget starts the target, in a network namespace of its own if asked.
func startTarget(t *testing.T, ownNamespace bool) *target {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVariable+"=target", quickExit)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if ownNamespace {
		if os.Geteuid() != 0 {
			t.Skip("making a network namespace needs root")
		}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("target: %v", err)
		}
	})
	return &target{pid: cmd.Process.Pid, stdin: stdin, out: json.NewDecoder(stdout)}
}

// ask returns what the target's sockets say of themselves now.
func (p *target) ask(t *testing.T) []made {
	t.Helper()
	if _, err := io.WriteString(p.stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	var all []made
	if err := p.out.Decode(&all); err != nil {
		t.Fatalf("answer of the target: %v", err)
	}
	return all
}

// request is what a caller knows after reading the descriptors.
func request(pid int, all []made) Request {
	r := Request{PID: pid, FDs: []snapshot.FD{}, UID: snapshot.Known(os.Geteuid())}
	for _, s := range all {
		r.FDs = append(r.FDs, snapshot.FD{Number: s.FD, Kind: "socket", Inode: s.Inode})
	}
	return r
}

// settled reads until the target is at rest: what needs a moment (TIME_WAIT and
// FIN_WAIT2 after an ACK, the persist timer after the first refusal) is there.
func settled(t *testing.T, r Request, all []made, read func(context.Context, Request) Outcome) Outcome {
	t.Helper()
	states := map[uint64]snapshot.TCPState{}
	for _, s := range all {
		states[s.Inode] = s.State
	}
	persist := find(all, "persist").Inode
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		o := read(t.Context(), r)
		timeWait, waiting := false, 0
		for _, s := range o.Sockets {
			timeWait = timeWait || s.State == snapshot.TimeWait
			if want, ok := states[s.Inode]; ok && (s.State != want || (s.Inode == persist && s.Timer != snapshot.TimerPersist)) {
				waiting++
			}
		}
		if timeWait && waiting == 0 {
			return o
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s: TIME_WAIT seen is %v, %d sockets not in their state: %+v", timeWait, waiting, o)
		}
	}
}

func find(all []made, name string) made {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	panic("no socket " + strconv.Quote(name))
}

// runReader reads a target as whatever user it runs as.
func runReader(in io.Reader, out io.Writer) error {
	var r Request
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(Read(context.Background(), r))
}

// readAsNobody runs Read in a process without rights.
func readAsNobody(t *testing.T, r Request) Outcome {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running a reader as another user needs root")
	}
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = []string{roleVariable + "=reader", quickExit}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = "/"
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(text)), &stderr
	answer, err := cmd.Output()
	if err != nil {
		t.Fatalf("reader: %v: %s", err, stderr.String())
	}
	var o Outcome
	if err := json.Unmarshal(answer, &o); err != nil {
		t.Fatalf("answer of the reader: %v", err)
	}
	return o
}

// readWithoutDiag stands for a kernel without sock_diag.
func readWithoutDiag(ctx context.Context, r Request) Outcome {
	return read(ctx, r, func(context.Context, string, int) (*netlink.Conn, error) {
		return nil, unix.EPROTONOSUPPORT
	})
}
