package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// writer makes random expressions that the checker accepts.
type writer struct {
	*rand.Rand
	metrics []Metric
}

func pickOne[T any](w *writer, all ...T) T { return all[w.IntN(len(all))] }

func (w *writer) condition(depth int) string {
	if depth <= 0 || w.IntN(3) == 0 {
		return w.comparison(depth)
	}
	x, y := w.condition(depth-1), w.condition(depth-1)
	switch w.IntN(5) {
	case 0:
		return "not (" + x + ")"
	case 1:
		return "(" + x + ") and (" + y + ")"
	case 2:
		return x + " or " + y
	case 3:
		return "(" + x + ") or " + y
	}
	return x + " and not not " + w.comparison(0)
}

func (w *writer) comparison(depth int) string {
	m := pickOne(w, w.metrics...)
	if m.Words != nil {
		return m.Name + pickOne(w, " == ", "!=") + quote(pickOne(w, m.Words...))
	}
	x := w.figure(m, depth)
	y := w.amount(m.Unit)
	if w.IntN(3) == 0 {
		y = w.figure(w.ofUnit(m.Unit), depth)
	}
	if w.IntN(4) == 0 && !strings.HasPrefix(y, "-") {
		x, y = y, x
	}
	if !strings.Contains(x+y, ".") && !strings.Contains(x+y, "findings") && !strings.Contains(x+y, "sources") {
		return m.Name + " > 0"
	}
	return x + pickOne(w, "<", " <= ", "==", " != ", ">=", " > ") + y
}

func (w *writer) ofUnit(u Unit) Metric {
	for {
		if m := pickOne(w, w.metrics...); m.Unit == u {
			return m
		}
	}
}

func (w *writer) figure(m Metric, depth int) string {
	text := w.metric(m)
	if depth <= 0 {
		return text
	}
	switch w.IntN(6) {
	case 0:
		return "(" + text + " - " + w.figure(w.ofUnit(m.Unit), depth-1) + ")"
	case 1:
		return text + " + " + w.amount(m.Unit)
	case 2:
		return text + " * " + pickOne(w, "2", "50%", "(1 + 1)", "-3")
	case 3:
		return "-" + text
	case 4:
		return text + "/(" + pickOne(w, "head", "base") + ".connections - 3)"
	}
	return text
}

func (w *writer) amount(u Unit) string {
	switch u {
	case UnitBytes:
		return pickOne(w, "0", "1B", "64KiB", "1MiB", "2.5MB", "15MiB", "1GiB")
	case UnitRate:
		return pickOne(w, "0", "1KiB/s", "5MiB/m", "1GiB / 1h")
	case UnitSeconds:
		return pickOne(w, "0", "1s", "1h30m")
	}
	return pickOne(w, "0", "1", "5", "15", "100", "10%")
}

func (w *writer) metric(m Metric) string {
	if m.required != "" {
		return m.Name + "{" + m.required + `="rss"}`
	}
	if len(m.Labels) == 0 || w.IntN(3) == 0 {
		return m.Name
	}
	l := pickOne(w, m.Labels...)
	value, op := "x", "="
	switch {
	case l.Values != nil:
		value = pickOne(w, l.Values...)
		op = pickOne(w, "=", "!=", "=~", "!~")
	case l.begins != nil:
		value = pickOne(w, l.begins...) + "/x"
	case l.Name == labelHolder:
		value, op = pickOne(w, "Session", "Cache", "sun.nio.ch.SelectionKeyImpl.attachment -> Session.buffers", `"\`), pickOne(w, "=", "!=")
	}
	if m.single {
		op = "="
	}
	return m.Name + pickOne(w, "{", "{ ") + l.Name + op + quote(value) + pickOne(w, "}", ",}")
}

// TestWritingIsExact: what is parsed and written parses to the same again, and
// judges the same.
func TestWritingIsExact(t *testing.T) {
	w := &writer{rand.New(rand.NewPCG(3, 4)), Catalogue()}
	in := read(leaky(t))
	for range 300 {
		text := w.condition(4)
		e, faults := parseExpression(text)
		if len(faults) > 0 {
			t.Fatalf("%s: column %d: %s", text, faults[0].at+1, faults[0].message)
		}
		again, faults := parseExpression(e.String())
		if len(faults) > 0 || again.String() != e.String() {
			t.Fatalf("%s is written %s, and that %v %v", text, e, again, faults)
		}
		if one, two := in.judge(&Rule{Expr: e}), in.judge(&Rule{Expr: again}); one.Status != two.Status {
			t.Fatalf("%s is %s, written %s it is %s", text, one.Status, e, two.Status)
		}
		negated, _ := parseExpression("not (" + text + ")")
		inverse := map[Status]Status{StatusPass: StatusFail, StatusFail: StatusPass, StatusUnjudged: StatusUnjudged}
		if one, two := in.judge(&Rule{Expr: e}), in.judge(&Rule{Expr: negated}); two.Status != inverse[one.Status] {
			t.Fatalf("%s is %s, and not that is %s", text, one.Status, two.Status)
		}
	}
}

// TestWithholdingNeverChangesTheAnswer: taking evidence away may leave a
// condition unjudged, but it never turns a failure into a pass, nor a pass
// into a failure. It holds for every figure of what the target did; not for
// figures about the evidence itself.
func TestWithholdingNeverChangesTheAnswer(t *testing.T) {
	about := []string{"summary.", "sources", "counter", "resident"}
	metrics := slices.DeleteFunc(Catalogue(), func(m Metric) bool {
		return slices.ContainsFunc(about, func(s string) bool { return strings.Contains(m.Name, s) })
	})
	for i := range metrics {
		// Nor for labels that say how well a thing is known, and what follows
		// from that: without the heap a finding is inferred, and less severe.
		metrics[i].Labels = slices.DeleteFunc(slices.Clone(metrics[i].Labels), func(l Label) bool {
			return l.Name == "confidence" || l.Name == "severity"
		})
		for j := range metrics[i].Labels {
			l := &metrics[i].Labels[j]
			if slices.Contains(l.Values, string(analyze.StateUnknown)) {
				metrics[i].Labels[j].Values = slices.DeleteFunc(slices.Clone(l.Values), func(v string) bool { return v == string(analyze.StateUnknown) })
			}
		}
	}
	w := &writer{rand.New(rand.NewPCG(5, 6)), metrics}
	whole := read(leaky(t))
	poor := map[string]*reading{}
	for _, source := range []string{snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs} {
		poor[source+" at base"] = read(diff(t, leakyBase().withhold(source, snapshot.StatusDenied), leakyHead()))
		poor[source+" at head"] = read(diff(t, leakyBase(), leakyHead().withhold(source, snapshot.StatusDenied)))
		poor[source] = read(diff(t, leakyBase().withhold(source, snapshot.StatusDenied), leakyHead().withhold(source, snapshot.StatusDenied)))
	}
	for _, part := range []int{0, 5, 20} { // a heap that was read in part
		head := leakyHead()
		head.s.Heap.Complete, head.s.Heap.Allocations = false, head.s.Heap.Allocations[:part]
		poor[fmt.Sprintf("%d allocations", part)] = read(diff(t, leakyBase(), head))
	}
	answers := map[Status]int{}
	for range 600 {
		text := w.condition(2)
		e, faults := parseExpression(text)
		if len(faults) > 0 {
			t.Fatalf("%s: column %d: %s", text, faults[0].at+1, faults[0].message)
		}
		all := whole.judge(&Rule{Expr: e})
		for name, in := range poor {
			o := in.judge(&Rule{Expr: e})
			answers[o.Status]++
			if o.Status != all.Status && o.Status != StatusUnjudged {
				t.Fatalf("%s: %s with everything (%q), %s without %s (%q)", text, all.Status, all.Reasons, o.Status, name, o.Reasons)
			}
		}
	}
	if answers[StatusPass] == 0 || answers[StatusFail] == 0 || answers[StatusUnjudged] == 0 {
		t.Errorf("the test asked too little: %v", answers)
	}
	t.Log(answers)
}
