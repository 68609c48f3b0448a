package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/analyze"
)

// troubled orders connections without memory figures: what is worth a look
// first.
func troubled(s analyze.State) int {
	order := []analyze.State{
		analyze.StateUnreachable, analyze.StateStalled, analyze.StatePeerClosed, analyze.StateClosed,
		analyze.StateClosing, analyze.StateUnknown, analyze.StateIdle, analyze.StateOpening, analyze.StateActive,
	}
	if i := slices.Index(order, s); i >= 0 {
		return i
	}
	return len(order)
}

// connectionsOf are the connections worth showing: where memory is known those
// that hold some, else all in the order of trouble.
func connectionsOf(r *analyze.Result) (rows []analyze.ConnectionRow, byMemory bool) {
	known := r.Summary.Bytes.Head.IsKnown() || r.Summary.Bytes.Base.IsKnown()
	for _, c := range r.Connections {
		if !known || !nothing(c.Bytes) {
			rows = append(rows, c)
		}
	}
	if !known {
		slices.SortStableFunc(rows, func(a, b analyze.ConnectionRow) int {
			return cmp.Compare(troubled(cmp.Or(a.State, a.BaseState)), troubled(cmp.Or(b.State, b.BaseState)))
		})
	}
	return rows, known
}

func (v *view) connections() {
	all, byMemory := connectionsOf(v.r)
	shown := all[:v.o.top(len(all))]
	v.heading("Top connections", ofTotal(len(shown), len(all)))
	if len(all) == 0 {
		switch {
		case len(v.r.Connections) > 0:
			v.para("", "no connection holds off-heap memory", plain)
		case v.r.Summary.Connections.Head.IsKnown():
			v.para("", "no connections", plain)
		}
		v.isUnknown("connections are not known in full", v.whyNoConnections())
		return
	}
	if !byMemory {
		v.para("", "what they hold is not known; those in trouble first", v.p.faint)
	}
	var list []block
	for i := range shown {
		list = append(list, v.connectionBlock(&shown[i]))
	}
	v.blocks(list)
	if rest := all[len(shown):]; len(rest) > 0 {
		sum := zero()
		for i := range rest {
			sum = plusDelta(sum, rest[i].Bytes)
		}
		v.para("", v.restLine(len(rest), "connection", sum), v.p.faint)
	}
	v.isUnknown("memory is not known", v.whyNoHeap())
}

func (v *view) connectionBlock(c *analyze.ConnectionRow) block {
	b := block{amount: bytesOf(c.Bytes.Head), head: v.buffers(c.Allocations) + v.lifecycle(c), headColor: v.p.state(c.State)}
	if c.State == "" {
		b.headColor = v.p.faint
	}
	if v.diff {
		b.change = byteChange(c.Bytes.Base, c.Bytes.Head)
	}
	b.body = v.connectionWords(c)
	return b
}

// lifecycle is the state of a connection and where it came from.
func (v *view) lifecycle(c *analyze.ConnectionRow) string {
	switch {
	case c.State == "":
		return "gone (was " + string(c.BaseState) + ")"
	case !v.diff || c.BaseState == c.State:
		return string(c.State)
	case c.BaseState == "":
		return string(c.State) + " (new)"
	}
	return fmt.Sprintf("%s (was %s)", c.State, c.BaseState)
}

// connectionWords name a connection and give the evidence for its state.
func (v *view) connectionWords(c *analyze.ConnectionRow) []string {
	var parts []string
	add := func(s string) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	add(peers(c.Local, c.Remote))
	add(v.names.class(c.Class))
	if fd, ok := c.FD.Get(); ok {
		add(fmt.Sprintf("fd %d", fd))
	}
	add(strings.Join(labels(c.Labels), ", "))
	if len(parts) == 0 {
		add(c.ID)
	}
	text := strings.Join(parts, ", ")
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	if c.Confidence != analyze.Exact {
		text += " (" + string(c.Confidence) + ")"
	}
	return words(text)
}

func labels(all map[string]string) []string {
	var words []string
	for name, value := range all {
		words = append(words, name+" "+value)
	}
	slices.Sort(words)
	return words
}

func (v *view) transitions() {
	if !v.diff || len(v.r.Transitions) == 0 {
		return
	}
	v.heading("From state to state", "")
	g := &grid{columns: []column{
		left("from"), left("to"), figure("conns"), figure("held before"), figure("held after"), figure("kept"),
	}}
	var connections int64
	base, head, kept := zero().Base, zero().Base, zero().Base
	for _, t := range v.r.Transitions {
		g.add(
			painted(cmp.Or(string(t.From), "new"), v.p.state(t.From)), painted(cmp.Or(string(t.To), "gone"), v.p.state(t.To)),
			text(count(t.Connections)), text(bytesOf(t.BaseBytes)), text(bytesOf(t.HeadBytes)), text(bytesOf(t.RetainedBytes)),
		)
		connections += t.Connections
		base, head, kept = plus(base, t.BaseBytes), plus(head, t.HeadBytes), plus(kept, t.RetainedBytes)
	}
	g.total = []cell{text("total"), text(""), text(count(connections)), text(bytesOf(base)), text(bytesOf(head)), text(bytesOf(kept))}
	v.grid(g)
	v.isUnknown("memory is not known", v.whyNoHeap())
}
