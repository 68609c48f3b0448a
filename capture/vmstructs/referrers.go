package vmstructs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/leakscope/leakscope/heap"
)

// referrers is what scans found of who refers to some objects.
type referrers struct {
	asked addressIndex // those objects; the numbers mean nothing
	all   []reference  // by object referred to, then by place
}

// reference is one reference, by addresses: nodes are those of one walk.
type reference struct {
	from, slot, to uint64
	class          heap.ClassID // of the object that it is in
}

func compareReferences(a, b reference) int {
	return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.slot, b.slot))
}

// to returns the references to an object.
func (r *referrers) to(address uint64) []reference {
	from, _ := slices.BinarySearchFunc(r.all, address, func(x reference, a uint64) int { return cmp.Compare(x.to, a) })
	end := from
	for end < len(r.all) && r.all[end].to == address {
		end++
	}
	return r.all[from:end]
}

// memory returns what a walk knows in the end of who refers to what.
func (g *graph) memory() *referrers {
	r := &referrers{asked: g.referrers.asked, all: slices.Concat(g.referrers.all, g.ways)}
	if g.recalled != nil {
		r.all = append(r.all, g.recalled.all...)
	}
	slices.SortFunc(r.all, compareReferences)
	r.all = slices.Compact(r.all)
	return r
}

// SoughtBefore implements what heap.Attribute asks of a graph that recalls.
func (g *graph) SoughtBefore(n heap.Node) bool {
	return g.recalled != nil && g.recalled.asked.get(g.nodes[n]) != heap.None
}

// keepVia notes how a search forward met an object first.
func (g *graph) keepVia(l link, to heap.Node) {
	if n := len(g.nodes); n > len(g.via) {
		g.via = append(g.via, make([]reference, n-len(g.via))...)
	}
	if g.via[to].from == 0 {
		g.via[to] = reference{g.nodes[l.from], l.slot, l.to, g.classOf[l.from]}
	}
}

// Hurried implements what heap.Attribute asks of a graph that recalls.
func (g *graph) Hurried() bool { return g.byHints }

// KeepWays keeps how a search forward met these objects: another walk looks
// there first.
func (g *graph) KeepWays(nodes []heap.Node) {
	for _, n := range nodes {
		for int(n) < len(g.via) && g.via[n].from != 0 {
			way := g.via[n]
			g.ways = append(g.ways, way)
			g.via[n] = reference{}
			n = g.find(way.from)
		}
	}
	g.via = nil
}

// ExpectReferrers has the next scan for referrers look for those of more
// objects, which are likely to be asked for.
func (g *graph) ExpectReferrers(set []heap.Node) { g.expected = append(g.expected, set...) }

// Referrers implements heap.Graph: a scan of the heap's references, unless one
// has looked for these objects before. The first scan of a second walk looks
// for everything that the first walk asked for, level by level: where that
// walk was right it is the only one.
func (g *graph) Referrers(set []heap.Node, yield func(from heap.Node, field int32, to heap.Node)) error {
	for _, n := range set {
		if g.referrers.asked.get(g.nodes[n]) == heap.None {
			if err := g.scanReferrers(set); err != nil {
				return err
			}
			break
		}
	}
	var found []reference
	for _, n := range set {
		found = append(found, g.referrers.to(g.nodes[n])...)
	}
	if !g.byHints {
		return g.yieldReferences(found, yield)
	}
	found, _, err := g.stillThere(append(found, g.remembered(set)...))
	if err != nil {
		return err
	}
	return cmp.Or(g.yieldReferences(found, yield), heap.ErrPartial)
}

// remembered returns the references to nodes that were found before.
func (g *graph) remembered(set []heap.Node) (found []reference) {
	if g.recalled == nil {
		return nil
	}
	for _, n := range set {
		found = append(found, g.recalled.to(g.nodes[n])...)
	}
	return found
}

// ConnectionReferrers implements what heap.Attribute asks of a graph that recalls.
// A second walk takes them from the first: where some of these are gone, objects
// change hands. Where there is no time for a scan of old objects, what is known of
// these is from before the try, and holds for what the program has not changed
// since.
func (g *graph) ConnectionReferrers(set []heap.Node, yield func(from heap.Node, field int32, to heap.Node)) (unsure []heap.Node, all bool, err error) {
	t := g.j.tenured
	if t != nil {
		t.connections = map[uint64]bool{}
		for _, n := range set {
			t.connections[g.j.keyOf(g.classOf[n])] = true
		}
	}
	again := !g.rescan && !slices.ContainsFunc(set, func(n heap.Node) bool { return !g.SoughtBefore(n) })
	if !g.byHints && !again {
		return nil, true, g.Referrers(set, yield)
	}
	found, others, err := g.stillThere(g.remembered(set))
	if err != nil {
		return nil, false, err
	}
	unsure, gone, err := g.changed(others, set)
	if err != nil {
		return nil, false, err
	}
	g.handed = g.handed || gone
	if !g.byHints {
		return unsure, true, g.yieldReferences(found, yield)
	}
	addresses := make([]uint64, len(set))
	for i, n := range set {
		addresses[i] = g.nodes[n]
	}
	moved, ok, err := g.referrersByPlace(addresses)
	if err != nil {
		return nil, false, err
	}
	all = ok && !gone && g.searched && !slices.ContainsFunc(addresses, func(a uint64) bool {
		return t.known.has(a) && t.wantedReferrers.get(a) == heap.None
	})
	if again {
		moved = append(moved, found...)
	} else if err := g.Referrers(set, yield); err != nil && !errors.Is(err, heap.ErrPartial) { // those too
		return nil, false, err
	}
	return unsure, all, g.yieldReferences(moved, yield)
}

// changed tells of references to connections that lead elsewhere now which objects
// may refer to connections that are newer than the walk; gone is that others have
// let one go.
func (g *graph) changed(others []reference, set []heap.Node) (unsure []heap.Node, gone bool, err error) {
	at := make([]uint64, len(others))
	for i, r := range others {
		at[i] = r.from
	}
	if err := g.meet(at); err != nil {
		return nil, false, err
	}
	connections := map[uint64]bool{}
	for _, n := range set {
		connections[g.nodes[n]] = true
	}
	for _, r := range others {
		switch from := g.find(r.from); {
		case from == heap.None || g.classOf[from] != r.class: // a collection has moved it since
		case connections[r.to]:
		case r.to != 0 && g.find(r.to) == heap.None:
			unsure = append(unsure, from)
		default:
			gone = true
		}
	}
	return unsure, gone, nil
}

// referrersByPlace returns the references to some objects that lie where old ones
// referred to what may have moved since.
func (g *graph) referrersByPlace(addresses []uint64) (found []reference, ok bool, err error) {
	known, ok := g.j.tenured.mayMove()
	if !ok {
		return nil, false, nil
	}
	var wanted addressIndex
	for _, a := range addresses {
		wanted.put(a, 0)
	}
	now, err := g.slots(len(known), func(i int) uint64 { return known[i].slot })
	for i, to := range now {
		if k := g.j.byKey[known[i].key]; k != nil && wanted.get(to) != heap.None {
			found = append(found, reference{known[i].from, known[i].slot, to, k.id})
		}
	}
	return found, true, err
}

// slots reads the references at n places.
func (g *graph) slots(n int, at func(int) uint64) ([]uint64, error) {
	to, err := g.scalars(n, at, g.j.layout.oopSize())
	for i := range to {
		to[i] = g.j.layout.decode(to[i])
	}
	return to, err
}

// scalars reads a number of so many bytes, 8 at the most, at each of n places.
func (g *graph) scalars(n int, at func(int) uint64, width int) ([]uint64, error) {
	raw := make([]byte, 8*n)
	spans := make([]span, n)
	for i := range spans {
		spans[i] = span{at(i), raw[8*i : 8*i+width]}
	}
	if err := g.read(spans); err != nil {
		return nil, err
	}
	values := make([]uint64, n)
	for i := range values {
		values[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return values, nil
}

// RecallReferrers yields references to a node of the set that a scan of an
// earlier walk has found and that are still there: those are no more and no
// fewer than what that scan met, but they take none.
func (g *graph) RecallReferrers(set []heap.Node, yield func(from heap.Node, field int32, to heap.Node)) error {
	found, _, err := g.stillThere(g.remembered(set))
	if err != nil {
		return err
	}
	return g.yieldReferences(found, yield)
}

// stillThere returns those references that are as they were found, each once, and
// the others with what they lead to now.
func (g *graph) stillThere(found []reference) (still, others []reference, err error) {
	if err := g.j.moved(); err != nil || len(found) == 0 {
		return nil, nil, err
	}
	slices.SortFunc(found, compareReferences)
	found = slices.Compact(found)
	now, err := g.slots(len(found), func(i int) uint64 { return found[i].slot })
	if err != nil {
		return nil, nil, err
	}
	still = found[:0]
	for i, r := range found {
		if now[i] == r.to {
			still = append(still, r)
		} else {
			r.to = now[i]
			others = append(others, r)
		}
	}
	return still, others, nil
}

// scanReferrers scans for references to the objects of a set, and to those that
// are likely to be asked for next.
func (g *graph) scanReferrers(set []heap.Node) error {
	known := &g.referrers
	w := g.j.newSweep(nil)
	w.members = &members{known: &g.index, layout: g.j.layout}
	add := func(address uint64) {
		if known.asked.get(address) == heap.None {
			known.asked.put(address, 0)
			w.members.add(address, memberAsked)
		}
	}
	for _, n := range set {
		add(g.nodes[n])
	}
	for _, n := range g.expected {
		add(g.nodes[n])
	}
	for _, address := range g.likely {
		add(address)
	}
	g.expected, g.likely = nil, nil
	if g.recalled != nil {
		for _, address := range g.recalled.asked.keys {
			if address != 0 {
				add(address)
			}
		}
	}
	if err := g.sweepReferences(w); err != nil {
		return err
	}
	g.likely = w.members.joined
	slices.SortFunc(known.all, compareReferences)
	return nil
}

// sweepReferences runs a scan: the first one of a walk over the whole heap,
// later ones over the runs that referred to the parts of it in which the
// members are.
func (g *graph) sweepReferences(w *sweep) error {
	runs := slices.Clone(g.pieces)
	if runs == nil {
		runs = slices.Clone(g.runs)
	}
	if g.byHints {
		runs = slices.Clone(g.rest)
	}
	slices.Reverse(runs)
	switch {
	case len(runs) == 0:
		return nil
	case g.reaches != nil:
		var where reach
		where.addAll(g.j.layout, w.members.index.keys)
		some := runs[:0]
		for i, run := range runs {
			if g.reaches[i].meets(&where) {
				some = append(some, run)
			}
		}
		runs = some
	case !g.again && len(runs) <= maxReaches: // a second walk will hardly need another scan
		w.reaches = make([]reach, len(runs))
		g.reaches = w.reaches
	}
	found, err := w.run(g.ctx, g.j, runs, g.workers)
	for _, f := range found {
		for _, h := range f.hits {
			g.referrers.all = append(g.referrers.all, reference{h.from, h.slot, h.to, h.id})
		}
	}
	return err
}

// yieldReferences yields strong references, by the address of what they are in.
func (g *graph) yieldReferences(found []reference, yield func(from heap.Node, field int32, to heap.Node)) error {
	slices.SortFunc(found, func(a, b reference) int { return cmp.Compare(a.slot, b.slot) })
	at := make([]uint64, len(found))
	for i, r := range found {
		at[i] = r.from
	}
	if err := g.meet(at); err != nil {
		return err
	}
	for _, r := range found {
		from, to := g.find(r.from), g.find(r.to)
		if from == heap.None || to == heap.None || g.classOf[from] != r.class {
			continue
		}
		if field, ok := g.fieldAt(from, r.class, uint32(r.slot-r.from)); ok {
			yield(from, field, to)
		}
	}
	return nil
}

// fieldAt numbers the strong reference at an offset in an object.
func (g *graph) fieldAt(n heap.Node, c heap.ClassID, offset uint32) (int32, bool) {
	k := g.j.klasses[c]
	if k.array {
		return heap.Element, true
	}
	if of, ok := g.mirrorOf(n); ok {
		for i, f := range of.statics {
			if f.offset == offset && f.Type == heap.Object {
				return int32(i), true
			}
		}
		return 0, false // what the JVM itself keeps in a mirror
	}
	strong, err := g.strong(k)
	if !g.note(err) {
		return 0, false
	}
	for _, f := range strong {
		if k.all[f].offset == offset {
			return f, true
		}
	}
	return 0, false
}
