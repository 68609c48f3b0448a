package report

import (
	"fmt"
	"strings"

	"github.com/fatih/color"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// holdersOf are the rows of holders that keep memory of the target's own.
func holdersOf(r *analyze.Result) []analyze.HolderRow {
	var all []analyze.HolderRow
	for _, h := range r.Holders {
		if h.Fate != snapshot.FateRuntime {
			all = append(all, h)
		}
	}
	return all
}

// block is one entry of a list: figures in columns of their own, then text.
type block struct {
	amount, change string
	head           string // beside the figures
	headColor      *color.Color
	body           []string // words
}

// blocks writes a numbered list, its figures aligned.
func (v *view) blocks(all []block) {
	number, amount, change := len(fmt.Sprint(len(all))), 0, 0
	for _, b := range all {
		amount, change = max(amount, columns(b.amount)), max(change, columns(b.change))
	}
	pad := func(s string, width int) string { return strings.Repeat(" ", max(width-columns(s), 0)) + s }
	for i, b := range all {
		mark := pad(fmt.Sprint(i+1), number) + "  " + pad(b.amount, amount)
		if change > 0 {
			mark += " " + pad(b.change, change)
		}
		mark += "  "
		rest := strings.Repeat(" ", columns(mark))
		for n, line := range wrap(b.head, max(v.width-columns(mark), 10)) {
			if n == 0 {
				v.b.WriteString(mark)
			} else {
				v.b.WriteString(rest)
			}
			v.b.WriteString(paint(b.headColor, line) + "\n")
		}
		indent := strings.Repeat(" ", number+2)
		for _, line := range wrapWords(b.body, v.width-columns(indent)) {
			if line != "" {
				v.b.WriteString(indent + line + "\n")
			}
		}
	}
}

func ofTotal(shown, all int) string {
	if shown == all {
		return ""
	}
	return fmt.Sprintf(" (%s of %s)", count(int64(shown)), count(int64(all)))
}

func (v *view) holders() {
	all := holdersOf(v.r)
	shown := all[:v.o.top(len(all))]
	v.heading("Top holders", ofTotal(len(shown), len(all)))
	if len(all) == 0 {
		if v.heapKnown() {
			v.para("", "no off-heap memory is held through an object path", plain)
		}
		v.isUnknown("holders are not known", v.whyNoHeap())
		return
	}
	var list []block
	for i := range shown {
		list = append(list, v.holderBlock(&shown[i]))
	}
	v.blocks(list)
	if rest := all[len(shown):]; len(rest) > 0 {
		sum := zero()
		for i := range rest {
			sum = plusDelta(sum, rest[i].Bytes)
		}
		v.para("", v.restLine(len(rest), "holder", sum), v.p.faint)
	}
	v.isUnknown("memory is not known", v.whyNoHeap())
}

// restLine says what the rows hold that are not shown.
func (v *view) restLine(n int, what string, sum analyze.Delta) string {
	line := fmt.Sprintf("%s more %s", count(int64(n)), plural(int64(n), what))
	if !sum.Head.IsKnown() {
		return line
	}
	line += ": " + bytesOf(sum.Head)
	if v.diff {
		line += " (" + byteChange(sum.Base, sum.Head) + ")"
	}
	return line
}

func (v *view) holderBlock(h *analyze.HolderRow) block {
	b := block{amount: bytesOf(h.Bytes.Head), head: v.buffers(h.Allocations) + v.heldBy(h)}
	if v.diff {
		b.change = byteChange(h.Bytes.Base, h.Bytes.Head)
	}
	if len(h.Path) == 0 {
		b.body = strings.Fields("no object path was found")
	} else {
		b.body = v.names.path(h.Path)
	}
	for _, s := range h.States {
		if c := v.p.state(s); c != plain {
			b.headColor = c
			break
		}
	}
	return b
}

// buffers is the number of buffers and a comma, nothing when it is not known.
func (v *view) buffers(d analyze.Delta) string {
	if !d.Head.IsKnown() {
		return ""
	}
	text := countOf(d.Head) + " " + plural(d.Head.Or(0), "buffer")
	if c := change(d.Base, d.Head); v.diff && c.Or(0) != 0 {
		text += " (" + signedCountOf(c) + ")"
	}
	return text + ", "
}

// heldBy says in words what keeps the memory of a holder.
func (v *view) heldBy(h *analyze.HolderRow) string {
	switch h.Fate {
	case snapshot.FateConnection:
		n := h.Connections.Head
		text := "held by " + countOf(n) + " " + plural(n.Or(0), "connection")
		if c := change(h.Connections.Base, n); v.diff && c.Or(0) != 0 {
			text += " (" + signedCountOf(c) + ")"
		}
		if len(h.States) > 0 {
			text += ": " + joined(h.States, ", ")
		}
		return text
	case snapshot.FateApplication:
		return "held by the application" + prefixed(", root ", h.Root)
	}
	return fateMeaning(h.Fate)
}

func joined[T ~string](all []T, separator string) string {
	words := make([]string, len(all))
	for i, w := range all {
		words[i] = string(w)
	}
	return strings.Join(words, separator)
}
