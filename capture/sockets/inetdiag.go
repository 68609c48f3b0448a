package sockets

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// row is a socket as the kernel lists it, with what decides whose it is.
type row struct {
	snapshot.Socket
	uid uint32
}

// tcpStates maps the kernel's numbers (include/net/tcp_states.h).
var tcpStates = [...]snapshot.TCPState{
	1: snapshot.Established, 2: snapshot.SynSent, 3: snapshot.SynRecv, 4: snapshot.FinWait1,
	5: snapshot.FinWait2, 6: snapshot.TimeWait, 7: snapshot.Close, 8: snapshot.CloseWait,
	9: snapshot.LastAck, 10: snapshot.Listen, 11: snapshot.Closing,
	12: snapshot.SynRecv, // TCP_NEW_SYN_RECV
	13: snapshot.Close,   // TCP_BOUND_INACTIVE
}

// stateListen is LISTEN as a bit of idiag_states.
const stateListen = 1 << 10

func stateOf(number uint8) (snapshot.TCPState, bool) {
	if int(number) >= len(tcpStates) || tcpStates[number] == "" {
		return "", false
	}
	return tcpStates[number], true
}

// timers maps idiag_timer, and the column "tr" of /proc/net/tcp.
var timers = [...]snapshot.Timer{
	snapshot.TimerNone, snapshot.TimerRetransmit, snapshot.TimerKeepalive, snapshot.TimerTimeWait, snapshot.TimerPersist,
}

// Attributes of an inet_diag message.
const (
	inetMemInfo   = 1
	inetInfo      = 2
	inetSKMemInfo = 7
	inetShutdown  = 8
)

// inetRequest builds struct inet_diag_req_v2 for all TCP sockets of a family
// in the states given as bits.
func inetRequest(family uint8, states uint32) []byte {
	const size = 56
	b := make([]byte, size)
	b[0], b[1] = family, unix.IPPROTO_TCP
	for _, attribute := range []uint{inetMemInfo, inetInfo, inetSKMemInfo, inetShutdown} {
		b[2] |= 1 << (attribute - 1)
	}
	binary.NativeEndian.PutUint32(b[4:], states)
	return b
}

// inetMessageBytes is the size of struct inet_diag_msg.
const inetMessageBytes = 72

// decodeInet reads struct inet_diag_msg and its attributes. ok is false for a
// row of another family or a state that this version does not know.
func decodeInet(b []byte) (r row, ok bool, err error) {
	if len(b) < inetMessageBytes {
		return r, false, &LengthError{What: "inet_diag message", Got: len(b), Want: inetMessageBytes}
	}
	var local, remote netip.Addr
	switch b[0] {
	case unix.AF_INET:
		r.Protocol = snapshot.TCP4
		local, remote = netip.AddrFrom4([4]byte(b[8:])), netip.AddrFrom4([4]byte(b[24:]))
	case unix.AF_INET6:
		r.Protocol = snapshot.TCP6
		local, remote = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	default:
		return r, false, nil
	}
	if r.State, ok = stateOf(b[1]); !ok {
		return r, false, nil
	}
	r.Local = endpoint(local, binary.BigEndian.Uint16(b[4:]))
	r.Remote = remoteEndpoint(remote, binary.BigEndian.Uint16(b[6:]))
	cookie := [2]uint32{binary.NativeEndian.Uint32(b[44:]), binary.NativeEndian.Uint32(b[48:])}
	r.Cookie = uint64(cookie[1])<<32 | uint64(cookie[0])
	if r.Cookie == 1<<64-1 { // INET_DIAG_NOCOOKIE
		r.Cookie = 0
	}
	addTimer(&r.Socket, b[2], float64(overdue(binary.NativeEndian.Uint32(b[52:])))/1e3)
	r.ReceiveQueueBytes = snapshot.Known(int64(binary.NativeEndian.Uint32(b[56:])))
	r.SendQueueBytes = snapshot.Known(int64(binary.NativeEndian.Uint32(b[60:])))
	r.uid = binary.NativeEndian.Uint32(b[64:])
	r.Inode = uint64(binary.NativeEndian.Uint32(b[68:]))
	if r.State == snapshot.SynRecv {
		r.Retransmits = snapshot.Known(int64(b[3]))
	}
	err = attributes(b[inetMessageBytes:], func(kind uint16, value []byte) {
		switch kind {
		case inetInfo:
			addInfo(&r.Socket, value)
		case inetSKMemInfo:
			addKernelMemory(&r.Socket, value)
		case inetMemInfo:
			if !r.KernelReceiveBytes.IsKnown() {
				addOldKernelMemory(&r.Socket, value)
			}
		case inetShutdown:
			if len(value) > 0 {
				r.Shutdown = snapshot.Known(int64(value[0]))
			}
		}
	})
	return r, true, err
}

// addTimer sets the pending timer; one that the kernel gives no known number is
// left unknown.
func addTimer(s *snapshot.Socket, number uint8, seconds float64) {
	if int(number) >= len(timers) {
		return
	}
	s.Timer = timers[number]
	if s.Timer != snapshot.TimerNone {
		s.TimerSeconds = snapshot.Known(seconds)
	}
}

// overdue makes 0 of the time left of a timer that should have fired: older
// kernels subtract without a sign.
func overdue(left uint32) uint32 {
	if left > 1<<31 {
		return 0
	}
	return left
}

// addKernelMemory reads the words of INET_DIAG_SKMEMINFO and UDIAG's MEMINFO:
// SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_WMEM_QUEUED.
func addKernelMemory(s *snapshot.Socket, words []byte) {
	if n, ok := word32(words, 0); ok {
		s.KernelReceiveBytes = snapshot.Known(int64(n))
	}
	if n, ok := word32(words, 5*4); ok {
		s.KernelSendBytes = snapshot.Known(int64(n))
	}
}

// addOldKernelMemory reads struct inet_diag_meminfo, for kernels before 3.6.
func addOldKernelMemory(s *snapshot.Socket, words []byte) {
	received, ok := word32(words, 0)
	sent, ok2 := word32(words, 4)
	if ok && ok2 {
		s.KernelReceiveBytes, s.KernelSendBytes = snapshot.Known(int64(received)), snapshot.Known(int64(sent))
	}
}
