package analyze

import (
	"fmt"
	"math"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// connectionRule names one cause that connections show. The rules are data: a
// further one needs no other code.
type connectionRule struct {
	cause, form string
	applies     func(*subject) bool
	title       func(connections int) string
	severity    func(weight) Severity
	evidence    func([]*subject) []Evidence
	disproof    string
}

const (
	idleHeavyBytes = 64 << 10 // on one connection
	restingBytes   = 1 << 20  // of connections that do not grow
)

var connectionRules = []connectionRule{
	{
		cause: CauseNoTermination, form: "socket",
		applies: func(s *subject) bool { return s.conn.State == StatePeerClosed && settled(s) },
		title: func(n int) string {
			return fmt.Sprintf("%d %s whose peer has closed %s never closed", n, plural(n, "connection"), was(n))
		},
		severity: func(w weight) Severity {
			switch {
			case w.grows():
				return SeverityError
			case w.head >= structuralBytes:
				return SeverityWarning
			}
			return SeverityNote
		},
		evidence: func(all []*subject) []Evidence {
			e := []Evidence{{Text: fmt.Sprintf("%d in CLOSE_WAIT%s", len(all), oldest(all)), Source: "kernel: tcp state"}}
			e = countIf(e, all, "have bytes unread in the receive queue: the end was never seen", "kernel: receive queue", func(s *subject) bool {
				return s.conn.Socket != nil && s.conn.Socket.ReceiveQueueBytes.Or(0) > unreadBytes
			})
			e = countIf(e, all, "have a selection key with interest set 0: nobody listens", "heap: SelectionKeyImpl.interestOps", func(s *subject) bool {
				ops, ok := s.evidence(evidenceInterestOps)
				return ok && ops == 0
			})
			e = countIf(e, all, "have their input shut down in the JVM already: the end was read", "heap: SocketChannelImpl.isInputClosed", func(s *subject) bool {
				closed, ok := s.evidence(evidenceInputClosed)
				return ok && closed != 0
			})
			return countIf(e, all, "have auto-read switched off", "heap: DefaultChannelConfig.autoRead", func(s *subject) bool {
				on, ok := s.evidence(evidenceAutoRead)
				return ok && on == 0
			})
		},
		disproof: "the connections are gone from a later snapshot",
	},
	{
		cause: CauseNoTermination, form: "stream",
		applies: func(s *subject) bool {
			pending, _ := s.evidence(evidencePendingStreams)
			completed, _ := s.evidence(evidenceCompleted)
			queued, _ := s.evidence(evidencePendingBytes)
			return pending > 0 || (completed > 0 && queued > structuralBytes)
		},
		title: func(n int) string {
			return fmt.Sprintf("streams are never ended on %d %s", n, plural(n, "connection"))
		},
		severity: severityByGrowth,
		evidence: func(all []*subject) []Evidence {
			var e []Evidence
			for _, s := range all {
				if pending, _ := s.evidence(evidencePendingStreams); pending > 0 {
					text := fmt.Sprintf("%s: %d streams wait", s.conn.ID(), pending)
					if limit, ok := s.evidence(evidenceStreamLimit); ok {
						text += fmt.Sprintf(" for the peer's limit of %d", limit)
					}
					e = append(e, Evidence{Text: text, Source: "heap: StreamBufferingEncoder"})
				}
				if half, _ := s.evidence(evidenceCompleted); half > 0 {
					e = append(e, Evidence{Text: fmt.Sprintf("%s: %d streams are completed on this side, with bytes still queued", s.conn.ID(), half), Source: "heap: DefaultHttp2ConnectionEncoder$FlowControlledBase"})
				}
			}
			return firstLines(e)
		},
		disproof: "the number of open streams falls again under the same load",
	},
	{
		cause: CauseNoBackpressure, form: "sender",
		applies: func(s *subject) bool {
			if s.conn.State == StateClosed || s.conn.Heap == nil {
				return false
			}
			if _, ignores := ignoresReady(s.conn.Heap); ignores {
				return true
			}
			return stuck(s.conn.State) && stuck(s.from) && s.grown() >= structuralBytes
		},
		title: func(n int) string {
			return fmt.Sprintf("the sender does not wait for %d %s that cannot take more", n, plural(n, "connection"))
		},
		severity: severityByGrowth,
		evidence: func(all []*subject) []Evidence {
			var e []Evidence
			for _, s := range all {
				if text, ok := ignoresReady(s.conn.Heap); ok {
					e = append(e, Evidence{Text: s.conn.ID() + ": " + text + method(s), Source: "heap: the queue's own counters"})
				}
				if text, ok := creditExhausted(s.conn.Heap); ok {
					e = append(e, Evidence{Text: s.conn.ID() + ": " + text, Source: "heap: DefaultHttp2RemoteFlowController"})
				}
				if s.conn.Socket != nil {
					e = append(e, Evidence{Text: s.conn.ID() + ": " + s.conn.Reason, Source: "kernel: queues and timers"})
				}
			}
			return firstLines(e)
		},
		disproof: "the queue stops growing at a bound of the program's own",
	},
	{
		cause: CauseNoBackpressure, form: "receiver",
		applies: func(s *subject) bool {
			return s.conn.State != StateClosed && s.conn.State != StatePeerClosed && s.bytes.bytes.head > 0 && queuesInbound(s)
		},
		title: func(n int) string {
			return fmt.Sprintf("what the peers of %d %s have sent waits for the application, which does not take it", n, plural(n, "connection"))
		},
		severity: stallSeverity,
		evidence: func(all []*subject) []Evidence {
			var e []Evidence
			for _, s := range all {
				e = append(e, Evidence{Text: fmt.Sprintf("%s: %s received and not taken, in %s%s", s.conn.ID(), units.Bytes(s.bytes.bytes.head), s.holder, method(s)), Source: "heap: reference path from the connection"})
			}
			return firstLines(e)
		},
		disproof: "the application catches up: the bytes fall again without a restart",
	},
	{
		cause: CauseNoTimeout, form: "deadline",
		applies: func(s *subject) bool {
			without, _ := s.evidence(evidenceNoDeadline)
			return without > 0 && stuck(s.conn.State) && s.bytes.bytes.head >= structuralBytes
		},
		title: func(n int) string {
			return fmt.Sprintf("calls on %d %s that cannot send have no deadline", n, plural(n, "connection"))
		},
		severity: stallSeverity,
		evidence: func(all []*subject) []Evidence {
			var e []Evidence
			for _, s := range all {
				without, _ := s.evidence(evidenceNoDeadline)
				e = append(e, Evidence{Text: fmt.Sprintf("%s: %d calls without a deadline%s", s.conn.ID(), without, method(s)), Source: "heap: ClientCallImpl.deadlineCancellationFuture"})
			}
			return firstLines(e)
		},
		disproof: "the application ends the calls by a timer of its own",
	},
	{
		cause: CauseNoKeepalive, form: "stalled",
		applies: func(s *subject) bool {
			on, known := s.evidence(evidenceKeepAlive)
			return known && on == 0 && s.conn.State == StateStalled && s.bytes.bytes.head >= structuralBytes
		},
		title: func(n int) string {
			return fmt.Sprintf("%d %s that cannot send %s no keepalive: a peer that hangs would never be noticed", n, plural(n, "connection"), has(n))
		},
		severity: stallSeverity,
		evidence: func(all []*subject) []Evidence {
			return countIf([]Evidence{}, all, "have no keepalive manager", "heap: NettyClientHandler.keepAliveManager", func(*subject) bool { return true })
		},
		disproof: "the peer is watched in another way",
	},
	{
		cause: CauseNoTimeout, form: "write-stall",
		applies: func(s *subject) bool {
			return stuck(s.conn.State) && stuck(s.from) && s.bytes.bytes.head >= structuralBytes
		},
		title: func(n int) string {
			return fmt.Sprintf("%d %s %s been unable to send for the whole time, and nothing ends %s", n, plural(n, "connection"), has(n), it(n))
		},
		severity: stallSeverity,
		evidence: stateEvidence,
		disproof: "a write timeout that is longer than the time between the snapshots",
	},
	{
		cause: CauseNoTimeout, form: "unreachable",
		applies: func(s *subject) bool { return s.conn.State == StateUnreachable && s.bytes.bytes.head > 0 },
		title: func(n int) string {
			return fmt.Sprintf("the peers of %d %s do not answer, and nothing gives up", n, plural(n, "connection"))
		},
		severity: severityByGrowth,
		evidence: stateEvidence,
		disproof: "the peers answer again",
	},
	{
		cause: CauseNoKeepalive, form: "unreachable",
		applies: func(s *subject) bool { return s.conn.State == StateUnreachable && noKeepalive(s) },
		title: func(n int) string {
			return fmt.Sprintf("%d %s to a vanished peer without keepalive", n, plural(n, "connection"))
		},
		severity: severityByGrowth,
		evidence: stateEvidence,
		disproof: "keepalive is on, at an interval longer than the time observed",
	},
	{
		cause: CauseNoKeepalive, form: "idle",
		applies: func(s *subject) bool { return s.conn.State == StateIdle && noKeepalive(s) && s.bytes.bytes.head > 0 },
		title: func(n int) string {
			return fmt.Sprintf("%d idle %s without keepalive: a vanished peer would never be noticed", n, plural(n, "connection"))
		},
		severity: severityOfIdle,
		evidence: stateEvidence,
		disproof: "bytes move on the connection later on",
	},
	{
		cause: CauseNoTimeout, form: "idle",
		applies: func(s *subject) bool {
			return s.conn.State == StateIdle && s.bytes.bytes.head >= idleHeavyBytes
		},
		title: func(n int) string {
			return fmt.Sprintf("%d idle %s %s direct memory, and nothing times %s out", n, plural(n, "connection"), keep(n), it(n))
		},
		severity: severityOfIdle,
		evidence: stateEvidence,
		disproof: "an idle limit that is longer than the time observed",
	},
	{
		cause: CauseNoRelease, form: "reconnect",
		applies: func(s *subject) bool {
			return s.conn.State == StateClosed && s.bytes.bytes.head > 0 && s.reconnected
		},
		title: func(n int) string {
			return fmt.Sprintf("%d closed %s to a peer that is connected again still %s buffers", n, plural(n, "connection"), keep(n))
		},
		severity: severityByGrowth,
		evidence: closedEvidence,
		disproof: "the old channels are gone from a later snapshot",
	},
	{
		cause: CauseNoRelease, form: "closed-retained",
		applies: func(s *subject) bool {
			return s.conn.State == StateClosed && s.bytes.bytes.head > 0 && !s.reconnected
		},
		title: func(n int) string {
			return fmt.Sprintf("%d closed %s still %s buffers", n, plural(n, "connection"), keep(n))
		},
		severity: severityByGrowth,
		evidence: closedEvidence,
		disproof: "a bounded cache of connection objects: its size stays the same over time",
	},
}

func stuck(s State) bool { return s == StateStalled || s == StateUnreachable }

// settled leaves out connections whose peer left a moment ago.
func settled(s *subject) bool {
	return s.nobodyEnds || s.from == StatePeerClosed || s.conn.Socket == nil || s.conn.Socket.LastReceiveSeconds.Or(settledSeconds) >= settledSeconds
}

// noKeepalive reports that nothing would notice a vanished peer: no keepalive
// timer of the kernel's is running, and no manager of gRPC's is there. A
// retransmit or persist timer hides the keepalive timer; then nothing is said.
func noKeepalive(s *subject) bool {
	if on, ok := s.evidence(evidenceKeepAlive); ok && on != 0 {
		return false
	}
	socket := s.conn.Socket
	return socket != nil && (socket.Timer == snapshot.TimerNone || s.conn.State == StateUnreachable)
}

// severityByGrowth: what grows is an error; what rests is worth a warning only
// when there is no second snapshot to tell and it is much.
func severityByGrowth(w weight) Severity {
	switch {
	case w.grows():
		return SeverityError
	case w.single && w.head >= restingBytes:
		return SeverityWarning
	}
	return SeverityNote
}

// stallSeverity: what waits is worth a warning while it grows; a slow peer that
// a bound holds is healthy.
func stallSeverity(w weight) Severity {
	if w.grows() {
		return SeverityWarning
	}
	return SeverityNote
}

// severityOfIdle: an idle connection of a pool is healthy, so only much memory
// on each makes it more than a note.
func severityOfIdle(w weight) Severity {
	if w.connections > 0 && w.head >= restingBytes && w.head/int64(w.connections) >= idleHeavyBytes {
		return SeverityWarning
	}
	return SeverityNote
}

// maxEvidence bounds the lines of one finding: the connections table has all.
const maxEvidence = 5

func firstLines(e []Evidence) []Evidence {
	if e == nil {
		return []Evidence{}
	}
	if len(e) > maxEvidence {
		more := len(e) - maxEvidence
		e = append(e[:maxEvidence:maxEvidence], Evidence{Text: fmt.Sprintf("and %d more lines like these", more), Source: "connections"})
	}
	return e
}

func countIf(e []Evidence, all []*subject, text, source string, holds func(*subject) bool) []Evidence {
	n := 0
	for _, s := range all {
		if holds(s) {
			n++
		}
	}
	if n == 0 {
		return e
	}
	return append(e, Evidence{Text: fmt.Sprintf("%d of %d %s", n, len(all), text), Source: source})
}

func stateEvidence(all []*subject) []Evidence {
	var e []Evidence
	for _, s := range all {
		e = append(e, Evidence{Text: s.conn.ID() + ": " + s.conn.Reason, Source: "kernel: queues, timers and ages"})
	}
	return countIf(firstLines(e), all, "have no handler that ends an idle connection (IdleStateHandler, ReadTimeoutHandler, WriteTimeoutHandler)", "heap: handlers of the pipeline", func(s *subject) bool {
		none, ok := withoutIdleLimit(s)
		return ok && none
	})
}

func closedEvidence(all []*subject) []Evidence {
	var e []Evidence
	for _, s := range all {
		e = append(e, Evidence{Text: fmt.Sprintf("%s: %s, holds %s through %s", s.conn.ID(), s.conn.Reason, units.Bytes(s.bytes.bytes.head), s.holder), Source: "heap, and the kernel's connection table"})
	}
	return firstLines(e)
}

// oldest says since when the peers are gone, as far as the kernel tells.
func oldest(all []*subject) string {
	age := math.Inf(-1)
	for _, s := range all {
		if s.conn.Socket != nil {
			if t, ok := s.conn.Socket.LastReceiveSeconds.Get(); ok {
				age = math.Max(age, t)
			}
		}
	}
	if age < 0 {
		return ""
	}
	return ", the last byte of the oldest came " + units.Seconds(age) + " ago"
}

func method(s *subject) string {
	if name := s.conn.Heap.Labels[labelMethod]; name != "" {
		return " (" + name + ")"
	}
	return ""
}

func was(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

func keep(n int) string {
	if n == 1 {
		return "keeps"
	}
	return "keep"
}

func it(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}
