package analyze

import (
	"fmt"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// limit is a bound on memory, and how much of it is used.
type limit struct {
	name, source string
	used, bound  Int
	series       string // as in Trend.Key of a counter; "" when it has none
}

// cgroupSeries is the container's memory use among the trends of counters.
const cgroupSeries = "cgroup"

// limitsOf lists the limits that a snapshot knows with their use.
func limitsOf(s *snapshot.Snapshot) []limit {
	var all []limit
	if s.JVM != nil {
		for _, c := range s.Counters() {
			if row, ok := heapCounter(s.Heap, c); ok {
				all = append(all, limit{
					name: "MaxDirectMemorySize", source: c.Name + " and the JVM's flags",
					used: lessGarbage(row.value, s.Heap), bound: s.JVM.MaxDirectMemoryBytes, series: c.Name,
				})
			}
		}
	}
	if s.Memory != nil {
		all = append(all, limit{
			name: "container memory limit", source: "cgroup",
			used: s.Memory.CgroupUsedBytes, bound: s.Memory.CgroupLimitBytes, series: cgroupSeries,
		})
	}
	return all
}

// lessGarbage leaves out what the JDK frees before it fails: at its limit it
// collects first.
func lessGarbage(used Int, h *snapshot.Heap) Int {
	bytes, ok := used.Get()
	if !ok {
		return used
	}
	garbage := sumOf(h, func(a *snapshot.Allocation) bool { return a.Fate == snapshot.FateUnreachable })
	return snapshot.Known(max(0, bytes-garbage.Or(0)))
}

// The shares of a limit at which it is worth a word.
const (
	warnShare   = 0.80
	errorShare  = 0.95
	soonSeconds = 3600
)

// limitFindings tells of limits that are near, or that the present growth
// reaches soon.
func (c *comparison) limitFindings(r *Result) []Finding {
	var all []Finding
	for _, l := range limitsOf(c.head.Snapshot) {
		used, okUsed := l.used.Get()
		bound, okBound := l.bound.Get()
		if !okUsed || !okBound || bound <= 0 {
			continue
		}
		share := float64(used) / float64(bound)
		d := Delta{Head: l.used}
		text := fmt.Sprintf("%s of %s in use (%.0f %%), garbage not counted", units.Bytes(used), units.Bytes(bound), share*100)
		soon := false
		if c.base != nil {
			for _, b := range limitsOf(c.base.Snapshot) {
				if b.name == l.name && b.series == l.series {
					d.Base = b.used
				}
			}
			var words string
			words, soon = c.timeLeft(r, l, d, bound-used)
			text += words
		}
		var severity Severity
		switch {
		case share >= errorShare:
			severity = SeverityError
		case share >= warnShare || soon:
			severity = SeverityWarning
		default:
			continue
		}
		cause, title, disproof := CauseNearLimit, "the "+l.name+" is near", "the growth levels off below the limit"
		if c.rests(r, l, d) {
			// The load as it is needs nearly all of it: nothing leaks into it.
			cause, title, disproof = CauseLimitTooLow, "the "+l.name+" is low for what is steadily in use", "the use grows in later snapshots, or falls under the same load"
			severity = SeverityWarning
		}
		f := Finding{
			ID: cause + "//" + l.name, Cause: cause,
			Title: title, Severity: severity, Confidence: Exact, States: []State{}, Bytes: d,
			Evidence: []Evidence{{Text: text, Source: l.source}},
			Disproof: disproof,
		}
		f.Remedy, f.Verify = remedy(cause, "", "")
		all = append(all, f)
	}
	return all
}

// rests reports that what counts against a limit is known not to grow.
func (c *comparison) rests(r *Result, l limit, d Delta) bool {
	if shape, ok := shapeOf(r, "counter", l.series); ok {
		return shape != Rising && shape != Undecided
	}
	net, ok := growth(d)
	return ok && net <= c.options.noise(d.Base.Or(0))
}

// timeLeft says when the limit is reached at the present rate, and whether
// that is soon.
func (c *comparison) timeLeft(r *Result, l limit, d Delta, room int64) (string, bool) {
	for _, t := range r.Trends {
		if t.Of != "counter" || t.Key != l.series || t.Per != "second" {
			continue
		}
		low, okLow := t.Low.Get()
		high, okHigh := t.High.Get()
		if slope := t.Slope.Or(0); slope > 0 && okLow && okHigh && low > 0 {
			return fmt.Sprintf("; reached in %s at the present rate (90 %% interval %s to %s)",
				units.Seconds(float64(room)/slope), units.Seconds(float64(room)/high), units.Seconds(float64(room)/low)), float64(room)/slope < soonSeconds
		}
		return "", false
	}
	net, ok := growth(d)
	seconds, okTime := c.elapsed().Get()
	if !ok || !okTime || seconds <= 0 || net <= c.options.noise(d.Base.Or(0)) {
		return "", false
	}
	left := float64(room) / (float64(net) / seconds)
	// Two points, seconds apart, prove no rate: what they say only counts where
	// the limit is half used up.
	used := d.Head.Or(0)
	return fmt.Sprintf("; reached in %s if the growth between the two snapshots goes on", units.Seconds(left)), left < soonSeconds && used >= room
}
