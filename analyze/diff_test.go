package analyze

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/snapshot"
)

// world builds a snapshot of an imaginary process at a number of seconds.
type world struct {
	s    *snapshot.Snapshot
	next snapshot.Address
}

func at(seconds float64) *world {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
	ok := func(name string) snapshot.Source { return snapshot.Source{Name: name, Status: snapshot.StatusOK} }
	return &world{next: 0x7f0000000000, s: &snapshot.Snapshot{
		Manifest: snapshot.Manifest{
			Target:  snapshot.Target{PID: 42, StartTimeTicks: 7, BootID: "boot", Name: "Collector", Runtime: snapshot.RuntimeHotSpot},
			Clock:   snapshot.Clock{Started: started, Finished: started, UptimeSeconds: known(1000 + seconds)},
			Sources: []snapshot.Source{ok(snapshot.SourceProc), ok(snapshot.SourceFDs), ok(snapshot.SourceSockets), ok(snapshot.SourceHeapDump)},
		},
		Sockets: []snapshot.Socket{}, FDs: []snapshot.FD{},
		Heap: &snapshot.Heap{Complete: true, Method: "heap-dump"},
	}}
}

func port(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(n))
}

// connection adds a channel and, unless it is closed, its socket; the peer's
// port names it.
func (w *world) connection(peer int, closed bool, socket func(*snapshot.Socket)) int {
	h := snapshot.HeapConnection{
		Class: "sun.nio.ch.SocketChannelImpl", Local: port(9000), Remote: port(peer),
		FD: known(peer), Closed: known(closed), Reachable: known(true), Object: snapshot.Address(peer),
	}
	w.s.Heap.Connections = append(w.s.Heap.Connections, h)
	if !closed {
		k := established(socket)
		k.Local, k.Remote, k.Inode, k.FDs = port(9000), port(peer), uint64(peer), []int{peer}
		w.s.Sockets = append(w.s.Sockets, k)
		w.s.FDs = append(w.s.FDs, snapshot.FD{Number: peer, Kind: "socket", Inode: uint64(peer)})
	}
	return len(w.s.Heap.Connections) - 1
}

func (w *world) holder(path ...string) int {
	w.s.Heap.Holders = append(w.s.Heap.Holders, snapshot.Holder{Path: path, Root: "connection"})
	return len(w.s.Heap.Holders) - 1
}

// buffers adds n allocations of size bytes, at addresses that only depend on
// how many were added before.
func (w *world) buffers(n int, size int64, fate snapshot.Fate, holder, connection int) {
	for range n {
		w.s.Heap.Allocations = append(w.s.Heap.Allocations, snapshot.Allocation{
			Address: w.next, Bytes: size, Kind: snapshot.KindDirect, Fate: fate, Holder: int32(holder), Connection: int32(connection),
		})
		w.next += 1 << 20
	}
}

func closeWait(s *snapshot.Socket) {
	s.State, s.LastReceiveSeconds = snapshot.CloseWait, known(30.0)
}

func mustDiff(t *testing.T, worlds ...*world) *Result {
	t.Helper()
	var in []Named
	for i, w := range worlds {
		in = append(in, Named{Name: fmt.Sprintf("%d.lscope", i), Snapshot: w.s})
	}
	r, err := Diff(in, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func state(t *testing.T, r *Result, s State) StateRow {
	t.Helper()
	for _, row := range r.States {
		if row.State == s {
			return row
		}
	}
	t.Fatalf("no row for state %s", s)
	return StateRow{}
}

// peerClosed is a server whose n clients are gone, each with 4 buffers of 64 KiB.
func peerClosed(seconds float64, n int) *world {
	w := at(seconds)
	holder := w.holder("sun.nio.ch.SelectionKeyImpl.attachment", "Session.buffers")
	for i := range n {
		c := w.connection(40000+i, false, closeWait)
		w.buffers(4, 64<<10, snapshot.FateConnection, holder, c)
	}
	return w
}

func TestDiffFindsPeerClosedLeak(t *testing.T) {
	r := mustDiff(t, peerClosed(0, 10), peerClosed(60, 30))
	if r.Summary.Verdict != Leak || r.Summary.Confidence != Exact {
		t.Errorf("verdict %s, %s; reasons %q", r.Summary.Verdict, r.Summary.Confidence, r.Summary.Reasons)
	}
	const buffer = 4 * 64 << 10
	want := StateRow{
		State:       StatePeerClosed,
		Connections: Pair{known[int64](10), known[int64](30)},
		Allocations: Delta{known[int64](40), known[int64](120), known[int64](40), known[int64](80), known[int64](0)},
		Bytes:       Delta{known[int64](10 * buffer), known[int64](30 * buffer), known[int64](10 * buffer), known[int64](20 * buffer), known[int64](0)},
		Confidence:  Exact, KernelSendQueueBytes: Pair{known[int64](0), known[int64](0)},
	}
	if diff := cmp.Diff(want, state(t, r, StatePeerClosed)); diff != "" {
		t.Error(diff)
	}
	if got := r.Summary.GrowthBytesPerSecond.Or(0); got != 20*buffer/60.0 {
		t.Errorf("growth %v bytes per second", got)
	}
	if len(r.Transitions) != 2 {
		t.Errorf("transitions %+v", r.Transitions)
	}
}

func TestVerdicts(t *testing.T) {
	application := func(seconds float64, n int) *world {
		w := at(seconds)
		w.buffers(n, 1<<20, snapshot.FateApplication, w.holder("Registry.byId"), -1)
		return w
	}
	fate := func(seconds float64, f snapshot.Fate, n int) *world {
		w := at(seconds)
		w.buffers(8, 1<<20, snapshot.FateConnection, w.holder("Session.buffer"), w.connection(40000, false, nil))
		w.buffers(n, 1<<20, f, -1, -1)
		return w
	}
	stalled := func(seconds float64, n int) *world {
		w := at(seconds)
		c := w.connection(40000, false, func(s *snapshot.Socket) {
			s.Timer, s.SendQueueBytes = snapshot.TimerPersist, known[int64](3900000)
		})
		w.buffers(n, 64<<10, snapshot.FateConnection, w.holder("ChannelOutboundBuffer$Entry.msg"), c)
		return w
	}
	closed := func(seconds float64, n int) *world {
		w := at(seconds)
		holder := w.holder("Server.sessions", "Session.buffer")
		for i := range n {
			w.buffers(1, 64<<10, snapshot.FateConnection, holder, w.connection(40000+i, true, nil))
		}
		return w
	}
	fresh := func(seconds float64, n int) *world {
		w := peerClosed(seconds, n)
		for i := range w.s.Sockets {
			w.s.Sockets[i].LastReceiveSeconds = known(0.05)
		}
		return w
	}
	noHeap := func(seconds float64, other int64) *world {
		w := at(seconds)
		w.s.Heap = nil
		w.s.JVM = &snapshot.JVM{Feature: known(17), NMT: []snapshot.NMTCategory{{Name: "Other", CommittedBytes: other}}}
		return w
	}
	tests := []struct {
		name   string
		worlds []*world
		want   Verdict
		reason string
	}{
		{"peer-closed grows", []*world{peerClosed(0, 10), peerClosed(60, 30)}, Leak, "nobody closes"},
		{"peer-closed from nothing", []*world{at(0), peerClosed(60, 30)}, Leak, "nobody closes"},
		{"peer-closed a moment ago", []*world{at(0), fresh(60, 30)}, Growing, "grew by 7.5 MiB"},
		{"closed grows", []*world{closed(0, 10), closed(60, 30)}, Leak, "held by closed connections"},
		{"closed pool that stays", []*world{closed(0, 30), closed(60, 30)}, Steady, ""},
		{"lost grows", []*world{fate(0, snapshot.FateLost, 5), fate(60, snapshot.FateLost, 9)}, Leak, "release"},
		{"send queue stands and grows", []*world{stalled(0, 100), stalled(10, 300)}, Leak, "takes nothing"},
		{"send queue stands", []*world{stalled(0, 300), stalled(10, 300)}, Steady, ""},
		{"application grows", []*world{application(0, 5), application(60, 9)}, Growing, "2 more, 60 s apart would decide"},
		{"application shrinks", []*world{application(0, 9), application(60, 5)}, Shrinking, ""},
		{"garbage", []*world{fate(0, snapshot.FateUnreachable, 0), fate(60, snapshot.FateUnreachable, 300)}, Steady, "waits for a collection"},
		{"warm pool", []*world{fate(0, snapshot.FatePoolFree, 0), fate(60, snapshot.FatePoolFree, 32)}, Steady, "free for reuse"},
		{"growth over four", []*world{application(0, 5), application(60, 9), application(120, 12), application(180, 17)}, Leak, "does not level off"},
		{"growth over three", []*world{application(0, 5), application(60, 9), application(120, 12)}, Growing, "1 more"},
		{"warm-up", []*world{application(0, 5), application(60, 20), application(120, 30), application(180, 31), application(240, 31), application(300, 31)}, Steady, "leveled off"},
		{"closed that levels off", []*world{closed(0, 5), closed(60, 20), closed(120, 30), closed(180, 30), closed(240, 30)}, Steady, "leveled off"},
		{"no heap, counter grows", []*world{noHeap(0, 10<<20), noHeap(60, 90<<20)}, Growing, "nmt.Other grew"},
		{"no heap, counter stays", []*world{noHeap(0, 10<<20), noHeap(60, 10<<20)}, Steady, ""},
		{"no heap on one side", []*world{noHeap(0, 10<<20), at(60)}, Inconclusive, "without heap evidence"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := mustDiff(t, test.worlds...)
			if reasons := strings.Join(r.Summary.Reasons, "\n"); r.Summary.Verdict != test.want || !strings.Contains(reasons, test.reason) {
				t.Errorf("verdict %s, want %s with %q; reasons:\n%s", r.Summary.Verdict, test.want, test.reason, reasons)
			}
		})
	}
}

func TestStaleDescriptorIsNotTrusted(t *testing.T) {
	w := at(0)
	w.connection(40000, false, nil) // a live connection on fd 40000
	stale := w.connection(40001, true, nil)
	w.s.Heap.Connections[stale].FD = known(40000) // a closed channel keeps its old number
	other := w.connection(40002, true, nil)
	w.s.Heap.Connections[other].FD = known(40000)
	w.s.Heap.Connections[other].Closed = known(false) // not closed by its own word: the ports decide
	a := Attribute(w.s, Options{})
	var states []State
	for _, c := range a.Connections {
		states = append(states, c.State)
	}
	if diff := cmp.Diff([]State{StateActive, StateClosed, StateClosed}, states); diff != "" {
		t.Error(diff)
	}
}

func TestConnectionKeepsItsNameWhenItCloses(t *testing.T) {
	base, head := at(0), at(60)
	base.buffers(1, 1<<20, snapshot.FateConnection, base.holder("Session.buffer"), base.connection(40000, false, nil))
	head.buffers(1, 1<<20, snapshot.FateConnection, head.holder("Session.buffer"), head.connection(40000, true, nil))
	r := mustDiff(t, base, head)
	want := []Transition{{From: StateActive, To: StateClosed, Connections: 1, BaseBytes: known[int64](1 << 20), HeadBytes: known[int64](1 << 20), RetainedBytes: known[int64](1 << 20)}}
	if diff := cmp.Diff(want, r.Transitions); diff != "" {
		t.Error(diff)
	}
	if row := r.Connections[0]; row.BaseState != StateActive || row.State != StateClosed || row.ID != "127.0.0.1:9000-127.0.0.1:40000" {
		t.Errorf("connection %+v", row)
	}
}

func TestReusedPortIsAnotherConnection(t *testing.T) {
	base, head := at(0), at(60)
	base.connection(40000, false, nil)
	head.connection(40000, false, nil)
	head.s.Sockets[0].Inode, head.s.FDs[0].Inode = 999, 999
	r := mustDiff(t, base, head)
	if len(r.Connections) != 2 {
		t.Errorf("connections %+v, want the old one gone and a new one", r.Connections)
	}
}

func TestDifferentTargetsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*snapshot.Target){
		"restarted":    func(x *snapshot.Target) { x.StartTimeTicks = 8 },
		"other pid":    func(x *snapshot.Target) { x.PID = 43 },
		"other boot":   func(x *snapshot.Target) { x.BootID = "later" },
		"pid, no dump": func(x *snapshot.Target) { x.PID, x.HeapDumpFile = 43, "" },
	} {
		t.Run(name, func(t *testing.T) {
			base, head := at(0), at(60)
			change(&head.s.Manifest.Target)
			_, err := Diff([]Named{{"a", base.s}, {"b", head.s}}, Options{})
			var refused *NotComparableError
			if !errors.As(err, &refused) {
				t.Errorf("error %v, want a NotComparableError", err)
			}
		})
	}
}

func TestHeapDumpFilesAreComparedWithAWarning(t *testing.T) {
	base, head := at(0), at(60)
	base.s.Manifest.Target = snapshot.Target{HeapDumpFile: "a.hprof"}
	head.s.Manifest.Target = snapshot.Target{HeapDumpFile: "b.hprof"}
	r := mustDiff(t, base, head)
	if len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "nothing proves") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestMissingHeapIsNull(t *testing.T) {
	base, head := at(0), at(60)
	base.s.Heap = nil
	r := mustDiff(t, base, head)
	for _, row := range r.States {
		if row.Bytes.Base.IsKnown() || row.Bytes.New.IsKnown() || !row.Bytes.Head.IsKnown() {
			t.Errorf("state %s: %+v, want base and what became of it unknown", row.State, row.Bytes)
		}
	}
	if r.Summary.GrowthBytesPerSecond.IsKnown() {
		t.Error("growth is known without a base")
	}
}

func TestMissingBaseIsNoGrowth(t *testing.T) {
	base, head := at(0), peerClosed(60, 30)
	base.s.Heap = nil
	head.buffers(8, 1<<20, snapshot.FateApplication, head.holder("Cache.entries"), -1)
	for _, f := range mustDiff(t, base, head).Findings {
		if f.Severity == SeverityError || f.Form == "application-map" {
			t.Errorf("%s: %s, although nothing is known of the base", f.ID, f.Severity)
		}
	}
}

// random builds a world whose buffers, connections and states vary with the
// generator; seeds of one run share addresses, so that pairs overlap.
func random(r *rand.Rand, seconds float64) *world {
	w := at(seconds)
	fates := snapshot.Fates()
	for i := range 1 + r.IntN(12) {
		if r.IntN(3) == 0 {
			continue
		}
		c := w.connection(40000+i, r.IntN(3) == 0, func(s *snapshot.Socket) {
			if r.IntN(3) == 0 {
				closeWait(s)
			}
		})
		holder := w.holder(fmt.Sprintf("Holder%d.buffer", r.IntN(3)))
		for range r.IntN(6) {
			w.next = 0x7f0000000000 + snapshot.Address(r.IntN(40))<<20
			w.buffers(1, 4096<<r.IntN(3), snapshot.FateConnection, holder, c)
		}
	}
	for range r.IntN(20) {
		fate := fates[r.IntN(len(fates))]
		if fate == snapshot.FateConnection {
			continue
		}
		w.next = 0x7e0000000000 + snapshot.Address(r.IntN(40))<<20
		w.buffers(1, 4096<<r.IntN(3), fate, -1, -1)
		w.s.Heap.Allocations[len(w.s.Heap.Allocations)-1].Remainder = fate == snapshot.FatePoolFree || fate == snapshot.FateLost
	}
	return w
}

func TestDiffArithmetic(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		a, b := random(r, 0), random(r, 60)
		ab, ba := mustDiff(t, a, b), mustDiff(t, b, a)

		t1, t2 := ab.Summary.Bytes, ba.Summary.Bytes
		if t1.Base.Or(-1) != t2.Head.Or(-2) || t1.New.Or(-1) != t2.Freed.Or(-2) || t1.Retained.Or(-1) != t2.Retained.Or(-2) {
			t.Fatalf("seed %d: diff(a,b) %+v is not the opposite of diff(b,a) %+v", seed, t1, t2)
		}
		for _, d := range []Delta{ab.Summary.Bytes, ab.Summary.Allocations} {
			if d.Head.Or(0) != d.Retained.Or(0)+d.New.Or(0) || d.Base.Or(0) != d.Retained.Or(0)+d.Freed.Or(0) {
				t.Fatalf("seed %d: %+v does not add up", seed, d)
			}
		}
		checkTotals(t, seed, ab)

		same := mustDiff(t, a, a)
		if same.Summary.Bytes.New.Or(-1) != 0 || same.Summary.Bytes.Freed.Or(-1) != 0 || same.Summary.Verdict == Leak || same.Summary.Verdict == Growing {
			t.Fatalf("seed %d: diff(a,a) is not empty: %+v %s", seed, same.Summary.Bytes, same.Summary.Verdict)
		}
		if again := mustDiff(t, a, b); !bytes.Equal(asJSON(t, ab), asJSON(t, again)) {
			t.Fatalf("seed %d: the same input gave another result", seed)
		}
	}
}

func asJSON(t *testing.T, r *Result) []byte {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checkTotals holds that every byte is counted once in every view.
func checkTotals(t *testing.T, seed uint64, r *Result) {
	t.Helper()
	add := func(total *Delta, d Delta) {
		total.Base = known(total.Base.Or(0) + d.Base.Or(0))
		total.Head = known(total.Head.Or(0) + d.Head.Or(0))
		total.Retained = known(total.Retained.Or(0) + d.Retained.Or(0))
		total.New = known(total.New.Or(0) + d.New.Or(0))
		total.Freed = known(total.Freed.Or(0) + d.Freed.Or(0))
	}
	zero := Delta{known[int64](0), known[int64](0), known[int64](0), known[int64](0), known[int64](0)}
	fates, states, connections, connectionFate := zero, zero, zero, zero
	for _, row := range r.Fates {
		if row.Fate != snapshot.FateRuntime {
			add(&fates, row.Bytes)
		}
		if row.Fate == snapshot.FateConnection {
			connectionFate = row.Bytes
		}
	}
	for _, row := range r.States {
		add(&states, row.Bytes)
	}
	for _, row := range r.Connections {
		add(&connections, row.Bytes)
	}
	if diff := cmp.Diff(r.Summary.Bytes, fates); diff != "" {
		t.Fatalf("seed %d: the fates do not sum to the total: %s", seed, diff)
	}
	if diff := cmp.Diff(connectionFate, states); diff != "" {
		t.Fatalf("seed %d: the states do not sum to what connections hold: %s", seed, diff)
	}
	if diff := cmp.Diff(states, connections); diff != "" {
		t.Fatalf("seed %d: the connections do not sum to the states: %s", seed, diff)
	}
}
