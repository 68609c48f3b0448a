package sockets

import (
	"math"

	"github.com/leakscope/leakscope/snapshot"
)

// Offsets in struct tcp_info (include/uapi/linux/tcp.h). The kernel only ever
// appends to it, and sends as much as it has.
const (
	infoRetransmits   = 2   // u8, unanswered retransmissions
	infoProbes        = 3   // u8, unanswered probes of a closed window or of keepalive
	infoBackoff       = 4   // u8
	infoLastSend      = 44  // u32, ms
	infoLastReceive   = 52  // u32, ms
	infoLastAck       = 56  // u32, ms
	infoRTT           = 68  // u32, µs; 0: not measured
	infoBytesAcked    = 120 // u64, kernel 4.1
	infoBytesReceived = 128 // u64, kernel 4.1
	infoNotSent       = 144 // u32, kernel 4.6
	infoPeerWindow    = 228 // u32, kernel 5.4
)

// addInfo takes what struct tcp_info tells of a connection. Sockets without
// one (listening, not yet or no longer connected) have no meaning for it.
func addInfo(s *snapshot.Socket, info []byte) {
	switch s.State {
	case snapshot.Listen, snapshot.Close, snapshot.SynSent, snapshot.SynRecv, snapshot.TimeWait:
		return
	}
	byteAt := func(offset int) snapshot.Optional[int64] {
		if len(info) <= offset {
			return snapshot.Optional[int64]{}
		}
		return snapshot.Known(int64(info[offset]))
	}
	bytes32 := func(offset int) snapshot.Optional[int64] {
		n, ok := word32(info, offset)
		if !ok {
			return snapshot.Optional[int64]{}
		}
		return snapshot.Known(int64(n))
	}
	bytes64 := func(offset int) snapshot.Optional[int64] {
		n, ok := word64(info, offset)
		if !ok || n > math.MaxInt64 {
			return snapshot.Optional[int64]{}
		}
		return snapshot.Known(int64(n))
	}
	age := func(offset int) snapshot.Optional[float64] {
		ms, ok := word32(info, offset)
		if !ok {
			return snapshot.Optional[float64]{}
		}
		return snapshot.Known(float64(ms) / 1e3)
	}
	s.Retransmits, s.Probes, s.Backoff = byteAt(infoRetransmits), byteAt(infoProbes), byteAt(infoBackoff)
	s.LastSendSeconds, s.LastReceiveSeconds, s.LastAckSeconds = age(infoLastSend), age(infoLastReceive), age(infoLastAck)
	if us, ok := word32(info, infoRTT); ok && us > 0 {
		s.RTTSeconds = snapshot.Known(float64(us) / 1e6)
	}
	s.BytesAcked, s.BytesReceived = bytes64(infoBytesAcked), bytes64(infoBytesReceived)
	s.NotSentBytes, s.PeerWindowBytes = bytes32(infoNotSent), bytes32(infoPeerWindow)
}
