package analyze

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

// TestHealthyIsAtMostANote holds that what healthy programs show raises no
// alarm, however much of it there is.
func TestHealthyIsAtMostANote(t *testing.T) {
	// A sender that stops at its mark: the kernel's queue is full and drains.
	fullQueue := func(seconds float64, bytes int64) *world {
		w := at(seconds)
		holder := w.holder("io.netty.channel.ChannelOutboundBuffer$Entry.msg")
		for i := range 20 {
			c := w.connection(40000+i, false, func(s *snapshot.Socket) {
				s.SendQueueBytes, s.NotSentBytes = known[int64](3<<20), known[int64](1<<20)
			})
			w.s.Heap.Connections[c].Evidence = map[string]int64{
				evidenceUnwritable: 1, evidenceOutbound: bytes, evidenceHighWaterMark: 64 << 10,
			}
			w.buffers(1, bytes, snapshot.FateConnection, holder, c)
		}
		return w
	}
	// A slow peer that a bound holds: it stalls, with the same buffers behind it.
	boundedStall := func(seconds float64) *world {
		w := at(seconds)
		c := w.connection(40000, false, func(s *snapshot.Socket) {
			s.Timer, s.SendQueueBytes = snapshot.TimerPersist, known[int64](3900000)
		})
		w.s.Heap.Connections[c].Evidence = map[string]int64{evidenceKeepAlive: 0, evidenceNoDeadline: 1, evidenceUnwritable: 1, evidenceOutbound: 70 << 10}
		w.buffers(2, 1<<20, snapshot.FateConnection, w.holder("io.netty.channel.ChannelOutboundBuffer$Entry.msg"), c)
		return w
	}
	pool := func(seconds float64, free int) *world {
		w := at(seconds)
		w.buffers(free, 1<<20, snapshot.FatePoolFree, -1, -1)
		w.buffers(8, 1<<20, snapshot.FateThreadCache, -1, -1)
		return w
	}
	idle := func(seconds float64, each int64) *world {
		w := at(seconds)
		holder := w.holder("org.apache.tomcat.util.net.SocketBufferHandler.readBuffer")
		for i := range 200 {
			c := w.connection(40000+i, false, func(s *snapshot.Socket) {
				s.LastSendSeconds, s.LastReceiveSeconds = known(50.0), known(50.0)
			})
			w.buffers(2, each, snapshot.FateConnection, holder, c)
		}
		return w
	}
	cache := func(seconds float64, entries int) *world {
		w := at(seconds)
		w.buffers(entries, 1<<20, snapshot.FateApplication, w.holder("app.Cache.entries"), -1)
		return w
	}
	tests := []struct {
		name   string
		worlds []*world
	}{
		{"a full send queue that drains", []*world{fullQueue(0, 70<<10), fullQueue(60, 70<<10)}},
		{"a full send queue whose outbound buffer breathes", []*world{fullQueue(0, 10<<10), fullQueue(60, 900<<10)}},
		{"a slow peer held by a bound", []*world{boundedStall(0), boundedStall(60)}},
		{"a pool that warms up", []*world{pool(0, 0), pool(60, 512)}},
		{"idle keep-alive connections", []*world{idle(0, 8<<10), idle(60, 8<<10)}},
		{"idle keep-alive connections, one snapshot", []*world{idle(0, 8<<10)}},
		{"a cache that is full", []*world{cache(0, 500), cache(60, 500)}},
		{"a cache that stops growing", []*world{cache(0, 5), cache(60, 300), cache(120, 500), cache(180, 512), cache(240, 512), cache(300, 512)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Report(Named{Name: "0.lscope", Snapshot: test.worlds[0].s}, Options{})
			if len(test.worlds) > 1 {
				r = mustDiff(t, test.worlds...)
			}
			for _, f := range r.Findings {
				if f.Severity != SeverityNote {
					t.Errorf("%s: %s (%s)", f.Severity, f.ID, f.Title)
				}
			}
			if v := r.Summary.Verdict; v == Leak {
				t.Errorf("verdict %s: %q", v, r.Summary.Reasons)
			}
		})
	}
}

// TestForms holds one case of each form of a cause against what tells it: the
// name, the severity and a line of evidence.
func TestForms(t *testing.T) {
	persist := func(s *snapshot.Socket) {
		s.Timer, s.SendQueueBytes = snapshot.TimerPersist, known[int64](3900000)
	}
	held := func(seconds float64, mib int, path string, closed bool, evidence map[string]int64, labels map[string]string, socket func(*snapshot.Socket)) *world {
		w := at(seconds)
		c := w.connection(40000, closed, socket)
		w.s.Heap.Connections[c].Evidence, w.s.Heap.Connections[c].Labels = evidence, labels
		w.buffers(mib, 1<<20, snapshot.FateConnection, w.holder(path), c)
		return w
	}
	const entry, deframer = "io.netty.channel.ChannelOutboundBuffer$Entry.msg", "com.example.shaded.io.grpc.internal.MessageDeframer.unprocessed"
	call := map[string]string{labelMethod: "v1.Collector/Push"}
	both := func(build func(seconds float64, mib int) *world) []*world {
		return []*world{build(0, 20), build(60, 60)}
	}
	reconnected := func(seconds float64, mib int) *world {
		w := held(seconds, mib, "app.Client.old", true, nil, nil, nil)
		c := w.connection(40000, false, nil) // the same peer again
		w.s.Heap.Connections[c].Local = port(9001)
		w.s.Heap.Connections[c].Object = 1
		w.s.Sockets[len(w.s.Sockets)-1].Local = port(9001)
		return w
	}
	of := func(fate snapshot.Fate, path ...string) func(seconds float64, mib int) *world {
		return func(seconds float64, mib int) *world {
			w := at(seconds)
			holder := -1
			if len(path) > 0 {
				holder = w.holder(path...)
			}
			w.buffers(mib, 1<<20, fate, holder, -1)
			return w
		}
	}
	tests := []struct {
		cause, form string
		severity    Severity
		evidence    string
		worlds      []*world
	}{
		{CauseNoTermination, "stream", SeverityError, "12 streams wait for the peer's limit of 128", both(func(s float64, mib int) *world {
			return held(s, mib, entry, false, map[string]int64{evidencePendingStreams: 12, evidenceStreamLimit: 128}, nil, nil)
		})},
		{CauseNoBackpressure, "sender", SeverityError, "isReady() turns false at 32.0 KiB (v1.Collector/Push)", both(func(s float64, mib int) *world {
			return held(s, mib, entry, false, map[string]int64{evidenceSentQueued: 30 << 20}, call, nil)
		})},
		{CauseNoBackpressure, "receiver", SeverityWarning, "60.0 MiB received and not taken, in MessageDeframer.unprocessed (v1.Collector/Push)", both(func(s float64, mib int) *world {
			return held(s, mib, deframer, false, nil, call, nil)
		})},
		{CauseNoTimeout, "deadline", SeverityWarning, "3 calls without a deadline (v1.Collector/Push)", both(func(s float64, mib int) *world {
			return held(s, mib, entry, false, map[string]int64{evidenceNoDeadline: 3}, call, persist)
		})},
		{CauseNoTimeout, "write-stall", SeverityWarning, "have no handler that ends an idle connection", both(func(s float64, mib int) *world {
			return held(s, mib, entry, false, nil, map[string]string{labelHandlers: "Encoder, Handler"}, persist)
		})},
		{CauseNoKeepalive, "stalled", SeverityWarning, "1 of 1 have no keepalive manager", both(func(s float64, mib int) *world {
			return held(s, mib, entry, false, map[string]int64{evidenceKeepAlive: 0}, nil, persist)
		})},
		{CauseNoRelease, "closed-retained", SeverityError, "through Server.sessions", both(func(s float64, mib int) *world {
			return held(s, mib, "app.Server.sessions", true, nil, nil, nil)
		})},
		{CauseNoRelease, "reconnect", SeverityError, "through Client.old", both(reconnected)},
		{CauseNoRelease, "lost", SeverityError, "60.0 MiB in 60 chunks are marked used", both(of(snapshot.FateLost))},
		{CauseNoRelease, "application-map", SeverityWarning, "40.0 MiB more in 40 more buffers", both(of(snapshot.FateApplication, "app.Registry.byId"))},
		{CauseNoRelease, "thread-local-cache", SeverityWarning, "60.0 MiB in 60 buffers", both(of(snapshot.FateThreadCache, "sun.nio.ch.Util$BufferCache.buffers"))},
		{CausePendingGC, "", SeverityNote, "reachable from their Cleaners alone", both(of(snapshot.FateUnreachable))},
	}
	for _, test := range tests {
		t.Run(test.cause+" "+test.form, func(t *testing.T) {
			r := mustDiff(t, test.worlds...)
			f := finding(r, test.cause, test.form)
			if f == nil {
				t.Fatalf("not among %+v", r.Findings)
			}
			if f.Severity != test.severity {
				t.Errorf("severity %s, want %s", f.Severity, test.severity)
			}
			var lines []string
			for _, e := range f.Evidence {
				lines = append(lines, e.Text)
				if e.Source == "" {
					t.Errorf("%q: read where?", e.Text)
				}
			}
			if text := strings.Join(lines, "\n"); !strings.Contains(text, test.evidence) {
				t.Errorf("evidence lacks %q:\n%s", test.evidence, text)
			}
			if f.Remedy == "" || f.Verify == "" || f.Disproof == "" {
				t.Errorf("%+v lacks a part", f)
			}
		})
	}
}

// TestFormsAreExplained holds that the page of a cause tells of each of its forms.
func TestFormsAreExplained(t *testing.T) {
	forms := map[string][]string{CauseNoRelease: {"lost", "thread-local-cache", "application-map"}}
	for _, rule := range connectionRules {
		forms[rule.cause] = append(forms[rule.cause], rule.form)
	}
	for cause, all := range forms {
		page, err := os.ReadFile(filepath.Join("..", "doc", "findings", cause+".md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range all {
			if !strings.Contains(string(page), "- `"+form+"`:") {
				t.Errorf("the page of %s does not tell of `%s`", cause, form)
			}
		}
	}
}
