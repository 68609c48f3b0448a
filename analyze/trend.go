package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/leakscope/leakscope/snapshot"
)

// slopeEstimate is a Theil–Sen slope with its confidence interval.
type slopeEstimate struct {
	slope     float64
	low, high float64
	bounded   bool // false: too few points for an interval
}

// tail is the share of the distribution left out on each side of the interval:
// 5 %, so that a lower bound above zero is wrong at most once in twenty.
const tail = 0.05

// maxTrendSamples bounds the pairs that are formed; more snapshots than this
// are thinned evenly.
const maxTrendSamples = 512

// theilSen estimates the slope of y over x: the median of the slopes of all
// pairs, and Sen's interval from the exact distribution of Kendall's score
// (Sen 1968; Hollander and Wolfe, Nonparametric Statistical Methods, 9.3). It
// takes at least two points with different x; the interval needs four.
func theilSen(x, y []float64) (slopeEstimate, bool) {
	if len(x) > maxTrendSamples {
		x, y = thin(x), thin(y)
	}
	var slopes []float64
	for i := range x {
		for j := i + 1; j < len(x); j++ {
			if x[i] != x[j] {
				slopes = append(slopes, (y[j]-y[i])/(x[j]-x[i]))
			}
		}
	}
	if len(slopes) == 0 {
		return slopeEstimate{}, false
	}
	slices.Sort(slopes)
	e := slopeEstimate{slope: median(slopes)}
	if k := kendallQuantile(len(x), tail); k > 0 {
		// Pairs of equal x were left out; the rank moves with the number kept.
		rank := (len(slopes) - (k - 2)) / 2
		if rank >= 1 {
			e.low, e.high, e.bounded = slopes[rank-1], slopes[len(slopes)-rank], true
		}
	}
	return e, true
}

func thin(all []float64) []float64 {
	kept := make([]float64, maxTrendSamples)
	for i := range kept {
		kept[i] = all[i*(len(all)-1)/(maxTrendSamples-1)]
	}
	return kept
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// exactKendall is the largest sample whose score is taken from its exact
// distribution; beyond it the normal approximation is as good.
const exactKendall = 40

// kendallQuantile is the least k such that Kendall's score of n independent
// points reaches k with probability at most alpha; 0 when no score is that rare.
func kendallQuantile(n int, alpha float64) int {
	pairs := n * (n - 1) / 2
	if n > exactKendall {
		sigma := math.Sqrt(float64(n) * float64(n-1) * float64(2*n+5) / 18)
		k := int(math.Ceil(sigma * math.Sqrt2 * math.Erfinv(1-2*alpha)))
		return k + (pairs-k)%2 // scores have the parity of the number of pairs
	}
	// probability[i] is that of i inversions among n points, built up one point
	// at a time; score = pairs − 2i.
	probability := []float64{1}
	for m := 2; m <= n; m++ {
		next := make([]float64, len(probability)+m-1)
		for i, p := range probability {
			for j := range m {
				next[i+j] += p / float64(m)
			}
		}
		probability = next
	}
	sum, inversions := 0.0, -1
	for i, p := range probability {
		if sum += p; sum > alpha {
			break
		}
		inversions = i
	}
	if inversions < 0 {
		return 0
	}
	return pairs - 2*inversions
}

// samplesToDecide is the least number of snapshots for which an interval exists.
const samplesToDecide = 4

// levelShare is the share of the overall slope below which the last part of a
// series counts as levelled off.
const levelShare = 0.2

// shape says how y moved over x, where a change of noise bytes is nothing.
func shape(x, y []float64, e slopeEstimate, noise float64) Shape {
	net := y[len(y)-1] - y[0]
	if math.Abs(net) <= noise && spread(y) <= 2*noise {
		return Flat
	}
	switch {
	case net > noise && levelsOff(x, y, e, noise):
		return LevelingOff
	case e.bounded && e.low > 0 && net > noise:
		return Rising
	case e.bounded && e.high < 0 && net < -noise:
		return Falling
	case e.bounded && math.Abs(net) <= noise:
		return Flat
	}
	return Undecided
}

func spread(y []float64) float64 { return slices.Max(y) - slices.Min(y) }

// levelsOff compares the last third of the time with the first two: it rose
// before, and what is left of the rise is noise or a small share of it.
func levelsOff(x, y []float64, e slopeEstimate, noise float64) bool {
	if len(x) < samplesToDecide || e.slope < 0 {
		return false
	}
	from := x[0] + (x[len(x)-1]-x[0])*2/3
	i := 0
	for i < len(x)-2 && x[i] < from-1e-9 {
		i++
	}
	early, late := y[i]-y[0], y[len(y)-1]-y[i]
	if early <= noise {
		return false
	}
	earlyRate := early / (x[i] - x[0])
	lateRate := late / (x[len(x)-1] - x[i])
	return late <= noise/4 || lateRate < levelShare*earlyRate
}

// series is one figure at every input.
type series struct {
	of, key string
	values  []Int
}

// trends follows every figure that holds bytes over three snapshots or more.
func (c *comparison) trends() []Trend {
	rows := []Trend{}
	all := c.attributions()
	if len(all) < 3 {
		return rows
	}
	times := make([]float64, len(all))
	for i, a := range all {
		t, ok := elapsed(all[0].Snapshot, a.Snapshot).Get()
		if !ok {
			return rows
		}
		times[i] = t
	}
	closed := closedSoFar(all)
	for _, s := range c.allSeries(all) {
		rows = append(rows, c.trend(s, times, "second"))
		if s.of == "total" && closed[len(closed)-1] > 0 {
			rows = append(rows, c.trend(s, closed, "closed-connection"))
		}
	}
	return rows
}

func (c *comparison) attributions() []*Attribution {
	if c.base == nil {
		return nil
	}
	return append(append([]*Attribution{c.base}, c.between...), c.head)
}

func (c *comparison) trend(s series, x []float64, per string) Trend {
	t := Trend{Of: s.of, Key: s.key, Per: per, Shape: Undecided, Values: s.values}
	var xs, ys []float64
	for i, v := range s.values {
		if bytes, ok := v.Get(); ok {
			xs, ys = append(xs, x[i]), append(ys, float64(bytes))
		}
	}
	t.Samples = int64(len(xs))
	e, ok := theilSen(xs, ys)
	if !ok || len(xs) < 3 {
		return t
	}
	t.Slope = snapshot.Known(e.slope)
	if e.bounded {
		t.Low, t.High = snapshot.Known(e.low), snapshot.Known(e.high)
	}
	t.Shape = shape(xs, ys, e, float64(c.options.noise(int64(ys[0]))))
	return t
}

// closedSoFar counts, at each input, the connections that had ended since the
// first: those that were there and are gone, closed, or closed by their peer.
func closedSoFar(all []*Attribution) []float64 {
	count := make([]float64, len(all))
	for i := 1; i < len(all); i++ {
		count[i] = count[i-1] + float64(closedBetween(all[i-1], all[i], matchConnections(all[i-1].Connections, all[i].Connections)))
	}
	return count
}

// closedBetween counts the connections that ended between two snapshots.
func closedBetween(base, head *Attribution, pairs []connectionPair) int64 {
	ended := func(s State) bool { return s == StateClosed || s == StateClosing || s == StatePeerClosed }
	var n int64
	for _, p := range pairs {
		wasOpen := p.base < 0 || !ended(base.Connections[p.base].State)
		isOver := p.head < 0 || ended(head.Connections[p.head].State)
		if wasOpen && isOver {
			n++
		}
	}
	return n
}

// allSeries lists every figure with bytes at some input, in a stable order.
func (c *comparison) allSeries(all []*Attribution) []series {
	type key struct{ of, key string }
	table := map[key][]Int{}
	for i, a := range all {
		add := func(of, name string, bytes int64) {
			k := key{of, name}
			if table[k] == nil {
				table[k] = make([]Int, len(all))
			}
			table[k][i] = snapshot.Known(table[k][i].Or(0) + bytes)
		}
		a.eachFigure(add)
	}
	rows := make([]series, 0, len(table))
	for k, values := range table {
		for i, a := range all { // known, and nothing there: zero
			if !values[i].IsKnown() && a.haveHeap && k.of != "counter" {
				values[i] = snapshot.Known[int64](0)
			}
		}
		rows = append(rows, series{k.of, k.key, values})
	}
	order := []string{"total", "fate", "state", "holder", "connection", "counter"}
	slices.SortFunc(rows, func(a, b series) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.of), slices.Index(order, b.of)), cmp.Compare(a.key, b.key))
	})
	return rows
}

// eachFigure reports the bytes of one snapshot by fate, state, holder and
// connection, and its counters. The total "retained" is what reports call
// retained: memory in use, not a pool's reserve or garbage.
func (a *Attribution) eachFigure(add func(of, key string, bytes int64)) {
	if a.haveHeap {
		add("total", "retained", 0)
		for _, f := range snapshot.Fates() {
			add("fate", string(f), 0)
		}
	}
	for i := range a.allocations() {
		x := &a.Snapshot.Heap.Allocations[i]
		add("fate", string(x.Fate), x.Bytes)
		if inUse(x) {
			add("total", "retained", x.Bytes)
		}
		if x.Holder >= 0 {
			add("holder", holderName(&a.Snapshot.Heap.Holders[x.Holder]), x.Bytes)
		}
		if x.Connection >= 0 && a.ByHeap[x.Connection] >= 0 {
			conn := &a.Connections[a.ByHeap[x.Connection]]
			add("state", string(conn.State), x.Bytes)
			add("connection", conn.ID(), x.Bytes)
		}
	}
	for _, counter := range counters(a.Snapshot) {
		if v, ok := counter.value.Get(); ok {
			add("counter", counter.name, v)
		}
	}
	if a.Snapshot.Memory != nil {
		if v, ok := a.Snapshot.Memory.CgroupUsedBytes.Get(); ok {
			add("counter", cgroupSeries, v)
		}
	}
}

// inUse reports whether something retains an allocation, rather than that it is
// kept for reuse, waits for a collection, or is the JVM's own. A thread's cache
// inside a pool is bounded by the pool (a remainder of its chunk); the JDK's
// caches of temporary buffers are not bounded by anything.
func inUse(a *snapshot.Allocation) bool {
	switch a.Fate {
	case snapshot.FateConnection, snapshot.FateApplication, snapshot.FateLost, snapshot.FateUnattributed:
		return true
	case snapshot.FateThreadCache:
		return !a.Remainder
	}
	return false
}
