package policy

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// judgeText judges one expression as a rule that must hold.
func judgeText(t testing.TB, r *analyze.Result, text string) RuleOutcome {
	t.Helper()
	e, faults := parseExpression(text)
	if len(faults) > 0 {
		t.Fatalf("%s: column %d: %s", text, faults[0].at+1, faults[0].message)
	}
	return read(r).judge(&Rule{ID: "x", Expr: e, Level: LevelError})
}

func TestMetricsOfALeakyPair(t *testing.T) {
	r := leaky(t)
	for _, text := range []string{
		`summary.verdict == "leak"`, `summary.confidence == "exact"`, `summary.snapshots == 2`, `summary.partial_snapshots == 0`,
		`summary.elapsed_seconds == 1m`, `summary.closed_connections == 15`, `summary.warnings == 0`,
		`base.retained_bytes == 22MiB`, `head.retained_bytes == 27MiB`, `delta.retained_bytes == 5MiB`,
		`base.bytes == 22MiB`, `new.bytes == delta.bytes + freed.bytes`, `kept.bytes + freed.bytes == base.bytes`,
		`head.allocations == 26`, `delta.allocations == 5`,
		`delta.retained_bytes{state="peer-closed"} == 15MiB`, `delta.bytes{state="active"} == -10MiB`,
		`head.bytes{state=~"closed$"} == 15MiB`, `head.bytes{state!="active"} == 15MiB`, `head.bytes{state=~".*"} == 25MiB`,
		`head.connections == 25`, `head.connections{state="peer-closed"} == 15`, `delta.connections == 5`, `base.connections{state="closed"} == 0`,
		`head.retained_bytes{fate="application"} == 2MiB`, `head.retained_bytes{fate=~"connection|application"} == 27MiB`,
		`head.bytes{fate!="connection"} == 2MiB`, `head.bytes{fate="runtime"} == 0`,
		`head.retained_bytes{holder=~"Session"} == 25MiB`, `head.retained_bytes{holder="com.example.Cache.entries"} == 2MiB`,
		`head.retained_bytes{holder="sun.nio.ch.SelectionKeyImpl.attachment → Session.buffers", fate="connection"} == 25MiB`,
		`head.connections{holder=~"Session"} == 25`, `head.retained_bytes{holder=~"Session", fate="lost"} == 0`,
		`head.kernel_send_queue_bytes == 0`,
		`growth.bytes_per_second == 5MiB/m`, `growth.bytes_per_second{state="peer-closed"} == 15MiB/m`,
		`slope.retained_bytes_per_closed_connection == 5MiB / 15`,
		`findings{cause="no-termination"} == 1`, `findings{cause="no-release"} == 0`, `findings{severity="error"} >= 1`,
		`findings.bytes{cause="no-termination"} == 15MiB`, `findings.connections{cause="no-termination"} == 15`,
		`transitions.connections{from="active", to="peer-closed"} == 10`, `transitions.kept_bytes{from="active", to="peer-closed"} == 10MiB`,
		`transitions.connections{from="new"} == 5`, `transitions.connections{to="gone"} == 0`,
		`head.counter_bytes{counter="rss"} == 500MiB`, `delta.counter_bytes{counter="rss"} == 0`,
		`sources{status="ok"} == 12`, `sources{name="sockets", status!="ok"} == 0`, `sources{name="nmt", status="absent"} == 2`,
		`sources{input="a.lscope"} == 6`, `sources.pause_seconds == 1.5s`, `sources.pause_seconds{name="sockets"} == 0`,
	} {
		if o := judgeText(t, r, text); o.Status != StatusPass {
			t.Errorf("%s: %s: %s", text, o.Status, strings.Join(o.Reasons, "; "))
		}
	}
}

func TestSlopesOverFourSnapshots(t *testing.T) {
	var worlds []*world
	for i := range 5 {
		worlds = append(worlds, at(float64(60*i)).connections(40000, 5, snapshot.Established, mib).cached(int64(4+i)*mib))
	}
	r := diff(t, worlds...)
	for _, text := range []string{
		`slope.retained_bytes_per_second == 1MiB/m`, `slope.retained_bytes_per_second.low > 0`, `slope.retained_bytes_per_second.high <= 2MiB/m`,
		`slope.retained_bytes_per_second{fate="application"} == 1MiB/m`, `slope.retained_bytes_per_second{state="active"} == 0`,
		`slope.retained_bytes_per_second{state="peer-closed"} == 0`, `slope.retained_bytes_per_second{holder="com.example.Cache.entries"} == 1MiB/m`,
		`summary.verdict == "leak"`,
	} {
		if o := judgeText(t, r, text); o.Status != StatusPass {
			t.Errorf("%s: %s: %s", text, o.Status, strings.Join(o.Reasons, "; "))
		}
	}
	o := judgeText(t, r, `slope.retained_bytes_per_closed_connection <= 1KiB`)
	if o.Status != StatusUnjudged || !strings.Contains(o.Reasons[0], "no connection ended") {
		t.Errorf("without closed connections: %s, %q", o.Status, o.Reasons)
	}
}

// TestWithheldEvidenceNeverPasses takes the sources away one by one, on each
// side, and asks for limits that the leak breaks: nothing may pass.
func TestWithheldEvidenceNeverPasses(t *testing.T) {
	rules := map[string][]string{ // source to the conditions that rest on it
		snapshot.SourceHeapDump: {
			`summary.verdict != "leak"`, `summary.verdict == "steady"`, `delta.retained_bytes <= 1MiB`, `delta.retained_bytes{state="peer-closed"} <= 8MiB`,
			`delta.bytes < 1MiB`, `delta.allocations == 0`, `delta.retained_bytes{fate="lost"} <= 1GiB`, `delta.retained_bytes{holder=~"nobody"} == 0`,
			`new.bytes < 1MiB`, `growth.bytes_per_second <= 1KiB/s`, `slope.retained_bytes_per_closed_connection < 1KiB`, `not delta.bytes >= 1MiB`,
			`findings == 0`, `findings.bytes <= 1MiB`, `transitions.kept_bytes{to="peer-closed"} <= 1MiB`, `delta.connections{state="closed"} == 0`,
			`delta.counter_bytes{counter="allocations"} <= 1MiB`, `sources{name="heap-dump", status!="ok"} == 0`,
		},
		snapshot.SourceSockets: {
			`summary.verdict != "leak"`, `summary.verdict == "steady"`, `delta.retained_bytes{state="peer-closed"} <= 8MiB`, `delta.connections{state="peer-closed"} <= 1`,
			`delta.bytes{state=~".*closed"} < 1MiB`, `findings{cause="no-termination"} == 0`, `transitions.connections{to="peer-closed"} == 0`,
			`delta.kernel_send_queue_bytes <= 1MiB`, `slope.retained_bytes_per_closed_connection < 1KiB`, `summary.closed_connections == 0`,
			`sources{status!="ok"} == 0`,
		},
		snapshot.SourceFDs: {
			`summary.verdict != "leak"`, `delta.retained_bytes{state="peer-closed"} <= 8MiB`, `findings == 0`, `delta.connections{state="peer-closed"} <= 1`,
		},
		snapshot.SourceMemory: {
			`delta.counter_bytes{counter="rss"} <= 1GiB`, `findings{cause="near-limit"} == 0`, `delta.resident_bytes <= 1GiB`, `sources{status!="ok"} == 0`,
		},
		snapshot.SourceProc:   {`sources{name="proc", status!="ok"} == 0`},
		snapshot.SourceAttach: {`findings{cause="near-limit"} == 0`, `sources{name="attach", status="ok"} == 2`},
	}
	for source, all := range rules {
		for _, status := range []snapshot.Status{snapshot.StatusDenied, snapshot.StatusUnsupported, snapshot.StatusAbsent, snapshot.StatusUnstable} {
			for _, sides := range []string{"base", "head", "both"} {
				base, head := leakyBase(), leakyHead()
				if sides != "head" {
					base.withhold(source, status)
				}
				if sides != "base" {
					head.withhold(source, status)
				}
				r := diff(t, base, head)
				for _, text := range all {
					if o := judgeText(t, r, text); o.Status == StatusPass {
						t.Errorf("%s %s at %s: %s passes: %q", source, status, sides, text, o.Reasons)
					}
				}
				switch source { // the built-in policy rests on these
				case snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs:
					if o := Evaluate(Default(), r, time.Time{}); o.Gate == Passed {
						t.Errorf("%s %s at %s: the built-in policy passes", source, status, sides)
					}
				}
			}
		}
	}
}

// TestHealthyWithheldIsUnjudged does the same with a healthy pair: what would
// pass must then say that it cannot be judged.
func TestHealthyWithheldIsUnjudged(t *testing.T) {
	if o := Evaluate(Default(), healthy(t), time.Time{}); o.Gate != Passed {
		t.Fatalf("the healthy pair: %s %q", o.Gate, o.Reasons)
	}
	for _, source := range []string{snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs} {
		for _, side := range []string{"base", "head"} {
			base, head := healthyWorld(0), healthyWorld(60)
			if side == "base" {
				base.withhold(source, snapshot.StatusDenied)
			} else {
				head.withhold(source, snapshot.StatusDenied)
			}
			o := Evaluate(Default(), diff(t, base, head), time.Time{})
			if o.Gate != Unjudged {
				t.Errorf("without %s at %s: %s", source, side, o.Gate)
			}
			want := map[string]string{"base": "a.lscope: source ", "head": "b.lscope: source "}[side] + source + " is denied (withheld)"
			if !strings.Contains(strings.Join(o.Rules[0].Reasons, "\n"), want) {
				t.Errorf("without %s at %s: reasons %q do not say %q", source, side, o.Rules[0].Reasons, want)
			}
		}
	}
}

func TestPartialHeapGivesBoundsOnly(t *testing.T) {
	base, head := leakyBase(), leakyHead()
	head.s.Heap.Complete, head.s.Heap.Reason = false, "cut off"
	r := diff(t, base, head)
	for text, want := range map[string]Status{
		`head.bytes <= 20MiB`:                            StatusFail, // 27 MiB were read
		`head.bytes >= 20MiB`:                            StatusPass,
		`head.bytes <= 64MiB`:                            StatusUnjudged,
		`head.bytes{fate="lost"} == 0`:                   StatusUnjudged, // parts can be too large as well
		`head.retained_bytes{state="peer-closed"} > 0`:   StatusUnjudged,
		`delta.retained_bytes <= 64MiB`:                  StatusUnjudged,
		`base.retained_bytes == 22MiB`:                   StatusPass,
		`findings{cause="no-termination"} == 0`:          StatusFail, // found is found
		`findings{cause="no-release"} == 0`:              StatusUnjudged,
		`summary.partial_snapshots == 0`:                 StatusFail,
		`summary.verdict != "leak"`:                      StatusFail,
		`head.bytes <= 64MiB or summary.snapshots == 2`:  StatusPass,
		`head.bytes <= 64MiB and summary.snapshots == 3`: StatusFail,
	} {
		if o := judgeText(t, r, text); o.Status != want {
			t.Errorf("%s: %s, want %s: %q", text, o.Status, want, o.Reasons)
		}
	}
}

func TestFindingsWithGaps(t *testing.T) {
	twice := func(seconds float64, n int) *world { // two places
		w := at(seconds).connections(40000, n, snapshot.CloseWait, mib)
		w.s.Heap.Holders[0].Path = []string{"com.example.Other.buffers"}
		return w.connections(41000, n, snapshot.CloseWait, mib)
	}
	r := diff(t, twice(0, 5), twice(60, 15))
	if o := judgeText(t, r, `findings{cause="no-termination"} == 2 and findings.connections{cause="no-termination"} == 30`); o.Status != StatusPass {
		t.Errorf("whole: %s %q", o.Status, o.Reasons)
	}
	head := twice(60, 15)
	head.s.Heap.Complete = false
	r = diff(t, twice(0, 5), head)
	for text, want := range map[string]Status{
		`findings{cause="no-termination"} == 0`:            StatusFail,
		`findings{cause="no-termination"} <= 1`:            StatusUnjudged,
		`findings{cause="no-termination"} <= 2`:            StatusUnjudged,
		`findings.connections{cause="no-termination"} < 9`: StatusFail,
		`findings.bytes{cause="no-termination"} <= 1MiB`:   StatusUnjudged,
	} {
		if o := judgeText(t, r, text); o.Status != want {
			t.Errorf("in part: %s: %s, want %s: %q", text, o.Status, want, o.Reasons)
		}
	}
	r = diff(t, twice(0, 15)) // one snapshot alone
	if o := judgeText(t, r, `findings{cause="no-termination"} == 0`); o.Status != StatusFail {
		t.Errorf("one snapshot: %s %q", o.Status, o.Reasons)
	}
}

func TestUnknownStatesLeaveRoom(t *testing.T) {
	// Established sockets without ages: their state is unknown, 3 MiB.
	noAges := func(w *world) *world {
		for i := range w.s.Sockets[:3] {
			w.s.Sockets[i].LastSendSeconds, w.s.Sockets[i].LastReceiveSeconds = snapshot.Optional[float64]{}, snapshot.Optional[float64]{}
		}
		return w
	}
	r := diff(t, healthyWorld(0), noAges(healthyWorld(60)))
	for text, want := range map[string]Status{
		`head.bytes{state="idle"} <= 8MiB`:       StatusPass,
		`head.bytes{state="idle"} <= 2MiB`:       StatusUnjudged,
		`head.bytes{state="active"} <= 16MiB`:    StatusFail,
		`head.bytes{state="unknown"} == 3MiB`:    StatusPass,
		`head.connections{state="idle"} == 0`:    StatusUnjudged,
		`head.connections{state="active"} >= 17`: StatusPass,
	} {
		if o := judgeText(t, r, text); o.Status != want {
			t.Errorf("%s: %s, want %s: %q", text, o.Status, want, o.Reasons)
		}
	}
}

func TestVerdicts(t *testing.T) {
	growing := func(n int) *analyze.Result {
		var all []*world
		for i := range n { // by fits and starts: grows, but no trend
			all = append(all, at(float64(60*i)).connections(40000, 5, snapshot.Established, mib).cached(int64(2+[]int{1, 5, 0, 2, 6}[i])*mib))
		}
		return diff(t, all...)
	}
	for _, c := range []struct {
		name string
		r    *analyze.Result
		is   analyze.Verdict
		gate Gate
		not  map[string]Status // of summary.verdict != word
	}{
		{"leak", leaky(t), analyze.Leak, Failed, map[string]Status{"leak": StatusFail, "growing": StatusPass}},
		{"steady", healthy(t), analyze.Steady, Passed, map[string]Status{"leak": StatusPass, "steady": StatusFail}},
		{"growing, two", growing(2), analyze.Growing, Unjudged, map[string]Status{"leak": StatusUnjudged, "growing": StatusFail, "steady": StatusPass}},
		{"growing, five, without a trend", growing(5), analyze.Growing, Passed, map[string]Status{"leak": StatusPass, "growing": StatusFail}},
		{"one snapshot", diff(t, healthyWorld(0)), analyze.Inconclusive, Unjudged, map[string]Status{"leak": StatusUnjudged, "inconclusive": StatusFail}},
		{"shrinking", diff(t, healthyWorld(0), at(60).connections(40000, 20, snapshot.Established, mib)), analyze.Shrinking, Passed, map[string]Status{"leak": StatusPass}},
		{
			"steady without a connection table", diff(t, healthyWorld(0), healthyWorld(60).withhold(snapshot.SourceSockets, snapshot.StatusDenied)), analyze.Steady, Unjudged,
			map[string]Status{"leak": StatusUnjudged, "steady": StatusUnjudged, "growing": StatusUnjudged, "inconclusive": StatusPass},
		},
	} {
		if c.r.Summary.Verdict != c.is {
			t.Errorf("%s: the verdict is %s: %q", c.name, c.r.Summary.Verdict, c.r.Summary.Reasons)
			continue
		}
		if o := Evaluate(Default(), c.r, time.Time{}); o.Gate != c.gate {
			t.Errorf("%s: gate %s, want %s: %+v", c.name, o.Gate, c.gate, o.Rules)
		}
		for word, want := range c.not {
			if o := judgeText(t, c.r, `summary.verdict != `+quote(word)); o.Status != want {
				t.Errorf("%s: != %s is %s, want %s: %q", c.name, word, o.Status, want, o.Reasons)
			}
			if o := judgeText(t, c.r, `not summary.verdict == `+quote(word)); o.Status != want {
				t.Errorf("%s: not == %s is %s, want %s", c.name, word, o.Status, want)
			}
		}
	}
}

func TestInputsOfOneName(t *testing.T) {
	// Two files of the same base name: their sources cannot be told apart.
	base, head := healthyWorld(0), healthyWorld(60).withhold(snapshot.SourceSockets, snapshot.StatusDenied)
	r, err := analyze.Diff([]analyze.Named{{Name: "x.lscope", Snapshot: base.s}, {Name: "x.lscope", Snapshot: head.s}}, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o := Evaluate(Default(), r, time.Time{}); o.Gate != Unjudged {
		t.Errorf("gate %s", o.Gate)
	}
	base = healthyWorld(0)
	base.s.Manifest.Sources = slices.DeleteFunc(base.s.Manifest.Sources, func(s snapshot.Source) bool { return s.Name == snapshot.SourceSockets })
	r, err = analyze.Diff([]analyze.Named{{Name: "x.lscope", Snapshot: base.s}, {Name: "x.lscope", Snapshot: healthyWorld(60).s}}, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o := Evaluate(Default(), r, time.Time{}); o.Gate != Unjudged {
		t.Errorf("with one source missing: gate %s", o.Gate)
	}
}

func TestEmptyResultIsUnjudged(t *testing.T) {
	empty := &analyze.Result{}
	for _, m := range Catalogue() {
		text := m.Name
		if m.required != "" {
			text += `{` + m.required + `="rss"}`
		}
		switch {
		case m.Name == "summary.confidence":
			continue // says itself that it is not known
		case m.Words != nil:
			text += ` != "leak"`
		default:
			text += ` <= 0`
		}
		o := judgeText(t, empty, text)
		if o.Status != StatusUnjudged || len(o.Reasons) == 0 || o.Metrics[0].Known {
			t.Errorf("%s: %s %q", text, o.Status, o.Reasons)
		}
	}
}

// TestSavedResultJudgesTheSame sends a result through its JSON form.
func TestSavedResultJudgesTheSame(t *testing.T) {
	for _, r := range []*analyze.Result{leaky(t), healthy(t), diff(t, leakyBase(), leakyHead().withhold(snapshot.SourceHeapDump, snapshot.StatusDenied))} {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var again analyze.Result
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		p := catalogueWide(t)
		one, err := json.Marshal(Evaluate(p, r, time.Time{}))
		if err != nil {
			t.Fatal(err)
		}
		two, err := json.Marshal(Evaluate(p, &again, time.Time{}))
		if err != nil {
			t.Fatal(err)
		}
		if string(one) != string(two) {
			t.Errorf("differs:\n%s\n%s", one, two)
		}
	}
}

// catalogueWide is a policy that uses every metric.
func catalogueWide(t *testing.T) *Policy {
	t.Helper()
	var all []string
	for _, m := range Catalogue() {
		switch {
		case m.Words != nil:
			all = append(all, m.Name+` == `+quote(m.Words[0]))
		case m.required != "":
			all = append(all, m.Name+`{`+m.required+`="rss"} > 0`)
		default:
			all = append(all, m.Name+" > 0")
		}
	}
	p, err := FromExpressions(all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKleene(t *testing.T) {
	r := diff(t, leakyBase().withhold(snapshot.SourceHeapDump, snapshot.StatusDenied), leakyHead())
	text := map[truth]string{yes: "summary.snapshots == 2", no: "summary.snapshots == 3", unknown: "delta.bytes == 0"}
	status := map[truth]Status{yes: StatusPass, no: StatusFail, unknown: StatusUnjudged}
	for _, c := range []struct {
		x       truth
		op      string
		y, want truth
	}{
		{yes, "and", yes, yes},
		{yes, "and", unknown, unknown},
		{yes, "and", no, no},
		{unknown, "and", yes, unknown},
		{unknown, "and", unknown, unknown},
		{unknown, "and", no, no},
		{no, "and", yes, no},
		{no, "and", unknown, no},
		{no, "and", no, no},
		{yes, "or", yes, yes},
		{yes, "or", unknown, yes},
		{yes, "or", no, yes},
		{unknown, "or", yes, yes},
		{unknown, "or", unknown, unknown},
		{unknown, "or", no, unknown},
		{no, "or", yes, yes},
		{no, "or", unknown, unknown},
		{no, "or", no, no},
	} {
		if got := judgeText(t, r, text[c.x]+" "+c.op+" "+text[c.y]).Status; got != status[c.want] {
			t.Errorf("%s %s %s: %s", status[c.x], c.op, status[c.y], got)
		}
	}
	for x, want := range map[truth]truth{yes: no, no: yes, unknown: unknown} {
		if got := judgeText(t, r, "not "+text[x]).Status; got != status[want] {
			t.Errorf("not %s: %s", status[x], got)
		}
	}
}

// TestIntervalsAreSound draws numbers from intervals: whatever the numbers, an
// answer that the intervals decide is the numbers' answer, and their result
// lies in the intervals' result.
func TestIntervalsAreSound(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pickNumber := func() float64 { return float64(rng.IntN(9) - 4) }
	draw := func() (interval, float64) {
		v := pickNumber()
		i := exactly(v)
		if rng.IntN(2) == 0 {
			i.low = v - float64(rng.IntN(3))
		}
		if rng.IntN(2) == 0 {
			i.high = v + float64(rng.IntN(3))
		}
		if rng.IntN(4) == 0 {
			i.low = math.Inf(-1)
		}
		if rng.IntN(4) == 0 {
			i.high = math.Inf(1)
		}
		return i, v
	}
	for range 50_000 {
		i, a := draw()
		j, b := draw()
		for op, want := range map[string]bool{"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b} {
			got := i.compare(op, j)
			if got != unknown && (got == yes) != want {
				t.Fatalf("%v %s %v is %d, but %v %s %v is %v", i, op, j, got, a, op, b, want)
			}
			if got == unknown && i.exact() && j.exact() {
				t.Fatalf("%v %s %v is not decided", i, op, j)
			}
		}
		inside := func(what string, k interval, v float64) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return // division by zero: nothing is said
			}
			if !(k.low <= v+1e-9 && v-1e-9 <= k.high) {
				t.Fatalf("%v %s %v is %v, which misses %v", i, what, j, k, v)
			}
		}
		inside("+", i.plus(j), a+b)
		inside("-", i.minus(j), a-b)
		inside("*", i.times(j), a*b)
		inside("/", i.over(j), a/b)
	}
}

func TestArithmeticThatCannotBe(t *testing.T) {
	r := leaky(t)
	large := `head.connections` + strings.Repeat(` * 1000000000000000000`, 20)
	for text, want := range map[string]struct {
		status Status
		reason string
	}{
		`head.bytes / head.connections{state="idle"} <= 64KiB`:                        {StatusUnjudged, `head.connections{state="idle"} is 0 or may be: nothing to divide by`},
		`head.bytes / head.connections{state="idle"} > 1B or summary.snapshots == 2`:  {StatusPass, `summary.snapshots is 2, == 2`},
		`head.bytes / (head.connections - 25) <= 64KiB and summary.snapshots == 2000`: {StatusFail, `summary.snapshots is 2, not == 2000`},
		large + ` <= 1`:     {StatusUnjudged, large + ` <= 1: the figures are too large to compute with`},
		large + ` / 2 >= 1`: {StatusUnjudged, large + ` / 2 >= 1: the figures are too large to compute with`},
	} {
		if o := judgeText(t, r, text); o.Status != want.status || !slices.Contains(o.Reasons, want.reason) {
			t.Errorf("%s: %s %q", text, o.Status, o.Reasons)
		}
	}
}

func TestResidency(t *testing.T) {
	resident := func(seconds float64, heap int64) *world {
		w := healthyWorld(seconds)
		w.s.Mappings = []snapshot.Mapping{
			{Start: 0x1000, End: 0x10001000, Kind: snapshot.MappingJavaHeap, RSSBytes: known(heap)},
			{Start: 0x20000000, End: 0x30000000, Kind: snapshot.MappingMallocHeap, RSSBytes: known[int64](10 * mib)},
		}
		return w
	}
	r := diff(t, resident(0, 100*mib), resident(60, 130*mib))
	for text, want := range map[string]Status{
		`head.resident_bytes{part="java heap"} == 130MiB`:                            StatusPass,
		`base.resident_bytes{part="java heap"} == 100MiB`:                            StatusPass,
		`delta.resident_bytes{part="java heap"} == 30MiB`:                            StatusPass,
		`head.resident_bytes == 500MiB`:                                              StatusPass, // the parts sum to rss
		`head.resident_bytes{part!="java heap"} == 370MiB`:                           StatusPass,
		`delta.resident_bytes{part=~"heap|malloc"} <= 1MiB`:                          StatusFail,
		`head.resident_bytes{part="jaba heap"} <= 1MiB`:                              StatusUnjudged,
		`head.resident_bytes{part="java heap"} == head.counter_bytes{counter="rss"}`: StatusFail,
	} {
		if o := judgeText(t, r, text); o.Status != want {
			t.Errorf("%s: %s, want %s: %q", text, o.Status, want, o.Reasons)
		}
	}
	r = diff(t, healthyWorld(0), resident(60, 130*mib)) // no split at the base
	if o := judgeText(t, r, `delta.resident_bytes{part="java heap"} <= 1GiB`); o.Status != StatusUnjudged {
		t.Errorf("without the base: %s %q", o.Status, o.Reasons)
	}
	r = diff(t, resident(0, 130*mib))
	for text, want := range map[string]Status{
		`head.resident_bytes{part="java heap"} == 130MiB`: StatusPass,
		`base.resident_bytes{part="java heap"} <= 1GiB`:   StatusUnjudged,
	} {
		if o := judgeText(t, r, text); o.Status != want {
			t.Errorf("one snapshot: %s: %s %q", text, o.Status, o.Reasons)
		}
	}
}

func TestUnknownPauseIsABound(t *testing.T) {
	head := healthyWorld(60)
	head.s.Manifest.Sources[3].PauseSeconds = snapshot.Optional[float64]{}
	r := diff(t, healthyWorld(0), head)
	for text, want := range map[string]Status{
		`sources.pause_seconds <= 1s`:                 StatusFail, // the heap dump's 1.5 s
		`sources.pause_seconds <= 2s`:                 StatusUnjudged,
		`sources.pause_seconds{name="sockets"} == 0`:  StatusPass,
		`sources.pause_seconds{name="attach"} <= 10s`: StatusUnjudged,
	} {
		if o := judgeText(t, r, text); o.Status != want {
			t.Errorf("%s: %s, want %s: %q", text, o.Status, want, o.Reasons)
		}
	}
}

func TestMisspeltInputIsNotZero(t *testing.T) {
	for _, text := range []string{`sources{input="typo.lscope", status!="ok"} == 0`, `sources.pause_seconds{input="typo.lscope"} <= 1s`, `head.resident_bytes{part="typo"} <= 1MiB`} {
		if o := judgeText(t, leaky(t), text); o.Status != StatusUnjudged {
			t.Errorf("%s: %s", text, o.Status)
		}
	}
}

func TestFailOnIsTheOtherWayRound(t *testing.T) {
	for text, want := range map[string]Gate{
		`summary.verdict == "leak"`:             Failed,
		`summary.verdict != "leak"`:             Passed,
		`delta.retained_bytes > 1MiB`:           Failed,
		`delta.retained_bytes > 64MiB`:          Passed,
		`delta.counter_bytes{counter="x"} > 1B`: Unjudged,
	} {
		p, err := FromExpressions([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		if o := Evaluate(p, leaky(t), time.Time{}); o.Gate != want {
			t.Errorf("--fail-on %s: %s, want %s: %+v", text, o.Gate, want, o.Rules)
		}
	}
}
