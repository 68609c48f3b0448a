package heap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// backward finds what is reachable in a graph that does not know all its
// roots: it goes from the objects in question to what refers to them, level by
// level, until a root that the graph is sure of is met. Where the search ends
// without one, the object is garbage; where it is given up, nothing is known.
//
// What has been met is laid out as edges: those that start at an object are a
// linked list through backEdge.next, its head by Node.
type backward struct {
	edges []backEdge
	head  []uint32 // by Node: 1 + index of the first edge
	state []backState
	roots map[Node]RootKind

	partial bool   // the graph did not find all referrers
	ends    []Node // what was met already where a search ended

	open map[Node]bool // what may belong to a connection or not

	forward []forward // nil before the first one
}

// leaveOpen marks what may belong to a connection or not.
func (b *backward) leaveOpen(nodes ...Node) {
	if b.open == nil {
		b.open = map[Node]bool{}
	}
	for _, n := range nodes {
		b.open[n] = true
	}
}

type backEdge struct {
	to    Node
	next  uint32
	field uint16
}

type backState uint8

const (
	asked     backState = 1 << iota // its referrers were all found
	waiting                         // to be asked for at the next level
	undecided                       // the search was given up above it
	byStack                         // only a stack or the JVM itself refers to what holds it
)

const (
	// maxBackward bounds the levels of one search: each is a scan of the heap.
	maxBackward = 40
	// maxBackEdges bounds the memory of all searches.
	maxBackEdges = 1 << 25
)

func (b *backward) grow(n int) {
	if n > len(b.head) {
		b.head = append(b.head, make([]uint32, n-len(b.head))...)
		b.state = append(b.state, make([]backState, n-len(b.state))...)
	}
}

// searchBackward decides what is reachable where the graph does not know all
// its roots: of the connections, of what they do not hold, and of the pools'
// books. All of it in one search: a level is a scan of the heap, for few objects
// as for many.
func (w *walk) searchBackward() error {
	matter, err := w.matter()
	if err != nil {
		return err
	}
	w.matters = matter
	expect := func() {}
	if g, ok := w.g.(interface{ ExpectReferrers(set []Node) }); ok {
		expect = func() {
			for _, of := range w.connNodes {
				g.ExpectReferrers(of) // walkSiblings is to come
			}
		}
	}
	if g, ok := w.g.(recaller); ok {
		if err := w.back.recall(w, g, w.inQuestion(matter)); err != nil {
			return err
		}
		if g.Hurried() {
			return w.searchHurried(g, matter, expect)
		}
		if matter := w.inQuestion(matter); len(unsought(g, matter)) == 0 {
			return w.back.search(w, matter) // the search forward has not met these
		}
		defer func() { g.KeepWays(w.back.waysOf(w)) }()
	}
	if err := w.searchForward(matter); err != nil {
		return err
	}
	expect()
	return w.back.search(w, w.inQuestion(matter))
}

// unsought returns the objects that no earlier walk has looked for backward.
func unsought(g recaller, nodes []Node) []Node {
	return slices.DeleteFunc(slices.Clone(nodes), g.SoughtBefore)
}

// searchHurried is searchBackward where there is no time: backward comes first, and
// forward only where too much was left open before.
func (w *walk) searchHurried(g recaller, matter []Node, expect func()) error {
	defer func() { g.KeepWays(w.back.waysOf(w)) }()
	matter = w.withoutIdle(matter)
	open := unsought(g, w.inQuestion(matter))
	if len(open) == 0 {
		return nil
	}
	expect()
	if err := w.back.search(w, open); err != nil {
		return err
	}
	return w.searchForward(open)
}

// matter returns the objects whose reachability decides something: connections,
// what stands for an allocation, and the books of pools. A view of a buffer is
// none of these.
func (w *walk) matter() (nodes []Node, err error) {
	for _, of := range w.connNodes {
		nodes = append(nodes, of...)
	}
	buffers := w.objects[roleBuffer]
	v, ok, err := w.columns(buffers, "att", "segment")
	if err != nil {
		return nil, err
	}
	for i, n := range buffers {
		if !w.refers(n, "att", v[2*i], ok[2*i]) && !w.refers(n, "segment", v[2*i+1], ok[2*i+1]) {
			nodes = append(nodes, n)
		}
	}
	for _, r := range []role{roleCleanup, rolePooled, roleAdaptive, roleChunk, roleAdaptiveChunk, roleCacheEntry} {
		nodes = append(nodes, w.objects[r]...)
	}
	return nodes, nil
}

// withoutIdle leaves out the connections that hold nothing: whether such a one is
// garbage decides nothing else.
func (w *walk) withoutIdle(matter []Node) []Node {
	busy := map[int32]bool{}
	for _, n := range matter {
		if _, isConnection := w.connAt[n]; !isConnection && w.connWay.met(n) && w.owners.of[n] != noOwner {
			for _, c := range w.owners.members(w.owners.of[n]) {
				busy[c] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(matter), func(n Node) bool {
		c, isConnection := w.connAt[n]
		return isConnection && !busy[c]
	})
}

// inQuestion returns those of the objects that matter that no reachable
// connection holds, and the connections that are not known to be reachable.
func (w *walk) inQuestion(matter []Node) (nodes []Node) {
	for _, n := range matter {
		if !w.rootWay.met(n) && !w.heldByLiveConnection(n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

const (
	// forwardNodes and forwardLevels bound the search forward from each kind of
	// root, forwardArray the arrays that it enters.
	forwardNodes  = 1 << 17
	forwardLevels = 24
	forwardArray  = 1 << 12
	forwardPiece  = 64
)

// forward is a bounded search from the roots of one kind. It can go on where it
// ended.
type forward struct {
	kind  RootKind
	as    backState
	roots []Node // nil once it has begun
	level []Node // to go on at
	depth int
	met   int
}

// searchForward goes a bounded way from the roots, until nothing of what matters
// is in question: most of what holds off-heap memory is near them, and what is met
// here takes no scan of the heap.
func (w *walk) searchForward(matter []Node) error {
	if g, ok := w.g.(interface{ SkipArraysAbove(length int) }); ok {
		g.SkipArraysAbove(forwardArray)
		defer g.SkipArraysAbove(0)
	}
	if w.back.forward == nil {
		w.back.forward = w.forwards()
	}
	for i := range w.back.forward {
		if err := w.goForward(&w.back.forward[i], matter); err != nil {
			return err
		}
	}
	return nil
}

// forwards are the searches there are, those that show best how something is held
// first.
func (w *walk) forwards() []forward {
	all := []forward{{kind: RootStatic}, {kind: RootThread}, {kind: RootJNI}, {kind: RootThread, as: byStack}}
	for n := range w.mirrors {
		all[0].roots = append(all[0].roots, n)
	}
	for n, kind := range w.back.roots {
		_, isMirror := w.mirrors[n]
		switch {
		case isMirror:
		case kind == RootJNI:
			all[2].roots = append(all[2].roots, n)
		case w.back.isRoot(w, n):
			all[1].roots = append(all[1].roots, n)
		default:
			all[3].roots = append(all[3].roots, n)
		}
	}
	return all
}

// goForward searches, and marks what it meets.
func (w *walk) goForward(f *forward, matter []Node) error {
	w.rootWay.grow(w.g.Len())
	w.back.grow(w.g.Len())
	slices.Sort(f.roots)
	for _, n := range f.roots {
		if !w.rootWay.met(n) {
			w.rootWay.meet(n, n, Element)
			w.paths.rootKind[n] = f.kind
			w.back.state[n] |= f.as
			f.level = append(f.level, n)
		}
	}
	f.roots = nil
	most := forwardNodes
	if g, ok := w.g.(interface{ ForwardNodes() int }); ok {
		most = min(g.ForwardNodes(), most)
	}
	leads := map[ClassID]bool{}
	for ; len(f.level) > 0 && f.depth < forwardLevels; f.depth++ {
		if matter = w.inQuestion(matter); len(matter) == 0 {
			return nil
		}
		var next []Node
		visit := func(from Node, field int32, to Node) {
			w.rootWay.grow(w.g.Len())
			w.back.grow(w.g.Len())
			if w.rootWay.met(to) || w.trait(to)&ownRoot != 0 {
				return
			}
			w.rootWay.meet(to, from, field)
			w.back.state[to] |= f.as
			f.met++
			c := w.g.Class(to)
			lead, ok := leads[c]
			if !ok {
				lead = w.leadsOn(c)
				leads[c] = lead
			}
			if lead {
				next = append(next, to)
			}
		}
		// In small pieces: a few arrays can lead to millions of objects.
		for level := f.level; len(level) > 0; {
			if f.met >= most {
				f.level = nil
				return nil
			}
			n := min(len(level), forwardPiece)
			if err := w.g.References(level[:n], visit); err != nil {
				return err
			}
			level = level[n:]
		}
		f.level = next
	}
	return nil
}

// leadsOn tells whether objects of a class refer to others than text.
func (w *walk) leadsOn(c ClassID) bool {
	if c < 0 || w.classes[c].Name == "java.lang.String" {
		return false
	}
	if element, ok := strings.CutSuffix(w.classes[c].Name, "[]"); ok {
		switch element {
		case "boolean", "byte", "char", "short", "int", "long", "float", "double":
			return false
		}
		return true
	}
	return slices.ContainsFunc(w.layout(c), func(f Field) bool { return f.Type == Object })
}

// heldByLiveConnection reports whether an object was reached from one or few
// connections all of which are reachable: then it is too.
func (w *walk) heldByLiveConnection(n Node) bool {
	if !w.connWay.met(n) || w.owners.of[n] == noOwner || w.tooShared(w.owners.of[n]) {
		return false
	}
	for _, c := range w.owners.members(w.owners.of[n]) {
		for _, o := range w.connNodes[c] {
			if !w.rootWay.met(o) {
				return false
			}
		}
	}
	return true
}

// reachable tells what the searches so far have found.
func (b *backward) reachable(w *walk, n Node) (yes, known bool) {
	if n == None {
		return false, true
	}
	if b.open[n] && !w.connWay.met(n) {
		return false, false
	}
	if w.rootWay.met(n) || w.heldByLiveConnection(n) {
		return true, true
	}
	return false, int(n) < len(b.state) && b.state[n]&(asked|undecided) == asked
}

// search goes backward from nodes. It leaves what is reachable met in
// walk.rootWay, each object with the way from the nearest root to it.
func (b *backward) search(w *walk, nodes []Node) error {
	// What only a stack or the JVM itself refers to is found last, so that the
	// path shown is one through the program's own objects where there is one.
	var later []Node
	defer func() { b.spread(w, later, byStack) }()
	note := func(n Node) {
		if _, ok := b.roots[n]; ok && !b.isRoot(w, n) {
			later = append(later, n)
		}
	}
	for _, n := range nodes {
		note(n)
	}
	if g, ok := w.g.(recaller); ok {
		if err := b.recall(w, g, nodes); err != nil {
			return err
		}
	}
	var doubtful []Node // not all of their referrers are known
	defer func() {
		b.giveUp(slices.DeleteFunc(doubtful, w.rootWay.met))
	}()
	level := b.level(w, nil, nodes, func(Node) bool { return true })
	for depth := 0; len(level) > 0; depth++ {
		if depth == maxBackward || len(b.edges) > maxBackEdges {
			b.giveUp(level)
			return nil
		}
		roots, next, err := b.climb(w, level, w.g.Referrers, note)
		switch {
		case errors.Is(err, ErrPartial):
			doubtful = append(doubtful, level...)
			b.partial = true
		case err != nil:
			b.giveUp(level)
			return err
		}
		for _, n := range level {
			b.state[n] = b.state[n]&^waiting | asked
		}
		b.spread(w, roots, 0)
		level = b.level(w, level[:0], next, func(n Node) bool { return b.useful(w, n) })
	}
	return nil
}

// climb adds the edges that lead to a level, and returns where they come from:
// roots and what is met already, and others. These are noted.
func (b *backward) climb(
	w *walk, level []Node,
	referrers func(set []Node, yield func(from Node, field int32, to Node)) error, note func(Node),
) (roots, next []Node, err error) {
	err = referrers(level, func(from Node, field int32, to Node) {
		b.grow(w.g.Len())
		w.rootWay.grow(w.g.Len())
		edge := backEdge{to: to, next: b.head[from], field: uint16(min(field, elementField-1))}
		if field == Element {
			edge.field = elementField
		}
		b.edges = append(b.edges, edge)
		b.head[from] = uint32(len(b.edges))
		if w.rootWay.met(from) || b.isRoot(w, from) {
			roots = append(roots, from)
			b.ends = append(b.ends, from)
		} else {
			note(from)
			next = append(next, from)
		}
	})
	return roots, next, err
}

// recaller is a graph that knows some references to objects from before, and
// yields those that are still there.
type recaller interface {
	RecallReferrers(set []Node, yield func(from Node, field int32, to Node)) error
	// SoughtBefore tells whether an earlier walk took a scan to find what refers
	// to an object: no search forward had met it.
	SoughtBefore(n Node) bool
	// ConnectionReferrers is Referrers for what stands for connections. all is
	// false where there may be more than it has yielded; those that are unsure may
	// refer to others than it was asked for.
	ConnectionReferrers(set []Node, yield func(from Node, field int32, to Node)) (unsure []Node, all bool, err error)
	// Hurried tells that there is no time for a scan of the whole heap: what is
	// garbage is not told then.
	Hurried() bool
	// KeepWays has the graph keep how a search forward met these objects.
	KeepWays(nodes []Node)
}

// recall goes backward by what the graph knows from before. That can show that
// something is reachable, never that it is not.
func (b *backward) recall(w *walk, g recaller, nodes []Node) error {
	var later []Node
	note := func(n Node) {
		if _, ok := b.roots[n]; ok && !b.isRoot(w, n) {
			later = append(later, n)
		}
	}
	seen := map[Node]bool{}
	level := slices.Clone(nodes)
	for depth := 0; depth < maxBackward && len(level) > 0 && len(b.edges) <= maxBackEdges; depth++ {
		w.rootWay.grow(w.g.Len())
		level = slices.DeleteFunc(level, func(n Node) bool {
			again := seen[n] || w.rootWay.met(n)
			seen[n] = true
			return again
		})
		slices.Sort(level)
		roots, next, err := b.climb(w, level, g.RecallReferrers, note)
		if err != nil {
			return err
		}
		b.spread(w, roots, 0)
		level = next
	}
	b.spread(w, later, byStack)
	return nil
}

// waysOf returns the objects in question that are met, and what was met already
// where the search backward ended.
func (b *backward) waysOf(w *walk) []Node {
	var nodes []Node
	for _, n := range w.matters {
		if w.rootWay.met(n) {
			nodes = append(nodes, n)
		}
	}
	return append(nodes, b.ends...)
}

// level picks, of nodes, those that are not met yet and whose referrers are
// still to be found.
func (b *backward) level(w *walk, level, nodes []Node, useful func(Node) bool) []Node {
	b.grow(w.g.Len())
	w.rootWay.grow(w.g.Len())
	b.spread(w, slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return !b.isRoot(w, n) }), 0)
	for _, n := range nodes {
		if w.rootWay.met(n) || b.state[n]&(asked|waiting) != 0 || !useful(n) {
			continue
		}
		b.state[n] |= waiting
		level = append(level, n)
	}
	slices.Sort(level)
	return level
}

// useful reports whether who refers to n decides something: n refers to what
// is not met yet.
func (b *backward) useful(w *walk, n Node) bool {
	for e := b.head[n]; e != 0; e = b.edges[e-1].next {
		if !w.rootWay.met(b.edges[e-1].to) {
			return true
		}
	}
	return false
}

// isRoot tells the roots that say where something is held: classes, live threads
// and what native code holds.
func (b *backward) isRoot(w *walk, n Node) bool {
	if _, ok := w.mirrors[n]; ok {
		return true
	}
	kind, ok := b.roots[n]
	return ok && (kind == RootJNI || w.trait(n)&ownRoot != 0)
}

// spread marks as reachable what was found below roots, the clearest kind of
// root first, and below objects that are reachable already; as is noted of each.
func (b *backward) spread(w *walk, roots []Node, as backState) {
	kind := func(n Node) RootKind {
		if _, ok := w.mirrors[n]; ok {
			return RootStatic
		}
		return b.roots[n]
	}
	slices.SortStableFunc(roots, func(m, n Node) int { return int(kind(m)) - int(kind(n)) })
	var level, next []Node
	b.grow(w.g.Len())
	w.rootWay.grow(w.g.Len())
	for _, n := range roots {
		if !w.rootWay.met(n) {
			w.rootWay.meet(n, n, Element)
			w.paths.rootKind[n] = kind(n)
			b.state[n] |= as
		}
		level = append(level, n)
	}
	for len(level) > 0 {
		next = next[:0]
		for _, n := range level {
			for e := b.head[n]; e != 0; e = b.edges[e-1].next {
				edge := &b.edges[e-1]
				if !w.rootWay.met(edge.to) {
					w.rootWay.from[edge.to], w.rootWay.field[edge.to] = n, edge.field
					b.state[edge.to] |= as
					next = append(next, edge.to)
				}
			}
		}
		level, next = next, level
	}
}

// giveUp marks everything that the objects of a level refer to as undecided.
func (b *backward) giveUp(level []Node) {
	for len(level) > 0 {
		var next []Node
		for _, n := range level {
			if b.state[n]&undecided != 0 {
				continue
			}
			b.state[n] = b.state[n]&^waiting | undecided
			for e := b.head[n]; e != 0; e = b.edges[e-1].next {
				next = append(next, b.edges[e-1].to)
			}
		}
		level = next
	}
}

// noteUnknown says how much is left open because the graph did not find all
// referrers.
func (w *walk) noteUnknown() {
	var garbage, shared struct {
		buffers int
		bytes   int64
	}
	for i := range w.allocations {
		a := &w.allocations[i]
		if a.Fate != FateUnattributed {
			continue
		}
		of := &garbage
		if a.Holder >= 0 {
			of = &shared
		}
		of.buffers++
		of.bytes += a.Bytes
	}
	if garbage.buffers > 0 && w.back.partial {
		w.warnings = append(w.warnings, fmt.Sprintf(
			"%d buffers with %d bytes may be garbage: there was no time to look at all that may refer to them", garbage.buffers, garbage.bytes))
	}
	if shared.buffers > 0 {
		w.warnings = append(w.warnings, fmt.Sprintf(
			"%d buffers with %d bytes are held, but maybe beside a connection: there was no time to look at all that may refer to connections", shared.buffers, shared.bytes))
	}
}

// noteStacks says how much is held by nothing but words on stacks: what such a
// word refers to may be left over from before.
func (w *walk) noteStacks() {
	if w.rootsKnown {
		return
	}
	buffers, bytes := 0, int64(0)
	for i := range w.allocations {
		a := &w.allocations[i]
		if a.node != None && int(a.node) < len(w.back.state) && w.back.state[a.node]&byStack != 0 && !w.heldByLiveConnection(a.node) {
			buffers++
			bytes += a.Bytes
		}
	}
	if buffers > 0 {
		w.warnings = append(w.warnings, fmt.Sprintf(
			"%d buffers with %d bytes are held by words on the stacks of threads alone; some of these may be left over", buffers, bytes))
	}
}
