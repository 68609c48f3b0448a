package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// The conditions that come out as asked, whatever pair is judged.
var conditions = map[Status]string{
	StatusPass:     "summary.snapshots == 2",
	StatusFail:     "summary.snapshots == 3",
	StatusUnjudged: `delta.counter_bytes{counter="nobody"} == 0`,
}

func parsePolicy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text), "gate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGatePrecedence is the whole table: a rule that fails before one that
// cannot be judged, and warnings and notes never.
func TestGatePrecedence(t *testing.T) {
	r := healthy(t)
	for _, c := range []struct {
		rules string // level:status[:skip], in order
		want  Gate
	}{
		{"error:pass", Passed},
		{"error:fail", Failed},
		{"error:unjudged", Unjudged},
		{"error:unjudged:skip", Unjudged}, // nothing was judged
		{"error:pass error:fail", Failed},
		{"error:pass error:unjudged", Unjudged},
		{"error:pass error:unjudged:skip", Passed},
		{"error:fail error:unjudged", Failed},
		{"error:unjudged error:fail", Failed},
		{"error:fail error:unjudged:skip", Failed},
		{"error:unjudged error:unjudged:skip", Unjudged},
		{"error:unjudged:skip error:unjudged:skip", Unjudged},
		{"warning:fail", Passed},
		{"note:fail", Passed},
		{"warning:unjudged", Passed},
		{"warning:fail error:pass note:unjudged", Passed},
		{"warning:fail error:unjudged", Unjudged},
		{"warning:unjudged error:fail", Failed},
		{"warning:pass error:unjudged:skip", Unjudged},
	} {
		var b strings.Builder
		b.WriteString("version: 1\nrules:\n")
		for i, rule := range strings.Fields(c.rules) {
			part := strings.Split(rule, ":")
			fmt.Fprintf(&b, "  - {id: r%d, level: %s, expr: '%s'", i, part[0], conditions[Status(part[1])])
			if len(part) > 2 {
				b.WriteString(", on_missing: skip")
			}
			b.WriteString("}\n")
		}
		o := Evaluate(parsePolicy(t, b.String()), r, time.Time{})
		if o.Gate != c.want {
			t.Errorf("%s: %s, want %s", c.rules, o.Gate, c.want)
		}
		if (o.Gate == Passed) != (len(o.Reasons) == 0) {
			t.Errorf("%s: %s with reasons %q", c.rules, o.Gate, o.Reasons)
		}
	}
}

func TestWaivers(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	r := healthy(t)
	for _, c := range []struct {
		name, condition string
		waivers         string
		status          Status
		gate            Gate
		states          []WaiverState
	}{
		{"in force", conditions[StatusFail], "2026-12-01", StatusWaived, Passed, []WaiverState{WaiverUsed}},
		{"covers the unjudged too", conditions[StatusUnjudged], "2026-12-01", StatusWaived, Passed, []WaiverState{WaiverUsed}},
		{"not needed", conditions[StatusPass], "2026-12-01", StatusPass, Passed, []WaiverState{WaiverUnneeded}},
		{"expired", conditions[StatusFail], "2026-10-31", StatusFail, Failed, []WaiverState{WaiverExpired}},
		{"expired, unjudged", conditions[StatusUnjudged], "2026-10-31", StatusUnjudged, Unjudged, []WaiverState{WaiverExpired}},
		{"expired, passes", conditions[StatusPass], "2026-10-31", StatusPass, Passed, []WaiverState{WaiverExpired}},
		{"to the second, before", conditions[StatusFail], "2026-11-01T12:00:01Z", StatusWaived, Passed, []WaiverState{WaiverUsed}},
		{"to the second, at", conditions[StatusFail], "2026-11-01T12:00:00Z", StatusFail, Failed, []WaiverState{WaiverExpired}},
		{"in another zone", conditions[StatusFail], "2026-11-01T13:00:00+02:00", StatusFail, Failed, []WaiverState{WaiverExpired}},
		{"on its last day", conditions[StatusFail], "2026-11-01", StatusWaived, Passed, []WaiverState{WaiverUsed}},
		{"expired and renewed", conditions[StatusFail], "2026-10-01 2026-12-01", StatusWaived, Passed, []WaiverState{WaiverExpired, WaiverUsed}},
	} {
		text := "version: 1\nrules:\n  - {id: a, expr: '" + c.condition + "'}\nwaivers:\n"
		for _, until := range strings.Fields(c.waivers) {
			text += "  - {rule: a, until: " + until + ", reason: being fixed}\n"
		}
		o := Evaluate(parsePolicy(t, text), r, now)
		var states []WaiverState
		for _, w := range o.Waivers {
			states = append(states, w.State)
		}
		if o.Rules[0].Status != c.status || o.Gate != c.gate || !slices.Equal(states, c.states) {
			t.Errorf("%s: rule %s, gate %s, waivers %s", c.name, o.Rules[0].Status, o.Gate, states)
		}
		says := strings.Contains(strings.Join(o.Rules[0].Reasons, "\n"), "its waiver has expired on 2026-1")
		if want := slices.Equal(c.states, []WaiverState{WaiverExpired}) && c.status != StatusPass; says != want {
			t.Errorf("%s: says that the waiver has expired: %v, want %v", c.name, says, want)
		}
		if (c.status == StatusWaived) != strings.HasSuffix(o.Rules[0].Waiver, ": being fixed") {
			t.Errorf("%s: waiver %q", c.name, o.Rules[0].Waiver)
		}
	}
}

func TestMinSamples(t *testing.T) {
	rule := func(expr string, n int) string {
		return fmt.Sprintf("version: 1\nrules:\n  - {id: a, expr: '%s', min_samples: %d}\n", expr, n)
	}
	three := []*world{healthyWorld(0), healthyWorld(60).withhold(snapshot.SourceHeapDump, snapshot.StatusDenied), healthyWorld(120)}
	r := diff(t, three...)
	for _, c := range []struct {
		expr string
		n    int
		want Status
	}{
		{"delta.bytes <= 1MiB", 2, StatusPass},
		{"delta.bytes <= 1MiB", 3, StatusUnjudged}, // one of the three has no heap
		{"delta.bytes > 1MiB", 3, StatusUnjudged},  // so neither does it fail
		{"delta.connections{state=\"idle\"} == 0", 3, StatusPass},
		{"delta.connections{state=\"idle\"} == 0", 4, StatusUnjudged},
		{"summary.snapshots == 3", 3, StatusPass},
	} {
		o := Evaluate(parsePolicy(t, rule(c.expr, c.n)), r, time.Time{})
		if o.Rules[0].Status != c.want {
			t.Errorf("%s with min_samples %d: %s %q", c.expr, c.n, o.Rules[0].Status, o.Rules[0].Reasons)
		}
	}
}

func TestConfidence(t *testing.T) {
	// A socket that no heap object stands for: its state is inferred.
	head := leakyHead()
	head.s.Heap.Connections = head.s.Heap.Connections[:len(head.s.Heap.Connections)-1]
	for i := range head.s.Heap.Allocations {
		if a := &head.s.Heap.Allocations[i]; int(a.Connection) >= len(head.s.Heap.Connections) {
			a.Connection, a.Fate = -1, snapshot.FateApplication
		}
	}
	r := diff(t, leakyBase(), head)
	for _, c := range []struct {
		expr, confidence string
		want             Status
	}{
		{`head.connections{state="peer-closed"} <= 1`, "", StatusFail},
		{`head.connections{state="peer-closed"} <= 1`, "inferred", StatusFail},
		{`head.connections{state="peer-closed"} <= 1`, "exact", StatusUnjudged},
		{`head.connections{state="peer-closed"} <= 100`, "exact", StatusUnjudged},
		{`head.connections{state="active"} <= 100`, "exact", StatusPass},
		{`head.counter_bytes{counter="rss"} <= 1GiB`, "exact", StatusUnjudged},
		{`head.counter_bytes{counter="rss"} <= 1GiB`, "inferred", StatusPass},
		{`summary.verdict != "leak"`, "exact", StatusFail},
	} {
		text := "version: 1\nrules:\n  - id: a\n    expr: '" + c.expr + "'\n"
		if c.confidence != "" {
			text += "    confidence: " + c.confidence + "\n"
		}
		o := Evaluate(parsePolicy(t, text), r, time.Time{}).Rules[0]
		if o.Status != c.want {
			t.Errorf("%s at confidence %q: %s %q", c.expr, c.confidence, o.Status, o.Reasons)
		}
	}
}

// TestUnixSocketsAreNotTCP: where only the table of unix sockets is missing,
// what is said of TCP connections is judged; where that of TCP is, it is not.
func TestUnixSocketsAreNotTCP(t *testing.T) {
	partial := func(seconds float64, whole string) *world {
		w := healthyWorld(seconds)
		for i := range w.s.Manifest.Sources {
			if s := &w.s.Manifest.Sources[i]; s.Name == snapshot.SourceSockets {
				s.Status, s.Reason, s.Detail = snapshot.StatusPartial, "unix_diag failed", map[string]string{snapshot.DetailWholeTables: whole}
			}
		}
		return w
	}
	for whole, want := range map[string]Gate{"tcp4 tcp6": Passed, "tcp4": Unjudged, "tcp6 unix": Unjudged, "": Unjudged} {
		for name, r := range map[string]*analyze.Result{
			"base": diff(t, partial(0, whole), healthyWorld(60)),
			"head": diff(t, healthyWorld(0), partial(60, whole)),
			"both": diff(t, partial(0, whole), partial(60, whole)),
		} {
			for _, text := range []string{string(DefaultText()), "version: 1\nrules:\n  - {id: a, expr: 'delta.connections{state=\"peer-closed\"} <= 1'}\n"} {
				if o := Evaluate(parsePolicy(t, text), r, time.Time{}); o.Gate != want {
					t.Errorf("%q whole in %s: %s %q, want %s", whole, name, o.Gate, o.Rules[0].Reasons, want)
				}
			}
		}
	}
	// Snapshots of one name: the worse counts.
	a, b := partial(0, "tcp4 tcp6"), healthyWorld(60).withhold(snapshot.SourceSockets, snapshot.StatusDenied)
	r, err := analyze.Diff([]analyze.Named{{Name: "x", Snapshot: a.s}, {Name: "x", Snapshot: b.s}}, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o := Evaluate(Default(), r, time.Time{}); o.Gate != Unjudged {
		t.Errorf("one of two with one name is denied: %s", o.Gate)
	}
}

func TestCannotJudge(t *testing.T) {
	p := parsePolicy(t, whole)
	o := CannotJudge(p, "the snapshots are of two processes", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	if o.Gate != Unjudged || o.Rules[1].Status != StatusWaived { // a waiver does not make the snapshots comparable
		t.Errorf("gate %s, %+v", o.Gate, o.Rules[1])
	}
	o = CannotJudge(Default(), "the snapshots are of two processes", time.Time{})
	if o.Gate != Unjudged || o.Rules[0].Status != StatusUnjudged || o.Rules[0].Reasons[0] != "the snapshots are of two processes" {
		t.Errorf("%+v", o)
	}
}

// TestOutcomeGolden holds everything that --explain prints.
func TestOutcomeGolden(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	p := parsePolicy(t, `version: 1
rules:
  - id: peer-closed
    description: sessions end with their peer
    expr: delta.retained_bytes{state="peer-closed"} <= 8MiB
  - id: lost
    expr: delta.retained_bytes{fate="lost"} <= 1MiB and findings{cause="no-release"} == 0
  - id: slope
    expr: slope.retained_bytes_per_second.low <= 0
    on_missing: skip
  - id: rss
    level: warning
    expr: delta.counter_bytes{counter="rss"} / base.counter_bytes{counter="rss"} <= 10%
  - id: total
    expr: head.retained_bytes <= 1MiB or summary.verdict == "steady"
waivers:
  - {rule: total, until: 2026-12-01, reason: the cache is being replaced}
  - {rule: peer-closed, until: 2026-10-01, reason: known since spring}
`)
	cases := []struct {
		name string
		r    *analyze.Result
	}{
		{"leaky", leaky(t)},
		{"no-heap", diff(t, leakyBase(), leakyHead().withhold(snapshot.SourceHeapDump, snapshot.StatusDenied))},
		{"no-sockets", diff(t, leakyBase(), leakyHead().withhold(snapshot.SourceSockets, snapshot.StatusDenied))},
	}
	for _, c := range cases {
		text, err := json.MarshalIndent(Evaluate(p, c.r, now), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "outcome-"+c.name+".golden", string(text)+"\n")
	}
}

func TestMetricValueInWords(t *testing.T) {
	head := leakyHead()
	head.s.Heap.Complete, head.s.Heap.Reason = false, "cut off"
	r := diff(t, leakyBase(), head)
	for text, want := range map[string]string{
		`base.bytes > 0`:                           "22.0 MiB",
		`head.bytes > 0`:                           "at least 27.0 MiB",
		`delta.retained_bytes > 0`:                 "not known",
		`summary.verdict == "leak"`:                "leak",
		`summary.elapsed_seconds > 1s`:             "60 s",
		`growth.bytes_per_second{fate="lost"} > 0`: "not known",
		`findings > 0`:                             "at least 1",
		`base.bytes{holder=~"nobody"} == 0`:        "0 B",
		`sources{status="ok"} == 12`:               "12",
		`delta.counter_bytes{counter="rss"} == 0`:  "0 B",
		`head.connections{state="peer-closed"}==0`: "15",
	} {
		if got := judgeText(t, r, text).Metrics[0].String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for bytes, want := range map[float64]string{
		0: "0 B", 999: "999 B", 1024: "1.0 KiB", 1 << 23: "8.0 MiB", 1<<23 + 1: "8.0 MiB (8,388,609 B)", -1536: "-1.5 KiB", 0.25: "0.25 B", 1 << 50: "1.0 PiB",
	} {
		if got := showNumber(bytes, dimBytes); got != want {
			t.Errorf("%v: %s, want %s", bytes, got, want)
		}
	}
}
