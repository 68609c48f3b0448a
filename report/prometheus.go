package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// metricFamily is the samples of one name in the text exposition format 0.0.4.
type metricFamily struct {
	name, help string
	samples    []sample
}

type sample struct {
	labels []string // name, value, …
	value  float64
}

// add adds a sample; what is not known has none, because a missing figure must
// not read as zero.
func (f *metricFamily) add(v analyze.Int, labels ...string) {
	if n, ok := v.Get(); ok {
		f.samples = append(f.samples, sample{labels, float64(n)})
	}
}

func (f *metricFamily) addFloat(v analyze.Float, labels ...string) {
	if n, ok := v.Get(); ok {
		f.samples = append(f.samples, sample{labels, n})
	}
}

// sides adds the figure of the base and of the head.
func (f *metricFamily) sides(base, head analyze.Int, labels ...string) {
	f.add(base, append(slices.Clone(labels), "snapshot", "base")...)
	f.add(head, append(slices.Clone(labels), "snapshot", "head")...)
}

// flag adds 1 for yes and 0 for no.
func (f *metricFamily) flag(yes bool, labels ...string) {
	v := 0.0
	if yes {
		v = 1
	}
	f.samples = append(f.samples, sample{labels, v})
}

// Prometheus writes a result in Prometheus' text exposition format. Every label
// has a small closed set of values, or those of the policy; there are no
// addresses, paths or names of the target in it. A figure that is not known
// has no sample.
func Prometheus(w io.Writer, r *analyze.Result, gate *policy.Outcome, _ Options) error {
	var b strings.Builder
	for _, f := range append(resultMetrics(r), gateMetrics(gate)...) {
		f.write(&b)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write Prometheus text: %w", err)
	}
	return nil
}

func resultMetrics(r *analyze.Result) []metricFamily {
	s := &r.Summary
	verdict := metricFamily{name: "leakscope_verdict", help: "1 for the verdict of the comparison, 0 for the others."}
	for _, v := range []analyze.Verdict{analyze.Leak, analyze.Growing, analyze.Steady, analyze.Shrinking, analyze.Inconclusive} {
		verdict.flag(s.Verdict == v, "verdict", string(v))
	}
	confidence := metricFamily{name: "leakscope_confidence", help: "1 for the confidence of the verdict, 0 for the others."}
	for _, c := range []analyze.Confidence{analyze.Exact, analyze.Inferred, analyze.NoneKnown} {
		confidence.flag(s.Confidence == c, "confidence", string(c))
	}
	total := metricFamily{name: "leakscope_offheap_bytes", help: "Off-heap memory in all allocations but the runtime's own."}
	total.sides(s.Bytes.Base, s.Bytes.Head)
	inUse := metricFamily{name: "leakscope_offheap_in_use_bytes", help: "Off-heap memory that something keeps in use."}
	inUse.sides(s.RetainedBytes.Base, s.RetainedBytes.Head)
	growth := metricFamily{name: "leakscope_growth_bytes_per_second", help: "Growth of the off-heap memory in use."}
	growth.addFloat(s.GrowthBytesPerSecond)
	perClosed := metricFamily{name: "leakscope_growth_bytes_per_closed_connection", help: "Growth of the off-heap memory in use for each connection that ended."}
	perClosed.addFloat(s.GrowthBytesPerClosedConnection)
	closed := metricFamily{name: "leakscope_closed_connections", help: "Connections that ended between base and head."}
	closed.add(s.ClosedConnections)
	elapsed := metricFamily{name: "leakscope_elapsed_seconds", help: "Time between base and head."}
	elapsed.addFloat(s.ElapsedSeconds)
	taken := metricFamily{name: "leakscope_snapshot_timestamp_seconds", help: "When the last snapshot was taken, in Unix time."}
	if n := len(r.Inputs); n > 0 && !r.Inputs[n-1].Started.IsZero() {
		taken.samples = append(taken.samples, sample{nil, float64(r.Inputs[n-1].Started.UnixMilli()) / 1e3})
	}
	connections := metricFamily{name: "leakscope_state_connections", help: "Connections by lifecycle state."}
	stateBytes := metricFamily{name: "leakscope_state_bytes", help: "Off-heap memory held by connections, by lifecycle state."}
	queue := metricFamily{name: "leakscope_state_kernel_send_queue_bytes", help: "Unsent bytes in the kernel, by lifecycle state; outside the process's memory."}
	for _, row := range r.States {
		connections.sides(row.Connections.Base, row.Connections.Head, "state", string(row.State))
		stateBytes.sides(row.Bytes.Base, row.Bytes.Head, "state", string(row.State))
		queue.sides(row.KernelSendQueueBytes.Base, row.KernelSendQueueBytes.Head, "state", string(row.State))
	}
	fates := metricFamily{name: "leakscope_fate_bytes", help: "Off-heap memory by what became of it."}
	for _, row := range r.Fates {
		fates.sides(row.Bytes.Base, row.Bytes.Head, "fate", string(row.Fate))
	}
	return []metricFamily{
		verdict, confidence, total, inUse, growth, perClosed, closed, elapsed, taken, connections, stateBytes, queue, fates,
		findingMetric(r), sourceMetric(r),
	}
}

func findingMetric(r *analyze.Result) metricFamily {
	f := metricFamily{name: "leakscope_findings", help: "Findings by cause and severity."}
	count := map[string]int64{}
	severities := []analyze.Severity{analyze.SeverityError, analyze.SeverityWarning, analyze.SeverityNote}
	for i := range r.Findings {
		count[r.Findings[i].Cause+"\x00"+string(r.Findings[i].Severity)]++
	}
	looked := len(r.Inputs) > 0 && len(whyNoHeap(r)) == 0 // else none found is not none
	for _, cause := range analyze.Causes() {
		for _, s := range severities {
			if n := count[cause+"\x00"+string(s)]; n > 0 || looked {
				f.samples = append(f.samples, sample{[]string{"cause", cause, "severity", string(s)}, float64(n)})
			}
		}
	}
	return f
}

// sourceMetric counts the inputs by source and status.
func sourceMetric(r *analyze.Result) metricFamily {
	f := metricFamily{name: "leakscope_sources", help: "Snapshots by evidence source and its status."}
	count := map[[2]string]int{}
	for _, s := range r.Sources {
		count[[2]string{s.Name, string(s.Status)}]++
	}
	var keys [][2]string
	for k := range count {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, k := range keys {
		f.samples = append(f.samples, sample{[]string{"source", k[0], "status", k[1]}, float64(count[k])})
	}
	return f
}

func gateMetrics(gate *policy.Outcome) []metricFamily {
	if gate == nil {
		return nil
	}
	answer := metricFamily{name: "leakscope_gate", help: "1 for the answer of the gate, 0 for the others."}
	for _, g := range []policy.Gate{policy.Passed, policy.Failed, policy.Unjudged} {
		answer.flag(gate.Gate == g, "gate", string(g))
	}
	rules := metricFamily{name: "leakscope_rule_status", help: "1 for the status of each rule of the gate, 0 for the others."}
	for i := range gate.Rules {
		rule := &gate.Rules[i]
		for _, s := range []policy.Status{policy.StatusPass, policy.StatusFail, policy.StatusUnjudged, policy.StatusWaived, policy.StatusSkipped} {
			rules.flag(rule.Status == s, "rule", rule.ID, "level", string(rule.Level), "status", string(s))
		}
	}
	return []metricFamily{answer, rules}
}

func (f *metricFamily) write(b *strings.Builder) {
	if len(f.samples) == 0 {
		return
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n", f.name, f.help, f.name)
	seen := map[string]bool{}
	for _, s := range f.samples {
		var line strings.Builder
		line.WriteString(f.name)
		for i := 0; i+1 < len(s.labels); i += 2 {
			separator := ","
			if i == 0 {
				separator = "{"
			}
			line.WriteString(separator + s.labels[i] + `="` + labelValue.Replace(strings.ToValidUTF8(s.labels[i+1], "\uFFFD")) + `"`)
		}
		if len(s.labels) > 0 {
			line.WriteByte('}')
		}
		if seen[line.String()] {
			continue // a reader refuses the same series twice
		}
		seen[line.String()] = true
		b.WriteString(line.String() + " " + number(s.value) + "\n")
	}
}

var labelValue = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
