package analyze

import (
	"fmt"

	"github.com/leakscope/leakscope/snapshot"
)

// judgement is a lifecycle state, and why.
type judgement struct {
	state      State
	reason     string
	confidence Confidence
}

const (
	// deadRetries is how many unanswered retries tell a vanished peer from a
	// slow one: a live peer answers window probes, so its count stays at 0.
	deadRetries = 4
	// deadProbes is the same for keepalive, which asks rarely.
	deadProbes = 2
	// deadAckSeconds keeps a short burst of loss from looking like death.
	deadAckSeconds = 2
	// stuckSeconds is how long a send queue must have stood still when no
	// timer tells why.
	stuckSeconds = 2
	// unreadBytes: a receive queue of 1 on CLOSE_WAIT can be the FIN alone.
	unreadBytes = 1
)

// judgeSocket derives the lifecycle state from the kernel's row, and from what
// the heap says is queued behind it (h may be nil).
// Sources: net/ipv4/tcp_diag.c and tcp_timer.c for what the figures mean.
func judgeSocket(s *snapshot.Socket, h *snapshot.HeapConnection, idleSeconds float64) judgement {
	exact := func(state State, format string, args ...any) judgement {
		return judgement{state, fmt.Sprintf(format, args...), Exact}
	}
	switch s.State {
	case snapshot.Listen:
		return exact(StateListening, "LISTEN")
	case snapshot.SynSent, snapshot.SynRecv:
		return exact(StateOpening, "%s", s.State)
	case snapshot.CloseWait:
		return judgeCloseWait(s)
	case snapshot.FinWait1, snapshot.FinWait2, snapshot.Closing, snapshot.LastAck, snapshot.TimeWait:
		return exact(StateClosing, "%s", s.State)
	case snapshot.Close:
		if h != nil && h.Remote.IsValid() {
			return exact(StateClosed, "the kernel's socket is closed (CLOSE)")
		}
		return exact(StateOpening, "socket not connected yet (CLOSE)")
	case snapshot.Established:
		if s.Protocol == snapshot.Unix {
			return exact(StateActive, "connected unix socket: the kernel keeps no ages")
		}
		return judgeEstablished(s, h, idleSeconds)
	}
	return judgement{StateUnknown, fmt.Sprintf("kernel state %q is not known", s.State), NoneKnown}
}

func judgeCloseWait(s *snapshot.Socket) judgement {
	j := judgement{StatePeerClosed, "CLOSE_WAIT: EOF read, never closed", Exact}
	if received, ok := s.ReceiveQueueBytes.Get(); !ok {
		j.reason = "CLOSE_WAIT"
	} else if received > unreadBytes {
		j.reason = fmt.Sprintf("CLOSE_WAIT: EOF unread, %d bytes wait in the receive queue", received)
	}
	if queued := s.SendQueueBytes.Or(0); queued > 0 {
		j.reason += fmt.Sprintf(", %d bytes unsent", queued)
	}
	return j
}

func judgeEstablished(s *snapshot.Socket, h *snapshot.HeapConnection, idleSeconds float64) judgement {
	if s.Inode == 0 {
		return judgement{StateOpening, "established, waiting in the accept queue", Exact}
	}
	if j, dead := judgeDeadPeer(s); dead {
		return j
	}
	if j, stalled := judgeStalled(s, h); stalled {
		return j
	}
	sent, sentKnown := s.LastSendSeconds.Get()
	received, receivedKnown := s.LastReceiveSeconds.Get()
	if !sentKnown || !receivedKnown {
		return judgement{StateUnknown, "established; the ages of the last send and receive are not known", NoneKnown}
	}
	if sent >= idleSeconds && received >= idleSeconds && s.SendQueueBytes.Or(0) == 0 {
		reason := fmt.Sprintf("nothing sent for %.0f s, nothing received for %.0f s", sent, received)
		if unread := s.ReceiveQueueBytes.Or(0); unread > 0 {
			reason += fmt.Sprintf(", %d bytes wait unread", unread)
		}
		if s.Timer != snapshot.TimerKeepalive {
			reason += ", no keepalive timer"
		}
		return judgement{StateIdle, reason, Exact}
	}
	return judgement{StateActive, fmt.Sprintf("last byte moved %.1f s ago", min(sent, received)), Exact}
}

func judgeDeadPeer(s *snapshot.Socket) (judgement, bool) {
	retries := max(s.Retransmits.Or(0), s.Probes.Or(0))
	if s.Timer == snapshot.TimerKeepalive {
		if retries >= deadProbes {
			return judgement{StateUnreachable, fmt.Sprintf("%d keepalive probes unanswered", retries), Exact}, true
		}
		return judgement{}, false
	}
	if retries < deadRetries || s.LastAckSeconds.Or(deadAckSeconds) < deadAckSeconds {
		return judgement{}, false
	}
	reason := fmt.Sprintf("%d retries unanswered (%s timer)", retries, s.Timer)
	if ack, ok := s.LastAckSeconds.Get(); ok {
		reason += fmt.Sprintf(", last ack %.0f s ago", ack)
	}
	return judgement{StateUnreachable, reason, Exact}, true
}

// judgeStalled finds a peer that is alive but does not take what is queued: in
// the kernel, or in the heap behind exhausted flow-control credit while the
// kernel's queue is empty.
func judgeStalled(s *snapshot.Socket, h *snapshot.HeapConnection) (judgement, bool) {
	queued := s.SendQueueBytes.Or(0)
	if s.Timer == snapshot.TimerPersist {
		return judgement{StateStalled, fmt.Sprintf("the peer's window is closed (persist timer), %d bytes in the send queue", queued), Exact}, true
	}
	if notSent := s.NotSentBytes.Or(0); queued > 0 && notSent > 0 {
		if sent, ok := s.LastSendSeconds.Get(); ok && sent >= stuckSeconds {
			return judgement{StateStalled, fmt.Sprintf("%d bytes in the send queue, the last sent %.0f s ago", queued, sent), Exact}, true
		}
	}
	if h != nil {
		if reason, ok := creditExhausted(h); ok {
			return judgement{StateStalled, reason, Exact}, true
		}
	}
	return judgement{}, false
}

// judgeHeapOnly derives the state of a heap connection that has no row in the
// kernel, as far as its tables are known.
func judgeHeapOnly(h *snapshot.HeapConnection, known tables) judgement {
	if h.Closed.Or(false) {
		return judgement{StateClosed, "the channel object says closed", Exact}
	}
	if !known.has(h) {
		return judgement{StateUnknown, known.why, NoneKnown}
	}
	if !h.Remote.IsValid() && !h.Listening {
		return judgement{StateOpening, "never connected", Exact}
	}
	return judgement{StateClosed, "the channel object lives, the kernel has no such socket", Exact}
}
