package heap

import (
	"cmp"
	"runtime/debug"
	"slices"
	"strings"
)

// retained is what would be freed.
type retained struct{ allocations, bytes int64 }

func (r *retained) add(other retained) {
	r.allocations += other.allocations
	r.bytes += other.bytes
}

const (
	// maxRetainers bounds the steps of the tree: those that retain most are
	// told apart, the rest of each level is summed.
	maxRetainers = 2000
	// maxLevel bounds the children of one step.
	maxLevel = 64
	// retainerDepth bounds the steps below one another; what lies deeper
	// counts for the last of them.
	retainerDepth = 64
)

// SeveralRoots is the [Retainer.Root] of what more than one root reaches by
// separate ways: none of them retains it alone.
const SeveralRoots = "several roots"

// OtherRetainers is the [Retainer.Step] that sums the children of a step that
// are not told apart.
const OtherRetainers = "(others)"

// readRetainers makes the tree of retained sizes: of the dominator tree of the
// objects, those that retain an allocation, gathered by the steps that lead to
// them. The runtime's own allocations are left out.
func (w *walk) readRetainers() error {
	if !w.rootsKnown {
		return nil
	}
	// What is kept by Node for other purposes is needed no more.
	w.owners.of, w.owners.level = nil, nil
	w.connWay, w.rootWay = way{}, way{}
	collectLarge(w.reached())
	e, err := w.edges()
	if err != nil {
		return err
	}
	w.retainers = newRetainerTree(w, e).top()
	return nil
}

// collectLarge collects garbage where tables of so many entries are about to be
// made: those made before, and needed no more, are as large. What it frees goes
// back to the system, because a larger table does not fit in its place.
func collectLarge(entries int) {
	if entries > 1<<20 {
		debug.FreeOSMemory()
	}
}

// edges lays out the references between all objects.
func (w *walk) edges() (edges, error) {
	if g, ok := w.g.(interface{ edges() edges }); ok {
		return g.edges(), nil
	}
	count := w.reached()
	e := edges{starts: make([]uint32, count+1)}
	nodes := make([]Node, count)
	for n := range nodes {
		nodes[n] = Node(n)
	}
	err := w.g.References(nodes, func(from Node, field int32, to Node) {
		if int(to) >= count {
			return // an object that came up after the walk
		}
		e.to = append(e.to, to)
		e.field = append(e.field, elementField)
		if field != Element {
			e.field[len(e.field)-1] = uint16(min(field, elementField-1))
		}
		e.starts[from+1]++
	})
	for n := range count {
		e.starts[n+1] += e.starts[n]
	}
	return e, err
}

// retainerTree gathers dominators by steps. Entries 0 to len(rootNames)−1
// stand for the kinds of root, each above what it alone reaches.
type retainerTree struct {
	w    *walk
	e    edges
	d    *dominators
	root map[Node]RootKind // the strongest kind of each root

	entries  []retainerEntry
	children map[prefixKey]int32
	at       []uint32 // by number: the entry of an object that retains something, + 1
	direct   []uint32 // by number: the field by which its dominator refers to it, + 1, or notDirect
}

type retainerEntry struct {
	above    int32
	step     int32
	depth    int32
	repeated bool
	objects  int64
	retained retained
}

const (
	severalRoots = int(rootConnection) // none of the trees starts at a connection
	marked       = ^uint32(0)          // an object whose entry is still to be made
	notDirect    = uint32(1) << 31     // of direct: it does not; the step is that of another that does
)

func newRetainerTree(w *walk, e edges) *retainerTree {
	t := &retainerTree{w: w, e: e, root: map[Node]RootKind{}, children: map[prefixKey]int32{}}
	var roots []Node
	w.g.Roots(func(n Node, kind RootKind) {
		if before, ok := t.root[n]; !ok || kind < before {
			t.root[n] = kind
		}
		roots = append(roots, n)
	})
	t.d = dominate(e, roots)
	t.at, t.direct = t.d.spare[0], t.d.spare[1]
	w.eachRetained(func(n Node, _ retained) { t.mark(n) })
	t.gather()
	w.eachRetained(t.weigh)
	for i := len(t.entries) - 1; i > severalRoots; i-- {
		t.entries[t.entries[i].above].retained.add(t.entries[i].retained)
	}
	return t
}

// eachRetained visits the objects that stand for allocations: buffers, and
// chunks of pools for what is no live buffer in them. Garbage, and what is the
// runtime's own, is left out.
func (w *walk) eachRetained(visit func(n Node, r retained)) {
	for i := range w.allocations {
		if a := &w.allocations[i]; a.node != None && a.Fate != FateUnreachable && a.Fate != FateRuntime {
			visit(a.node, retained{1, a.Bytes})
		}
	}
	for i := range w.chunks {
		if c := &w.chunks[i]; c.rest.bytes > 0 {
			visit(c.node, c.rest)
		}
	}
}

// mark marks an object and its dominators.
func (t *retainerTree) mark(n Node) {
	for v := t.d.number[n]; v != 0 && t.at[v] == 0; v = t.d.idom[v] {
		t.at[v] = marked
	}
}

func (t *retainerTree) weigh(n Node, r retained) {
	if v := t.d.number[n]; v != 0 {
		t.entries[t.at[v]-1].retained.add(r)
	}
}

// gather gives each marked object its entry, dominators first.
func (t *retainerTree) gather() {
	t.findDirect()
	t.entries = make([]retainerEntry, severalRoots+1)
	for v := uint32(1); int(v) < len(t.at); v++ {
		if t.at[v] == 0 {
			continue
		}
		n := Node(t.d.order[v])
		above, step := int32(severalRoots), int32(t.direct[v]&^notDirect)
		if d := t.d.idom[v]; d != 0 {
			above = int32(t.at[d] - 1)
			if direct := t.direct[v]; direct&notDirect == 0 {
				step = t.w.paths.step(t.w, Node(t.d.order[d]), n, uint16(direct-1))
			}
		} else {
			if kind, ok := t.root[n]; ok {
				above, step = int32(kind), 0
			}
			if step == 0 {
				step = t.className(n)
			}
		}
		at := t.below(above, step)
		if step != 0 {
			t.entries[at].objects++
		}
		t.at[v] = uint32(at + 1)
	}
}

// findDirect finds the fields by which dominators themselves refer to what they
// dominate, the first of several. Where a dominator does not, the first step, by
// the addresses of those that refer there, that can be shown stands in.
func (t *retainerTree) findDirect() {
	for n, v := range t.d.number {
		if v == 0 {
			continue
		}
		for at := t.e.starts[n]; at < t.e.starts[n+1]; at++ {
			to := t.d.number[t.e.to[at]]
			if t.at[to] == 0 || to == v {
				continue
			}
			switch before := t.direct[to]; {
			case before != 0 && before&notDirect == 0:
			case t.d.idom[to] == v:
				t.direct[to] = uint32(t.e.field[at]) + 1
			case before&^notDirect == 0:
				t.direct[to] = notDirect | uint32(t.w.paths.step(t.w, Node(n), t.e.to[at], t.e.field[at]))
			}
		}
	}
}

// className names an object by its class, and a class by its own name: in words
// that no field can have.
func (t *retainerTree) className(n Node) int32 {
	if c, isMirror := t.w.mirrors[n]; isMirror {
		return t.w.paths.stepID("class " + t.w.classes[c].Name)
	}
	return t.w.paths.stepID("instance of " + cmp.Or(t.w.className(n), "an unknown class"))
}

// below returns the entry for a step below another. Links of a chain that
// follow one another are one step.
func (t *retainerTree) below(above, step int32) int32 {
	if step == 0 {
		return above
	}
	at := &t.entries[above]
	if at.depth > 0 {
		texts := t.w.paths.texts
		if at.step == step || strings.TrimSuffix(texts[at.step], "…") == strings.TrimSuffix(texts[step], "…") {
			at.repeated = true
			return above
		}
	}
	if at.depth == retainerDepth {
		return above
	}
	key := prefixKey{above, step}
	child, ok := t.children[key]
	if !ok {
		child = int32(len(t.entries))
		t.entries = append(t.entries, retainerEntry{above: above, step: step, depth: at.depth + 1})
		t.children[key] = child
	}
	return child
}

// top makes the tree that is shown.
func (t *retainerTree) top() *Retainer {
	order := make([]int32, 0, len(t.entries))
	for i := range t.entries {
		if i > severalRoots {
			order = append(order, int32(i))
		}
	}
	// What retains more comes first; of equals what is above the other. So the
	// first of them are whole branches.
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(t.entries[b].retained.bytes, t.entries[a].retained.bytes), cmp.Compare(a, b))
	})
	top := &Retainer{}
	shown := make([]*Retainer, len(t.entries))
	for root := range severalRoots + 1 {
		top.Bytes += t.entries[root].retained.bytes
		top.Allocations += t.entries[root].retained.allocations
		shown[root] = top
	}
	others := map[*Retainer]*Retainer{}
	for rank, i := range order {
		e := &t.entries[i]
		above := shown[e.above]
		if above == nil {
			continue // below one that is summed
		}
		if o := others[above]; o != nil || rank >= maxRetainers || len(above.Children) == maxLevel {
			if o == nil {
				o = &Retainer{Step: OtherRetainers}
				others[above] = o
			}
			o.Objects += e.objects
			o.Allocations += e.retained.allocations
			o.Bytes += e.retained.bytes
			continue
		}
		r := &Retainer{
			Step: t.w.paths.texts[e.step], Objects: e.objects,
			Allocations: e.retained.allocations, Bytes: e.retained.bytes,
		}
		if e.repeated && !strings.HasSuffix(r.Step, "…") {
			r.Step += "…"
		}
		if above == top {
			r.Root = rootWords[e.above]
			if int(e.above) == severalRoots {
				r.Root = SeveralRoots
			}
		}
		above.Children = append(above.Children, r)
		shown[i] = r
	}
	for above, o := range others {
		above.Children = append(above.Children, o)
	}
	for _, r := range shown {
		if r != nil {
			sortRetainers(r.Children)
		}
	}
	for i, r := range top.Children {
		// A class whose static field alone retains all of it adds nothing.
		if len(r.Children) == 1 && r.Children[0].Bytes == r.Bytes && strings.HasPrefix(r.Step, "class ") {
			only := r.Children[0]
			only.Root = r.Root
			top.Children[i] = only
		}
	}
	sortRetainers(top.Children)
	return top
}

// sortRetainers orders a level by bytes, the sum of the others last.
func sortRetainers(level []*Retainer) {
	slices.SortStableFunc(level, func(a, b *Retainer) int {
		last := func(r *Retainer) int {
			if r.Step == OtherRetainers {
				return 1
			}
			return 0
		}
		return cmp.Or(
			cmp.Compare(last(a), last(b)), cmp.Compare(b.Bytes, a.Bytes),
			strings.Compare(a.Step, b.Step), strings.Compare(a.Root, b.Root),
		)
	})
}
