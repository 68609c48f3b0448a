package policy

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/leakscope/leakscope/analyze"
)

// NotHealthyError says why no policy can be derived from a result: its limits
// would be those of a leak, or of evidence that is missing.
type NotHealthyError struct{ Reasons []string }

func (e *NotHealthyError) Error() string {
	return "the snapshots are not a healthy pair: " + strings.Join(e.Reasons, "; ")
}

// proposal is a rule that Init offers where it holds for the healthy pair.
type proposal struct {
	id, comment, metric string
	floor               float64 // the least limit, in bytes or as a count
	constant            string  // instead of a limit: the whole condition
}

const (
	// headroom is how far above the healthy figure a limit is set.
	headroom = 4
	floorMiB = 1 << 20
)

var proposals = []proposal{
	{
		id: "no-leak", constant: `summary.verdict != "leak"`,
		comment: "The verdict as a whole: neither growth nor structure proves a leak.",
	},
	{
		id: "no-severe-findings", constant: `findings{severity="error"} == 0`,
		comment: "No problem with a name and a cause.",
	},
	{
		id: "peer-closed-growth", metric: `delta.retained_bytes{state="peer-closed"}`, floor: floorMiB,
		comment: "Memory held by connections whose peer has ended and that nobody closes.",
	},
	{
		id: "closed-growth", metric: `delta.retained_bytes{state="closed"}`, floor: floorMiB,
		comment: "Memory held by channels whose socket is gone.",
	},
	{
		id: "stalled-growth", metric: `delta.retained_bytes{state="stalled"}`, floor: 8 * floorMiB,
		comment: "Memory queued for peers that do not take it: back-pressure that is ignored.",
	},
	{
		id: "unreachable-growth", metric: `delta.retained_bytes{state="unreachable"}`, floor: floorMiB,
		comment: "Memory held for peers that no longer answer: no keepalive, no timeout.",
	},
	{
		id: "lost-growth", metric: `delta.retained_bytes{fate="lost"}`, floor: 256 << 10,
		comment: "Pool memory in use whose buffer object is garbage: a missing release().",
	},
	{
		id: "per-connection-growth", metric: "slope.retained_bytes_per_closed_connection", floor: 1 << 10,
		comment: "Growth for each connection that ended: this tells a leak from warm-up.",
	},
	{
		id: "total-growth", metric: "delta.retained_bytes", floor: 8 * floorMiB,
		comment: "Growth of everything in use between the snapshots; depends on the load in between.",
	},
	{
		id: "total", metric: "head.retained_bytes", floor: 16 * floorMiB,
		comment: "Everything in use at the end.",
	},
}

// Init writes a policy with comments whose limits are derived from a healthy
// pair of snapshots: four times what was seen, rounded up, and never below a
// floor. It parses, and passes on that pair. A rule whose evidence the pair
// does not have is written as a comment with the reason. A pair that the
// built-in policy does not pass is a [NotHealthyError].
func Init(healthy *analyze.Result) ([]byte, error) {
	now := time.Time{} // there are no waivers
	in := read(healthy)
	if o := Evaluate(Default(), healthy, now); o.Gate != Passed {
		e := &NotHealthyError{}
		for _, r := range o.Rules {
			if r.Level == LevelError {
				e.Reasons = append(e.Reasons, r.Reasons...)
			}
		}
		return nil, e
	}
	var b bytes.Buffer
	b.WriteString(initHead)
	for _, p := range proposals {
		p.write(&b, in)
	}
	b.WriteString(initTail)
	return b.Bytes(), nil
}

const initHead = `# A policy for "leakscope check --policy FILE BASE HEAD…".
#
# Each rule's expr is the condition that must hold. Its limits were derived
# from a healthy pair of snapshots: four times what was measured there, rounded
# up, and never below a floor. Tighten them where you know better.
#
# A rule can also have:
#   level: warning        # error (default) decides the gate; warning and note do not
#   on_missing: skip      # fail (default): without the evidence the gate does not pass
#   min_samples: 4        # the least number of snapshots
#   confidence: exact     # only figures from walked reference paths
version: 1
rules:
`

const initTail = `
# A rule may fail until a date, for a reason:
# waivers:
#   - rule: total-growth
#     until: 2030-01-31
#     reason: the cache is being replaced, see the ticket
`

// write adds the rule, or, where the pair cannot judge it, says why not.
func (p *proposal) write(b *bytes.Buffer, in *reading) {
	expr, seen := p.constant, ""
	if expr == "" {
		metric, faults := parseExpression(p.metric + " <= 0")
		if len(faults) > 0 { // a test parses every proposal
			return
		}
		m := metric.metrics()[0]
		f := m.metric.read(in, m)
		limit := p.floor
		if !math.IsInf(f.high, 0) {
			limit = math.Max(limit, headroom*f.high)
		}
		expr = p.metric + " <= " + limitText(limit, m.metric.Unit)
		if f.exact() {
			seen = " Measured: " + f.value(m).String() + "."
		}
	}
	rule := Rule{ID: p.id, Level: LevelError}
	e, faults := parseExpression(expr)
	if len(faults) > 0 {
		return
	}
	rule.Expr = e
	o := in.judge(&rule)
	mark := ""
	fmt.Fprintf(b, "\n  # %s%s\n", p.comment, seen)
	if o.Status != StatusPass {
		mark = "# "
		fmt.Fprintf(b, "  # Left out, because these snapshots do not pass it: %s\n", strings.Join(o.Reasons, "; "))
	}
	fmt.Fprintf(b, "  %s- id: %s\n  %s  expr: %s\n", mark, p.id, mark, yamlString(expr))
}

// yamlString writes an expression as a YAML scalar: as it is, where its quotes
// are double ones, in single quotes.
func yamlString(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// limitText rounds a limit up to a number with one or two figures and a unit.
func limitText(v float64, unit Unit) string {
	if unit != UnitBytes {
		return fmt.Sprintf("%.0f", math.Ceil(v))
	}
	names, i := []string{"B", "KiB", "MiB", "GiB", "TiB"}, 0
	for v >= 1024 && i < len(names)-1 {
		v /= 1024
		i++
	}
	// Up to the next of 1, 2, 3, … 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, …
	step := 1.0
	for v > 8*step {
		step *= 2
	}
	return fmt.Sprintf("%.0f%s", math.Ceil(v/step)*step, names[i])
}
