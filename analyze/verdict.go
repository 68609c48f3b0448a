package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// settledSeconds is how long a peer must have been gone before a connection
// that nobody closed counts as forgotten rather than about to be closed.
const settledSeconds = 2

// summary gives the verdict, and the sentences it rests on, the decisive one
// first.
func (c *comparison) summary(r *Result) Summary {
	s := Summary{
		Reasons: []string{}, NextSteps: []string{},
		Bytes:          c.total.bytes.delta(c.heapKnown()),
		Allocations:    c.total.count.delta(c.heapKnown()),
		Connections:    c.connectionTotal(),
		RetainedBytes:  c.inUse.bytes.delta(c.heapKnown()),
		ElapsedSeconds: c.elapsed(),
		Confidence:     c.confidence(),
	}
	if c.base != nil {
		closed := closedBetween(c.base, c.head, c.connections)
		if known := c.connectionsKnown(); known.base && known.head {
			s.ClosedConnections = snapshot.Known(closed)
		}
		if net, ok := growth(s.RetainedBytes); ok {
			if t, ok := s.ElapsedSeconds.Get(); ok && t != 0 {
				s.GrowthBytesPerSecond = snapshot.Known(float64(net) / math.Abs(t))
			}
			if n, ok := s.ClosedConnections.Get(); ok && n > 0 {
				s.GrowthBytesPerClosedConnection = snapshot.Known(float64(net) / float64(n))
			}
		}
	}
	v := verdicts{c: c, r: r, s: &s}
	switch {
	case c.base == nil:
		v.oneSnapshot()
	case !c.base.haveHeap || !c.head.haveHeap:
		v.withoutHeap()
	default:
		v.withHeap()
	}
	return s
}

func (c *comparison) connectionTotal() Pair {
	var t tally
	for _, s := range c.states {
		t.base += s.connections.base
		t.head += s.connections.head
	}
	return t.pair(c.connectionsKnown())
}

func (c *comparison) confidence() Confidence {
	for _, a := range []*Attribution{c.base, c.head} {
		if a != nil && (!a.haveHeap || !a.Snapshot.Heap.Complete) {
			return Inferred
		}
	}
	return Exact
}

// verdicts builds the verdict of one summary.
type verdicts struct {
	c *comparison
	r *Result
	s *Summary
}

func (v *verdicts) say(format string, args ...any) {
	v.s.Reasons = append(v.s.Reasons, fmt.Sprintf(format, args...))
}

func (v *verdicts) next(format string, args ...any) {
	v.s.NextSteps = append(v.s.NextSteps, fmt.Sprintf(format, args...))
}

func (v *verdicts) oneSnapshot() {
	v.s.Verdict = Inconclusive
	switch {
	case v.c.head.haveHeap:
		total := v.s.RetainedBytes.Head.Or(0)
		v.say("one snapshot: %s of off-heap memory are in use; growth takes a second snapshot to see", units.Bytes(total))
		v.sayDead(func(t tally) int64 { return t.head })
		v.next("capture again later and run: leakscope diff FIRST SECOND")
	default:
		v.say("one snapshot without heap evidence: connections and counters only")
		v.next("capture again with --heap to see which connection holds which memory")
	}
}

// sayDead names memory that nothing will ever use again.
func (v *verdicts) sayDead(of func(tally) int64) {
	for _, d := range v.c.dead() {
		if n := of(d.bytes); n > 0 {
			v.say("%s are %s", units.Bytes(n), d.what)
		}
	}
}

// deadMemory is memory that nothing will ever use again, by why.
type deadMemory struct {
	what  string
	of    string // as in Trend.Of
	key   string // as in Trend.Key
	bytes tally
}

// dead lists the kinds of memory whose growth is proof in itself.
func (c *comparison) dead() []deadMemory {
	all := []deadMemory{
		{what: "lost: used in a pool, but their buffer objects are garbage (a missing release)", of: "fate", key: string(snapshot.FateLost), bytes: c.fates[snapshot.FateLost].bytes},
		{what: "held by closed connections", of: "state", key: string(StateClosed), bytes: c.states[StateClosed].bytes},
		{what: "held by connections whose peer has closed and that nobody closes", of: "state", key: string(StatePeerClosed), bytes: c.settledPeerClosed()},
	}
	return all
}

// settledPeerClosed sums what peer-closed connections hold, leaving out those
// whose peer left a moment ago: a healthy server is about to close them. Where
// the base's peer-closed connections are still there, nobody closes them, and
// new ones count at once.
func (c *comparison) settledPeerClosed() tally {
	sums := c.states[StatePeerClosed].bytes
	if c.keepsPeerClosed() {
		return sums
	}
	for i, p := range c.connections {
		if p.head < 0 || c.head.Connections[p.head].State != StatePeerClosed {
			continue
		}
		if socket := c.head.Connections[p.head].Socket; socket != nil && socket.LastReceiveSeconds.Or(settledSeconds) < settledSeconds {
			sums.head -= c.held[i].bytes.head
			sums.created -= c.held[i].bytes.created
			sums.retained -= c.held[i].bytes.retained
		}
	}
	return sums
}

// keepsPeerClosed reports whether most of the base's peer-closed connections
// are still there at the head.
func (c *comparison) keepsPeerClosed() bool {
	kept, had := 0, 0
	for _, p := range c.connections {
		if p.base >= 0 && c.base.Connections[p.base].State == StatePeerClosed {
			had++
			if p.head >= 0 && c.head.Connections[p.head].State == StatePeerClosed {
				kept++
			}
		}
	}
	return had > 0 && kept*2 > had
}

// blocked sums what connections hold that could not send at the base and still
// cannot at the head: queued behind exhausted credit.
func (c *comparison) blocked() (tally, int) {
	var t tally
	n := 0
	for i, p := range c.connections {
		if p.base < 0 || p.head < 0 || !stuck(c.base.Connections[p.base].State) || !stuck(c.head.Connections[p.head].State) {
			continue
		}
		t.base += c.held[i].bytes.base
		t.head += c.held[i].bytes.head
		if c.held[i].bytes.head > c.held[i].bytes.base {
			n++
		}
	}
	return t, n
}

// withHeap judges growth with the evidence of reference paths on both sides.
func (v *verdicts) withHeap() {
	base, head := v.s.RetainedBytes.Base.Or(0), v.s.RetainedBytes.Head.Or(0)
	net, noise := head-base, v.c.options.noise(base)
	v.structure()
	total, haveTrend := v.trendOf("total", "retained", "second")
	switch {
	case len(v.s.Reasons) > 0:
		v.s.Verdict = Leak
	case haveTrend && total.Shape == Rising:
		v.s.Verdict = Leak
		v.say("retained off-heap memory rises by %s (90 %% interval %s to %s) over %d snapshots and does not level off",
			units.Rate(total.Slope.Or(0)), units.Rate(total.Low.Or(0)), units.Rate(total.High.Or(0)), total.Samples)
	case haveTrend && total.Shape == LevelingOff:
		v.s.Verdict = Steady
		v.say("retained off-heap memory rose at first and has leveled off: warm-up, not a leak")
	case net > noise:
		v.s.Verdict = Growing
		v.say("retained off-heap memory grew by %s, from %s to %s%s", units.Bytes(net), units.Bytes(base), units.Bytes(head), v.over())
		v.moreSnapshots(haveTrend, total)
	case net < -noise:
		v.s.Verdict = Shrinking
		v.say("retained off-heap memory shrank by %s, from %s to %s%s", units.Bytes(-net), units.Bytes(base), units.Bytes(head), v.over())
	default:
		v.s.Verdict = Steady
		v.say("retained off-heap memory is steady: %s, then %s%s", units.Bytes(base), units.Bytes(head), v.over())
	}
	v.mostGrown(net > noise)
	v.garbage()
	v.reserve()
	if v.s.Confidence != Exact && v.s.Verdict != Leak {
		v.say("part of the heap was not read: figures are lower bounds")
	}
}

// structure adds a reason for each kind of dead memory that grew, the most
// grown first.
func (v *verdicts) structure() {
	type reason struct {
		grown int64
		text  string
	}
	var all []reason
	for _, d := range v.c.dead() {
		grown := d.bytes.head - d.bytes.base
		if grown < structuralBytes || d.bytes.retained*2 < d.bytes.base {
			continue // too little, or what was there before has gone: it does get freed
		}
		if t, ok := v.trendOf(d.of, d.key, "second"); ok && (t.Shape == LevelingOff || t.Shape == Flat || t.Shape == Falling) {
			continue
		}
		all = append(all, reason{grown, fmt.Sprintf("%s more are %s: %s, then %s%s", units.Bytes(grown), d.what, units.Bytes(d.bytes.base), units.Bytes(d.bytes.head), v.over())})
	}
	if t, n := v.c.blocked(); t.head-t.base > v.c.options.noise(t.base) { // a bounded queue breathes
		all = append(all, reason{t.head - t.base, fmt.Sprintf("%s more are queued on %d %s whose peer takes nothing: %s, then %s%s",
			units.Bytes(t.head-t.base), n, plural(n, "connection"), units.Bytes(t.base), units.Bytes(t.head), v.over())})
	}
	slices.SortStableFunc(all, func(a, b reason) int { return cmp.Compare(b.grown, a.grown) })
	for _, r := range all {
		v.s.Reasons = append(v.s.Reasons, r.text)
	}
}

func (v *verdicts) trendOf(of, key, per string) (Trend, bool) {
	for _, t := range v.r.Trends {
		if t.Of == of && t.Key == key && t.Per == per {
			return t, true
		}
	}
	return Trend{}, false
}

// moreSnapshots says what would decide.
func (v *verdicts) moreSnapshots(haveTrend bool, total Trend) {
	have := int64(2)
	if haveTrend {
		have = total.Samples
	}
	need := max(1, samplesToDecide-have)
	every := ""
	if t, ok := v.s.ElapsedSeconds.Get(); ok && t > 0 {
		every = fmt.Sprintf(", %.0f s apart", math.Max(1, math.Round(t/float64(have-1))))
	}
	v.say("%d snapshots cannot tell a leak from warm-up; %d more%s would decide", have, need, every)
	v.next("leakscope capture --count %d --interval D PID, then leakscope diff over all of them", samplesToDecide)
}

// mostGrown names the holder that grew most.
func (v *verdicts) mostGrown(grew bool) {
	if !grew && v.s.Verdict != Leak {
		return
	}
	for _, h := range v.r.Holders {
		if h.Fate == snapshot.FateUnreachable || h.Fate == snapshot.FateRuntime {
			continue
		}
		if net, ok := growth(h.Bytes); ok && net > 0 && len(h.Path) > 0 {
			v.say("most of the growth (%s) is held through %s", units.Bytes(net), shortStep(h.Path[len(h.Path)-1]))
		}
		return
	}
}

// garbage says that dropped buffers wait for a collection.
func (v *verdicts) garbage() {
	t := v.c.fates[snapshot.FateUnreachable].bytes
	if t.head-t.base > v.c.options.noise(t.base) {
		v.say("%s more are garbage that waits for a collection (%s in all): not a leak", units.Bytes(t.head-t.base), units.Bytes(t.head))
	}
}

// reserve says that a pool grew without being used more.
func (v *verdicts) reserve() {
	t := v.c.fates[snapshot.FatePoolFree].bytes
	grown := t.head - t.base
	if v.s.Verdict == Steady && grown > v.c.options.noise(t.base) {
		v.say("pools reserve %s more than before; that memory is free for reuse", units.Bytes(grown))
	}
}

// withoutHeap judges by counters alone.
func (v *verdicts) withoutHeap() {
	v.s.Verdict = Inconclusive
	for _, row := range v.r.Reconciliation {
		if row.Counter == "rss" || row.Counter == "allocations" {
			continue
		}
		base, okBase := row.Base.Get()
		head, okHead := row.Head.Get()
		if !okBase || !okHead {
			continue
		}
		net, noise := head-base, v.c.options.noise(base)
		switch {
		case net > noise:
			v.s.Verdict = Growing
			v.say("%s grew by %s, from %s to %s%s", row.Counter, units.Bytes(net), units.Bytes(base), units.Bytes(head), v.over())
		case net < -noise:
			v.s.Verdict = Shrinking
			v.say("%s shrank by %s, from %s to %s%s", row.Counter, units.Bytes(-net), units.Bytes(base), units.Bytes(head), v.over())
		default:
			v.s.Verdict = Steady
			v.say("%s is steady: %s, then %s%s", row.Counter, units.Bytes(base), units.Bytes(head), v.over())
		}
		break
	}
	if v.s.Verdict == Inconclusive {
		v.say("no counter of off-heap memory was readable in both snapshots")
	}
	v.say("without heap evidence no memory can be attributed to a connection")
	v.next("capture with --heap to see which connection holds which memory")
}

func (v *verdicts) over() string {
	if t, ok := v.s.ElapsedSeconds.Get(); ok && t > 0 {
		return fmt.Sprintf(" (%s)", units.Seconds(t))
	}
	return ""
}
