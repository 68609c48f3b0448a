package policy

import (
	"math"
	"slices"

	"github.com/leakscope/leakscope/analyze"
)

// truth is the answer to a condition.
type truth int8

const (
	no truth = iota
	unknown
	yes
)

func (t truth) not() truth { return yes - t }

// interval is what is known of a number: it lies between low and high. One
// that is known exactly has both equal; one of which nothing is known reaches
// from -Inf to +Inf. Partial evidence gives a bound on one side, and a bound
// can be enough to judge by.
type interval struct{ low, high float64 }

func exactly(v float64) interval { return interval{v, v} }

var anything = interval{math.Inf(-1), math.Inf(1)}

func (i interval) exact() bool { return i.low == i.high }

// none reports that nothing is known, but that the number may be of a kind that
// is never negative.
func (i interval) none() bool {
	return math.IsInf(i.high, 1) && (math.IsInf(i.low, -1) || i.low == 0)
}

// clean turns what arithmetic on infinities leaves undefined into "not known".
func (i interval) clean() interval {
	if math.IsNaN(i.low) || math.IsInf(i.low, 1) {
		i.low = math.Inf(-1)
	}
	if math.IsNaN(i.high) || math.IsInf(i.high, -1) {
		i.high = math.Inf(1)
	}
	if i.low > i.high {
		return anything
	}
	return i
}

func (i interval) negative() interval { return interval{-i.high, -i.low} }

func (i interval) plus(j interval) interval { return interval{i.low + j.low, i.high + j.high}.clean() }

func (i interval) minus(j interval) interval { return i.plus(j.negative()) }

func (i interval) times(j interval) interval {
	product := func(a, b float64) float64 {
		if a == 0 || b == 0 {
			return 0 // also of an unbounded other: the figure itself is finite
		}
		return a * b
	}
	all := []float64{product(i.low, j.low), product(i.low, j.high), product(i.high, j.low), product(i.high, j.high)}
	return interval{slices.Min(all), slices.Max(all)}.clean()
}

// over divides; a divisor that may be zero leaves nothing known.
func (i interval) over(j interval) interval {
	if j.low <= 0 && j.high >= 0 {
		return anything
	}
	return i.times(interval{1 / j.high, 1 / j.low})
}

// compare judges i op j by what is known of both.
func (i interval) compare(op string, j interval) truth {
	switch op {
	case "<":
		return decide(i.high < j.low, i.low >= j.high)
	case "<=":
		return decide(i.high <= j.low, i.low > j.high)
	case ">":
		return decide(i.low > j.high, i.high <= j.low)
	case ">=":
		return decide(i.low >= j.high, i.high < j.low)
	case "==":
		return decide(i.exact() && j.exact() && i.low == j.low, i.high < j.low || i.low > j.high)
	}
	return i.compare("==", j).not()
}

func decide(surely, surelyNot bool) truth {
	switch {
	case surely:
		return yes
	case surelyNot:
		return no
	}
	return unknown
}

// figure is the value of a metric, and why it is not known better.
type figure struct {
	interval            // of a number
	text       bool     // the metric is a word, not a number
	word       string   // of a text metric
	sure       bool     // the word is certain
	open       []string // other words that are not excluded
	missing    []string // what evidence is missing, empty when known
	from       string   // the place in the result
	evidence   []string // the sources behind it
	confidence analyze.Confidence
	samples    int // snapshots that have the evidence
}

func (f *figure) known() bool {
	if f.text {
		return f.sure && len(f.open) == 0
	}
	return f.exact()
}

// compareWord judges the word against a literal.
func (f *figure) compareWord(op, literal string) truth {
	is := no
	switch {
	case f.word == literal && f.sure:
		is = yes
	case f.word == literal || slices.Contains(f.open, literal):
		is = unknown
	}
	if op == "!=" {
		return is.not()
	}
	return is
}

// forget makes nothing of the figure known, for the given reason.
func (f *figure) forget(words []string, reason string) {
	f.interval, f.sure, f.open = anything, false, words
	f.missing = append(slices.Clone(f.missing), reason)
}

// rank orders confidences, best first.
func rank(c analyze.Confidence) int {
	switch c {
	case analyze.Exact:
		return 0
	case analyze.Inferred:
		return 1
	}
	return 2
}

func worst(a, b analyze.Confidence) analyze.Confidence {
	if rank(a) >= rank(b) {
		return a
	}
	return b
}
