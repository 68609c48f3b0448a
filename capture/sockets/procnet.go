package sockets

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"

	"github.com/leakscope/leakscope/snapshot"
)

// SyntaxError says that a line of /proc/PID/net does not have the form it
// should have.
type SyntaxError struct {
	Line int // from 1
	Want string
	Got  string // the start of what was there instead
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d: want %s, got %q", e.Line, e.Want, e.Got)
}

func syntaxError(line int, want string, got []byte) error {
	const enough = 64
	return &SyntaxError{Line: line, Want: want, Got: string(got[:min(len(got), enough)])}
}

// readProc adds the rows of one table from /proc/PID/net, which needs no entry
// into the namespace. It has no ages, no window, no kernel memory.
func readProc(proc string, pid int, p snapshot.Protocol, add func(row)) error {
	name := map[snapshot.Protocol]string{snapshot.TCP4: "tcp", snapshot.TCP6: "tcp6", snapshot.Unix: "unix"}[p]
	f, err := os.Open(fmt.Sprintf("%s/%d/net/%s", proc, pid, name))
	if err == nil {
		defer func() { _ = f.Close() }()
		if p == snapshot.Unix {
			err = parseProcUnix(f, add)
		} else {
			err = parseProcTCP(f, p, add)
		}
	}
	if err != nil {
		return fmt.Errorf("/proc/%d/net/%s: %w", pid, name, bare(err))
	}
	return nil
}

// lines calls visit for each line after the heading.
func lines(r io.Reader, visit func(line int, row []byte) error) error {
	b := bufio.NewReaderSize(r, 16<<10)
	for line := 1; ; line++ {
		text, err := b.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return syntaxError(line, "a line of at most 16 KiB", text)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if text = bytes.TrimSpace(text); line > 1 && len(text) > 0 {
			if err := visit(line, text); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// parseProcTCP reads /proc/net/tcp or tcp6: "sl local remote st tx:rx tr:when
// retransmits uid timeout inode …"; numbers are hexadecimal up to the
// retransmits and decimal after them.
func parseProcTCP(r io.Reader, p snapshot.Protocol, add func(row)) error {
	return lines(r, func(line int, text []byte) error {
		fields := bytes.Fields(text)
		if len(fields) < 10 {
			return syntaxError(line, "10 columns", text)
		}
		s := row{Socket: snapshot.Socket{Protocol: p}}
		local, localPort, ok := procAddress(fields[1], p)
		remote, remotePort, ok2 := procAddress(fields[2], p)
		state, err := strconv.ParseUint(string(fields[3]), 16, 8)
		if !ok || !ok2 || err != nil {
			return syntaxError(line, "addresses and a state", text)
		}
		var known bool
		if s.State, known = stateOf(uint8(state)); !known {
			return nil
		}
		sent, received, ok := hexPair(fields[4])
		timer, left, ok2 := hexPair(fields[5])
		retries, err := strconv.ParseUint(string(fields[6]), 16, 32)
		if !ok || !ok2 || err != nil {
			return syntaxError(line, "queues, a timer and retransmits", text)
		}
		uid, err := strconv.ParseUint(string(fields[7]), 10, 32)
		probes, err2 := strconv.ParseUint(string(fields[8]), 10, 32)
		inode, err3 := strconv.ParseUint(string(fields[9]), 10, 64)
		if err := errors.Join(err, err2, err3); err != nil {
			return syntaxError(line, "uid, timeout and inode", text)
		}
		s.Local, s.Remote = endpoint(local, localPort), remoteEndpoint(remote, remotePort)
		s.uid, s.Inode = uint32(uid), inode
		s.ReceiveQueueBytes = snapshot.Known(int64(received))
		if s.State != snapshot.Listen { // no backlog limit here
			s.SendQueueBytes = snapshot.Known(int64(sent))
		}
		const ticksPerSecond = 100 // USER_HZ
		addTimer(&s.Socket, uint8(min(timer, 255)), float64(overdue(left))/ticksPerSecond)
		switch s.State {
		case snapshot.Listen, snapshot.TimeWait, snapshot.Close:
		case snapshot.SynRecv:
			s.Retransmits = snapshot.Known(int64(retries))
		default:
			s.Retransmits, s.Probes = snapshot.Known(int64(retries)), snapshot.Known(int64(probes))
		}
		add(s)
		return nil
	})
}

func hexPair(field []byte) (a, b uint32, ok bool) {
	left, right, ok := bytes.Cut(field, []byte(":"))
	x, err := strconv.ParseUint(string(left), 16, 32)
	y, err2 := strconv.ParseUint(string(right), 16, 32)
	return uint32(x), uint32(y), ok && err == nil && err2 == nil
}

// procAddress reads "0100007F:1F90": the address as words in host order, the
// port as a number.
func procAddress(field []byte, p snapshot.Protocol) (netip.Addr, uint16, bool) {
	digits, portDigits, ok := bytes.Cut(field, []byte(":"))
	want := 8
	if p == snapshot.TCP6 {
		want = 32
	}
	if !ok || len(digits) != want {
		return netip.Addr{}, 0, false
	}
	var raw [16]byte
	for i := 0; i < want; i += 8 {
		word, err := strconv.ParseUint(string(digits[i:i+8]), 16, 32)
		if err != nil {
			return netip.Addr{}, 0, false
		}
		binary.NativeEndian.PutUint32(raw[i/2:], uint32(word))
	}
	port, err := strconv.ParseUint(string(portDigits), 16, 16)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	if p == snapshot.TCP6 {
		return netip.AddrFrom16(raw), uint16(port), true
	}
	return netip.AddrFrom4([4]byte(raw[:])), uint16(port), true
}

// parseProcUnix reads /proc/net/unix: "num refs protocol flags type st inode
// [path]". It has no queues and no uid, and shows a connected datagram socket
// as one that is not connected.
func parseProcUnix(r io.Reader, add func(row)) error {
	return lines(r, func(line int, text []byte) error {
		fields := bytes.Fields(text)
		if len(fields) < 7 {
			return syntaxError(line, "7 columns", text)
		}
		flags, err := strconv.ParseUint(string(fields[3]), 16, 32)
		state, err2 := strconv.ParseUint(string(fields[5]), 16, 8)
		inode, err3 := strconv.ParseUint(string(fields[6]), 10, 64)
		if err := errors.Join(err, err2, err3); err != nil {
			return syntaxError(line, "flags, state and inode", text)
		}
		const accepts = 1 << 16 // __SO_ACCEPTCON
		s := row{uid: noUID, Socket: snapshot.Socket{Protocol: snapshot.Unix, Inode: inode}}
		switch {
		case flags&accepts != 0:
			s.State = snapshot.Listen
		case state == 3: // SS_CONNECTED
			s.State = snapshot.Established
		case state == 2: // SS_CONNECTING
			s.State = snapshot.SynSent
		default:
			s.State = snapshot.Close
		}
		add(s)
		return nil
	})
}
