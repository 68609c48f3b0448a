package vmstructs

import (
	"cmp"
	"encoding/binary"
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
	for _, n := range set {
		found = append(found, g.recalled.to(g.nodes[n])...)
	}
	found, err := g.stillThere(found)
	if err != nil {
		return err
	}
	return cmp.Or(g.yieldReferences(found, yield), heap.ErrPartial)
}

// RecallReferrers yields references to a node of the set that a scan of an
// earlier walk has found and that are still there: those are no more and no
// fewer than what that scan met, but they take none.
func (g *graph) RecallReferrers(set []heap.Node, yield func(from heap.Node, field int32, to heap.Node)) error {
	if g.recalled == nil {
		return nil
	}
	var found []reference
	for _, n := range set {
		found = append(found, g.recalled.to(g.nodes[n])...)
	}
	found, err := g.stillThere(found)
	if err != nil {
		return err
	}
	return g.yieldReferences(found, yield)
}

// stillThere returns those references that are as they were found, each once.
func (g *graph) stillThere(found []reference) ([]reference, error) {
	if err := g.j.moved(); err != nil || len(found) == 0 {
		return nil, err
	}
	slices.SortFunc(found, compareReferences)
	found = slices.Compact(found)
	width := g.j.layout.oopSize()
	raw := make([]byte, 8*len(found))
	spans := make([]span, len(found))
	for i, r := range found {
		spans[i] = span{r.slot, raw[8*i : 8*i+width]}
	}
	if err := g.read(spans); err != nil {
		return nil, err
	}
	still := found[:0]
	for i, r := range found {
		if g.j.layout.decode(binary.LittleEndian.Uint64(raw[8*i:])) == r.to {
			still = append(still, r)
		}
	}
	return still, nil
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
