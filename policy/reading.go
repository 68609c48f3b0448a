package policy

import (
	"fmt"
	"math"
	"slices"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// reading is a result with its evidence sorted out: of which input the heap
// and the connection table are known whole.
type reading struct {
	r      *analyze.Result
	inputs []inputEvidence
	base   *inputEvidence // nil: one snapshot alone
	head   *inputEvidence // nil: the result names no inputs
}

// inputEvidence is how good one input's evidence is. An empty string says whole.
type inputEvidence struct {
	name        string
	heap        string // why there is no heap evidence
	heapPart    string // why the heap is known in part only
	table       string // why the connection table is not known whole
	heapSource  string
	tableSource string
}

func (e *inputEvidence) heapWhole() bool { return e.heap == "" && e.heapPart == "" }

// whyHeap is the reason that the heap is not known whole, "" when it is.
func (e *inputEvidence) whyHeap() string {
	if e.heap != "" {
		return e.heap
	}
	return e.heapPart
}

func read(r *analyze.Result) *reading {
	in := &reading{r: r}
	for i := range r.Inputs {
		in.inputs = append(in.inputs, inputEvidenceOf(r, i))
	}
	for i := range r.Inputs {
		switch r.Inputs[i].Role {
		case "base":
			in.base = &in.inputs[i]
		case "head":
			in.head = &in.inputs[i]
		}
	}
	return in
}

func inputEvidenceOf(r *analyze.Result, i int) inputEvidence {
	input := &r.Inputs[i]
	e := inputEvidence{name: input.Name}
	var heap []analyze.SourceRow
	for _, name := range []string{snapshot.SourceHeapDump, snapshot.SourceVMStructs} {
		if row, ok := sourceOf(r, i, name); ok {
			heap = append(heap, row)
		}
	}
	best := func(status snapshot.Status) int {
		return slices.IndexFunc(heap, func(s analyze.SourceRow) bool { return s.Status == status })
	}
	ok, part := best(snapshot.StatusOK), best(snapshot.StatusPartial)
	switch {
	case !input.TotalBytes.IsKnown():
		e.heap = e.name + " has no heap evidence"
		for _, s := range heap {
			if s.Status != snapshot.StatusOK && s.Status != snapshot.StatusAbsent || len(heap) == 1 {
				e.heap = e.name + ": " + describe(s)
				break
			}
		}
	case input.Partial && part >= 0:
		e.heapPart = e.name + ": " + describe(heap[part])
	case input.Partial:
		e.heapPart = e.name + " is partial: the capture was interrupted or the heap was read in part"
	case ok < 0 && part >= 0:
		e.heapPart = e.name + ": " + describe(heap[part])
	}
	switch {
	case e.heap != "":
	case ok >= 0:
		e.heapSource = heap[ok].Name
	case part >= 0:
		e.heapSource = heap[part].Name
	}
	for _, name := range []string{snapshot.SourceSockets, snapshot.SourceFDs} {
		row, found := sourceOf(r, i, name)
		switch {
		case e.table != "":
		case !found:
			e.table = e.name + " has no source " + name
		case lack(row) > 1:
			e.table = e.name + ": " + describe(row)
		}
	}
	if e.table == "" {
		e.tableSource = snapshot.SourceSockets
	}
	return e
}

func describe(s analyze.SourceRow) string {
	text := fmt.Sprintf("source %s is %s", s.Name, s.Status)
	if s.Reason != "" {
		text += " (" + s.Reason + ")"
	}
	return text
}

// sourceOf finds the row of a source in one input. Where inputs share a name,
// their rows cannot be told apart: the worst counts, and one must be there for
// each.
func sourceOf(r *analyze.Result, i int, source string) (analyze.SourceRow, bool) {
	var rows []analyze.SourceRow
	for _, s := range r.Sources {
		if s.Input == r.Inputs[i].Name && s.Name == source {
			rows = append(rows, s)
		}
	}
	inputs := 0
	for _, input := range r.Inputs {
		if input.Name == r.Inputs[i].Name {
			inputs++
		}
	}
	if len(rows) < inputs || len(rows) == 0 {
		return analyze.SourceRow{}, false
	}
	return slices.MaxFunc(rows, func(a, b analyze.SourceRow) int { return lack(a) - lack(b) }), true
}

// lack grades what a source did not deliver.
func lack(s analyze.SourceRow) int {
	switch {
	case s.Status == snapshot.StatusOK:
		return 0
	case s.Name == snapshot.SourceSockets && s.HasTCP():
		return 1
	}
	return 2
}

// need says what evidence a figure rests on.
type need struct {
	heap  bool // the heap walk
	whole bool // … all of it: parts of an unfinished walk can be too small or too large
	table bool // the connection table, joined to descriptors
	// joined: without a whole table the figure can be too large as well, such
	// as a connection that counts twice or seems to be gone.
	joined bool
}

// atLeast is a number that cannot be negative and is known from below.
func atLeast(v float64) interval { return interval{math.Max(v, 0), math.Inf(1)} }

// amount is the figure of one side over the selected rows. What the evidence
// leaves open widens it: rows of connections in an unknown state may belong to
// any state, so slack is added on top.
func (in *reading) amount(side string, rows, slack []analyze.Delta, n need) figure {
	f := figure{confidence: in.r.Summary.Confidence}
	in.addEvidence(&f, side, n)
	at := func(input *inputEvidence, pick func(analyze.Delta) analyze.Int) interval {
		return in.bound(&f, input, n, rows, slack, pick)
	}
	base := func(d analyze.Delta) analyze.Int { return d.Base }
	head := func(d analyze.Delta) analyze.Int { return d.Head }
	switch side {
	case "base":
		f.interval = at(in.base, base)
	case "head":
		f.interval = at(in.head, head)
	case "delta":
		before, after := at(in.base, base), at(in.head, head)
		f.interval = after.minus(before)
		if math.IsInf(before.high, 1) || after.none() {
			// That what is missing cannot be negative bounds the growth, but no
			// rule shall hold because evidence is missing.
			f.interval = anything
		}
	default: // kept, new and freed need both sides whole
		pick := map[string]func(analyze.Delta) analyze.Int{
			"kept":  func(d analyze.Delta) analyze.Int { return d.Retained },
			"new":   func(d analyze.Delta) analyze.Int { return d.New },
			"freed": func(d analyze.Delta) analyze.Int { return d.Freed },
		}[side]
		f.interval = at(in.head, pick)
		if base := at(in.base, pick); math.IsInf(base.high, 1) || math.IsInf(f.high, 1) {
			f.interval = atLeast(0)
		}
	}
	if !f.exact() && len(f.missing) == 0 {
		f.missing = []string{"the state of some connections is unknown"}
	}
	return f
}

// bound is one side of the amount.
func (in *reading) bound(f *figure, input *inputEvidence, n need, rows, slack []analyze.Delta, pick func(analyze.Delta) analyze.Int) interval {
	if input == nil {
		f.lacks(in.lacksBase())
		return atLeast(0)
	}
	sum, known := total(rows, pick)
	switch {
	case n.heap && input.heap != "":
		f.lacks(input.heap)
		if n.whole {
			return atLeast(0)
		}
		return atLeast(sum)
	case n.heap && input.heapPart != "":
		f.lacks(input.heapPart)
		if n.whole {
			return atLeast(0)
		}
		return atLeast(sum)
	case n.table && input.table != "":
		f.lacks(input.table)
		if n.joined {
			return atLeast(0)
		}
		return atLeast(sum)
	case !known:
		f.lacks(input.name + ": the figure is not known")
		return atLeast(sum)
	}
	more, known := total(slack, pick)
	if !known {
		f.lacks(input.name + ": the state of some connections is unknown")
		return atLeast(sum)
	}
	return interval{sum, sum + math.Max(more, 0)}
}

func (f *figure) lacks(reason string) {
	if !slices.Contains(f.missing, reason) {
		f.missing = append(f.missing, reason)
	}
}

func (in *reading) lacksBase() string {
	if in.head == nil {
		return "the result names no inputs"
	}
	return "one snapshot alone: there is no base to compare with"
}

func total(rows []analyze.Delta, pick func(analyze.Delta) analyze.Int) (float64, bool) {
	sum, known := 0.0, true
	for _, d := range rows {
		v, ok := pick(d).Get()
		known = known && ok
		sum += float64(v)
	}
	return sum, known
}

// addEvidence names the sources behind a figure and counts the snapshots that
// have them.
func (in *reading) addEvidence(f *figure, side string, n need) {
	f.samples = in.samples(n)
	for i := range in.inputs {
		e := &in.inputs[i]
		if side == "base" && e != in.base || side == "head" && e != in.head || side != "" && e != in.base && e != in.head {
			continue
		}
		if n.heap && e.heapSource != "" {
			f.evidence = append(f.evidence, e.name+": "+e.heapSource)
		}
		if n.table && e.tableSource != "" {
			f.evidence = append(f.evidence, e.name+": "+e.tableSource)
		}
	}
}

// samples counts the snapshots that have the evidence whole.
func (in *reading) samples(n need) int {
	count := 0
	for i := range in.inputs {
		e := &in.inputs[i]
		if (!n.heap || e.heapWhole()) && (!n.table || e.table == "") {
			count++
		}
	}
	return count
}

// gaps lists what is missing for a statement about all snapshots together:
// heap and connection table of each.
func (in *reading) gaps() []string {
	var all []string
	for i := range in.inputs {
		e := &in.inputs[i]
		if why := e.whyHeap(); why != "" {
			all = append(all, why)
		}
		if e.table != "" {
			all = append(all, e.table)
		}
	}
	if in.base == nil {
		all = append(all, in.lacksBase())
	}
	return all
}
