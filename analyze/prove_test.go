package analyze

import (
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

func named(worlds ...*world) []Named {
	var in []Named
	for _, w := range worlds {
		in = append(in, Named{Name: "x", Snapshot: w.s})
	}
	return in
}

func TestProof(t *testing.T) {
	other := func(w *world) *world {
		w.s.Manifest.Target.PID++ // the fixed program is another process
		return w
	}
	slim := func(w *world) *world { // a quarter of the size for each connection
		for i := range w.s.Heap.Allocations {
			w.s.Heap.Allocations[i].Bytes /= 4
		}
		return w
	}
	noHeap := func(w *world) *world {
		w.s.Heap = nil
		return w
	}
	cut := func(w *world) *world {
		w.s.Heap.Complete, w.s.Heap.Reason = false, "cut off"
		return w
	}
	withhold := func(w *world, source string, status snapshot.Status) *world {
		for i := range w.s.Manifest.Sources {
			if s := &w.s.Manifest.Sources[i]; s.Name == source {
				s.Status, s.Reason = status, "withheld"
			}
		}
		return w
	}
	interrupted := func(w *world) *world {
		w.s.Manifest.Interrupted = true
		return w
	}
	leaky := func() []Named { return named(peerClosed(0, 10), peerClosed(60, 30)) }
	tests := []struct {
		name          string
		before, after []Named
		want          Outcome
	}{
		{"fixed", named(peerClosed(0, 10), peerClosed(60, 30)), named(other(at(0)), other(at(60))), Fixed},
		{"improved", named(peerClosed(0, 10), peerClosed(60, 50)), named(other(slim(peerClosed(0, 10))), other(slim(peerClosed(60, 30)))), Improved},
		{"unchanged", named(peerClosed(0, 10), peerClosed(60, 30)), named(other(peerClosed(0, 10)), other(peerClosed(60, 30))), Unchanged},
		{"nothing to fix", named(at(0), at(60)), named(other(at(0)), other(at(60))), Unchanged},
		{"worse", named(at(0), at(60)), named(other(peerClosed(0, 10)), other(peerClosed(60, 30))), Worse},
		{"no evidence", named(peerClosed(0, 10), peerClosed(60, 30)), named(noHeap(other(at(0))), other(at(60))), Unproven},
		{"half a heap after", leaky(), named(other(at(0)), cut(other(at(60)))), Unproven},
		{"half a heap before", named(peerClosed(0, 10), cut(peerClosed(60, 30))), named(other(at(0)), other(at(60))), Unproven},
		{"no sockets after", leaky(), named(other(at(0)), withhold(other(at(60)), snapshot.SourceSockets, snapshot.StatusDenied)), Unproven},
		{"no descriptors after", leaky(), named(withhold(other(at(0)), snapshot.SourceFDs, snapshot.StatusPartial), other(at(60))), Unproven},
		{"interrupted after", leaky(), named(other(at(0)), interrupted(other(at(60)))), Unproven},
		{"unchanged, whatever is missing", leaky(), named(other(peerClosed(0, 10)), interrupted(other(peerClosed(60, 30)))), Unchanged},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := Prove(test.before, test.after, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Outcome != test.want {
				t.Errorf("%s, want %s: %q", p.Outcome, test.want, p.Reasons)
			}
		})
	}
}

func TestProofFollowsFindings(t *testing.T) {
	p, err := Prove(named(peerClosed(0, 10), peerClosed(60, 30)), named(at(0), at(60)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Findings) != 1 || p.Findings[0].Change != ChangeGone || p.Findings[0].Cause != CauseNoTermination || p.Findings[0].Before != SeverityError {
		t.Errorf("findings %+v", p.Findings)
	}
}

// TestProofSeesWhatGotWorse: a warning that has become an error is no fix.
func TestProofSeesWhatGotWorse(t *testing.T) {
	verdict := func(v Verdict) *Result { return &Result{Summary: Summary{Verdict: v, Confidence: Exact}} }
	p := &Proof{Before: verdict(Leak), After: verdict(Steady), Confidence: Exact, Findings: []FindingChange{
		{ID: "a", Change: ChangeGone, Before: SeverityError},
		{ID: "b", Change: ChangeRemains, Before: SeverityWarning, After: SeverityError},
	}}
	p.judge(nil)
	if p.Outcome == Fixed || p.Outcome == Improved {
		t.Errorf("%s: %q", p.Outcome, p.Reasons)
	}
}

func TestNotProven(t *testing.T) {
	if p := NotProven(&NotComparableError{Base: "a", Head: "b", Reasons: []string{"pid"}}); p.Outcome != Unproven || len(p.Reasons) != 1 || p.Before != nil {
		t.Errorf("%+v", p)
	}
}

func finding(r *Result, cause, form string) *Finding {
	for i := range r.Findings {
		if r.Findings[i].Cause == cause && r.Findings[i].Form == form {
			return &r.Findings[i]
		}
	}
	return nil
}

func TestFindings(t *testing.T) {
	conn := func(seconds float64, n int, bytes int64, evidence map[string]int64, socket func(*snapshot.Socket)) *world {
		w := at(seconds)
		holder := w.holder("io.netty.channel.ChannelOutboundBuffer$Entry.msg")
		for i := range n {
			c := w.connection(40000+i, false, socket)
			w.s.Heap.Connections[c].Evidence = evidence
			w.s.Heap.Connections[c].Class = "io.netty.channel.socket.nio.NioSocketChannel"
			w.buffers(int(bytes/(64<<10)), 64<<10, snapshot.FateConnection, holder, c)
		}
		return w
	}
	idle := func(s *snapshot.Socket) { s.LastSendSeconds, s.LastReceiveSeconds = known(90.0), known(90.0) }
	persist := func(s *snapshot.Socket) {
		s.Timer, s.SendQueueBytes = snapshot.TimerPersist, known[int64](3900000)
	}
	dead := func(s *snapshot.Socket) {
		s.Timer, s.Retransmits, s.LastAckSeconds, s.SendQueueBytes = snapshot.TimerRetransmit, known[int64](6), known(20.0), known[int64](25000)
	}
	flood := map[string]int64{evidenceUnwritable: 1, evidenceOutbound: 100 << 20}
	bounded := map[string]int64{evidenceUnwritable: 1, evidenceOutbound: 70 << 10}
	above := map[string]int64{evidenceUnwritable: 1, evidenceOutbound: 256 << 10}
	tests := []struct {
		name        string
		base, head  *world
		cause, form string
		severity    Severity // "": no such finding
	}{
		{"close-wait", peerClosed(0, 10), peerClosed(60, 30), CauseNoTermination, "socket", SeverityError},
		{"close-wait that rests", peerClosed(0, 10), peerClosed(60, 10), CauseNoTermination, "socket", SeverityWarning},
		{"flood", conn(0, 1, 50<<20, flood, persist), conn(10, 1, 100<<20, flood, persist), CauseNoBackpressure, "sender", SeverityError},
		{"bounded queue", conn(0, 1, 1<<20, bounded, persist), conn(10, 1, 1<<20, bounded, persist), CauseNoBackpressure, "sender", ""},
		{"bounded queue, stalled", conn(0, 1, 1<<20, bounded, persist), conn(10, 1, 1<<20, bounded, persist), CauseNoTimeout, "write-stall", SeverityNote},
		{"queues below their limit that swing", conn(0, 8, 64<<10, bounded, persist), conn(10, 8, 128<<10, bounded, persist), CauseNoTimeout, "write-stall", SeverityNote},
		{"queues above their limit that grow", conn(0, 8, 64<<10, above, persist), conn(10, 8, 256<<10, above, persist), CauseNoTimeout, "write-stall", SeverityWarning},
		{"vanished peer", conn(0, 4, 1<<20, nil, dead), conn(10, 4, 2<<20, nil, dead), CauseNoKeepalive, "unreachable", SeverityError},
		{"idle pool", conn(0, 50, 0, nil, idle), conn(10, 50, 0, nil, idle), CauseNoKeepalive, "idle", ""},
		{"idle and heavy", conn(0, 50, 128<<10, nil, idle), conn(10, 50, 128<<10, nil, idle), CauseNoTimeout, "idle", SeverityWarning},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := mustDiff(t, test.base, test.head)
			f := finding(r, test.cause, test.form)
			switch {
			case f == nil && test.severity == "":
			case f == nil:
				t.Errorf("no finding %s/%s among %+v", test.cause, test.form, r.Findings)
			case f.Severity != test.severity:
				t.Errorf("%s: severity %s, want %q", f.ID, f.Severity, test.severity)
			case len(f.Evidence) == 0 || f.Remedy == "" || f.Verify == "" || f.Disproof == "":
				t.Errorf("%+v lacks a part", f)
			}
		})
	}
}

func TestEveryCauseHasAdvice(t *testing.T) {
	for _, cause := range Causes() {
		for _, library := range []string{"grpc", "netty", "tomcat", "jetty", "nio"} {
			if text, verify := remedy(cause, "", library); text == "" || verify == "" {
				t.Errorf("no advice for %s in %s", cause, library)
			}
		}
	}
}
