package heap

import (
	"cmp"
	"context"
	mathbits "math/bits"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap/hprof"
)

// dumpGraph is the part of a dump's heap that can matter: the ancestors of the
// anchors and the objects of wanted classes, with the references between them.
// Nodes are numbered by address. It implements Graph.
type dumpGraph struct {
	red     *reduction
	number  *ranking
	perm    []Node   // nodes by rank, when odd addresses upset the order
	objects []packed // by node
	classOf []ClassID

	starts []uint32 // by node, and the end
	to     []Node
	field  []uint16 // of to; elementField for array elements

	tables  []*keptTable // by ClassID
	roots   []rootNode   // by kind, node
	mirrors []Node       // by ClassID
}

const elementField = 0xffff

type rootNode struct {
	node Node
	kind RootKind
}

// keptTable is the kept rows of a class, by node.
type keptTable struct {
	plan   *plan
	nodes  []Node
	values []byte
}

// newDumpGraph builds the graph of the marked objects and the wanted ones.
func newDumpGraph(ctx context.Context, red *reduction, rows rowSource, marks bitmap) (*dumpGraph, error) {
	g := &dumpGraph{red: red}
	// Wanted objects are nodes, whether they lead anywhere or not.
	for _, w := range red.workers {
		for _, rows := range w.kept {
			for _, id := range rows.ids {
				marks.set(id)
			}
		}
	}
	red.markAddresses(marks)
	for _, id := range red.reg.mirrors {
		marks.set(red.pages.pack(id))
	}
	order := red.pages.byAddress()
	g.number = rank(marks, order)
	g.objects = make([]packed, 0, g.number.total)
	for _, page := range order {
		for w := int(page) * pageWords; w < (int(page)+1)*pageWords; w++ {
			for bits := marks[w].Load(); bits != 0; bits &= bits - 1 {
				g.objects = append(g.objects, packed(w<<6|mathbits.TrailingZeros64(bits)))
			}
		}
	}
	if len(red.pages.odd) > 0 {
		g.sortOdd()
	}
	g.classOf = make([]ClassID, len(g.objects))
	for i := range g.classOf {
		g.classOf[i] = NoClass
	}
	g.takeKept()
	if err := g.takeEdges(ctx, rows); err != nil {
		return nil, err
	}
	g.takeRoots()
	return g, nil
}

// markAddresses makes nodes of the arrays that hold IPv6 addresses: those that
// a wanted object refers to. The other arrays of their size are forgotten.
func (red *reduction) markAddresses(marks bitmap) {
	used := map[packed]bool{}
	for _, w := range red.workers {
		for p, rows := range w.kept {
			for _, k := range p.keep {
				if k.typ != Object || Layout(red.reg.classes, p.id)[k.field].Name != "ipaddress" {
					continue
				}
				for i := range rows.ids {
					id := hprof.ReadID(rows.values[i*p.kept+k.at:], red.idSize)
					used[red.pages.pack(id)] = true
				}
			}
		}
	}
	for _, w := range red.workers {
		for id := range w.addresses {
			if !used[id] {
				delete(w.addresses, id)
				continue
			}
			marks.set(id)
		}
	}
}

// sortOdd orders the nodes by address where pages of odd addresses break it.
func (g *dumpGraph) sortOdd() {
	pages := g.red.pages
	ranks := make([]uint32, len(g.objects))
	for i := range ranks {
		ranks[i] = uint32(i)
	}
	slices.SortFunc(ranks, func(a, b uint32) int {
		return cmp.Compare(pages.address(g.objects[a]), pages.address(g.objects[b]))
	})
	g.perm = make([]Node, len(ranks))
	sorted := make([]packed, len(ranks))
	for n, rank := range ranks {
		g.perm[rank] = Node(n)
		sorted[n] = g.objects[rank]
	}
	g.objects = sorted
}

// node returns the node of an object that has one.
func (g *dumpGraph) node(p packed) Node {
	n := g.number.of(p)
	if g.perm != nil {
		return g.perm[n]
	}
	return Node(n)
}

// find returns the node of an identifier, or None.
func (g *dumpGraph) find(id uint64) Node {
	if id == 0 {
		return None
	}
	p := g.red.pages.pack(id)
	if int(p>>6) >= len(g.number.bits) || !g.number.bits.has(p) {
		return None
	}
	return g.node(p)
}

// takeKept gathers the workers' kept rows by class, sorted by node.
func (g *dumpGraph) takeKept() {
	reg := g.red.reg
	g.tables = make([]*keptTable, len(reg.classes))
	for _, w := range g.red.workers {
		for p, rows := range w.kept {
			t := g.tables[p.id]
			if t == nil {
				t = &keptTable{plan: p}
				g.tables[p.id] = t
			}
			for _, id := range rows.ids {
				n := g.node(id)
				t.nodes = append(t.nodes, n)
				g.classOf[n] = p.id
			}
			t.values = append(t.values, rows.values...)
			delete(w.kept, p)
		}
	}
	for _, t := range g.tables {
		if t != nil && !slices.IsSorted(t.nodes) {
			t.sort()
		}
	}
	g.mirrors = make([]Node, len(reg.classes))
	java := NoClass
	for i, c := range reg.classes {
		if c.Name == "java.lang.Class" {
			java = ClassID(i)
		}
	}
	for i, id := range reg.mirrors {
		n := g.find(id)
		g.mirrors[i] = n
		reg.classes[i].Mirror = n
		if n != None {
			g.classOf[n] = java
		}
	}
}

func (t *keptTable) sort() {
	size := t.plan.kept
	order := make([]uint32, len(t.nodes))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(t.nodes[a], t.nodes[b]) })
	nodes := make([]Node, len(t.nodes))
	values := make([]byte, 0, len(t.values))
	for i, o := range order {
		nodes[i] = t.nodes[o]
		values = append(values, t.values[int(o)*size:(int(o)+1)*size]...)
	}
	t.nodes, t.values = nodes, values
}

// takeEdges fills the references between nodes, counting first. The rows of an
// object come from one goroutine, in order, so its references stay in order.
func (g *dumpGraph) takeEdges(ctx context.Context, rows rowSource) error {
	member := g.number.bits
	starts := make([]atomic.Uint32, len(g.objects)+1)
	err := rows.each(ctx, false, func(k *chunk) {
		targets := k.targets
		for i, mask := range k.masks {
			n := rowTargets(mask)
			if src := k.srcs[i]; member.has(src) {
				var count uint32
				for _, t := range targets[:n] {
					if member.has(t) {
						count++
					}
				}
				if count > 0 {
					starts[g.node(src)].Add(count)
				}
			}
			targets = targets[n:]
		}
	})
	if err != nil {
		return err
	}
	g.starts = make([]uint32, len(g.objects)+1)
	var sum uint32
	for i := range starts {
		g.starts[i] = sum
		sum += starts[i].Load()
		starts[i].Store(g.starts[i])
	}
	g.to = make([]Node, sum)
	g.field = make([]uint16, sum)
	kinds := g.red.reg.kinds
	return rows.each(ctx, false, func(k *chunk) {
		targets := k.targets
		for i, mask := range k.masks {
			n := rowTargets(mask)
			if src := k.srcs[i]; member.has(src) {
				kind := &kinds[k.kind(i)]
				var node Node
				known := false
				bit := 0
				for _, t := range targets[:n] {
					field := uint16(elementField)
					if mask&arrayRow == 0 {
						for mask>>bit&1 == 0 {
							bit++
						}
						field = uint16(min(kind.fields[bit], elementField-1))
						bit++
					}
					if !member.has(t) {
						continue
					}
					if !known {
						known = true
						node = g.node(src)
						if !kind.statics {
							atomic.StoreInt32((*int32)(&g.classOf[node]), int32(kind.class))
						}
					}
					at := starts[node].Add(1) - 1
					if at < g.starts[node+1] {
						g.to[at], g.field[at] = g.node(t), field
					}
				}
			}
			targets = targets[n:]
		}
	})
}

func (g *dumpGraph) takeRoots() {
	for _, n := range g.mirrors {
		if n != None {
			g.roots = append(g.roots, rootNode{n, RootStatic})
		}
	}
	for _, w := range g.red.workers {
		for _, r := range w.roots {
			if g.number.bits.has(r.id) {
				g.roots = append(g.roots, rootNode{g.node(r.id), r.kind})
			}
		}
		w.roots = nil
	}
	slices.SortFunc(g.roots, func(a, b rootNode) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.node, b.node))
	})
	g.roots = slices.Compact(g.roots)
}

// Classes implements Graph.
func (g *dumpGraph) Classes() []Class { return g.red.reg.classes }

// Objects implements Graph.
func (g *dumpGraph) Objects(classes []ClassID) ([]Node, error) {
	var nodes []Node
	for _, c := range classes {
		if t := g.tables[c]; t != nil {
			nodes = append(nodes, t.nodes...)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), nil
}

// Len implements Graph.
func (g *dumpGraph) Len() int { return len(g.objects) }

// Address implements Graph.
func (g *dumpGraph) Address(n Node) uint64 { return g.red.pages.address(g.objects[n]) }

// Class implements Graph.
func (g *dumpGraph) Class(n Node) ClassID { return g.classOf[n] }

// Values implements Graph.
func (g *dumpGraph) Values(nodes []Node, fields []int32, out []uint64, ok []bool) error {
	clear(ok)
	clear(out)
	if len(nodes) == 0 {
		return nil
	}
	t := g.tables[max(g.classOf[nodes[0]], 0)]
	if t == nil || t.plan.id != g.classOf[nodes[0]] {
		return nil
	}
	kept := make([]*keptField, len(fields))
	for j, f := range fields {
		for i := range t.plan.keep {
			if t.plan.keep[i].field == f {
				kept[j] = &t.plan.keep[i]
			}
		}
	}
	at := 0
	for i, n := range nodes {
		// Nodes mostly come in order: look near the last place first.
		if at < len(t.nodes) && t.nodes[at] < n {
			at++
		}
		if at >= len(t.nodes) || t.nodes[at] != n {
			at = sort.Search(len(t.nodes), func(k int) bool { return t.nodes[k] >= n })
		}
		if at >= len(t.nodes) || t.nodes[at] != n {
			continue
		}
		row := t.values[at*t.plan.kept:]
		for j, k := range kept {
			if k == nil {
				continue
			}
			v := hprof.ReadValue(row[k.at:], uint8(k.typ), g.red.idSize)
			known := true
			if k.typ == Object {
				n := g.find(v)
				known = v == 0 || n != None
				v = uint64(n)
			}
			out[i*len(fields)+j], ok[i*len(fields)+j] = v, known
		}
	}
	return nil
}

// Static implements Graph.
func (g *dumpGraph) Static(c ClassID, name string) (uint64, Type, bool) {
	reg := g.red.reg
	for _, s := range reg.statics[c] {
		if text, ok := reg.string(s.Name); ok && text == name {
			if s.Type == hprof.TypeObject {
				return uint64(g.find(s.Value)), Object, true
			}
			return s.Value, Type(s.Type), true
		}
	}
	return 0, 0, false
}

// StaticNames implements Graph.
func (g *dumpGraph) StaticNames(c ClassID) []string {
	reg := g.red.reg
	names := make([]string, len(reg.statics[c]))
	for i, s := range reg.statics[c] {
		names[i], _ = reg.string(s.Name)
	}
	return names
}

// References implements Graph.
func (g *dumpGraph) References(nodes []Node, yield func(from Node, field int32, to Node)) error {
	for _, n := range nodes {
		for e := g.starts[n]; e < g.starts[n+1]; e++ {
			field := int32(g.field[e])
			if field == elementField {
				field = Element
			}
			yield(n, field, g.to[e])
		}
	}
	return nil
}

// edges are the references as they are laid out here.
func (g *dumpGraph) edges() edges { return edges{g.starts, g.to, g.field} }

// Referrers implements Graph.
func (g *dumpGraph) Referrers(set []Node, yield func(from Node, field int32, to Node)) error {
	member := make([]bool, len(g.objects))
	for _, n := range set {
		member[n] = true
	}
	for n := range g.objects {
		for e := g.starts[n]; e < g.starts[n+1]; e++ {
			if member[g.to[e]] {
				field := int32(g.field[e])
				if field == elementField {
					field = Element
				}
				yield(Node(n), field, g.to[e])
			}
		}
	}
	return nil
}

// Roots implements Graph.
func (g *dumpGraph) Roots(yield func(n Node, kind RootKind)) bool {
	for _, r := range g.roots {
		yield(r.node, r.kind)
	}
	return true
}

// Address6 implements Graph.
func (g *dumpGraph) Address6(array Node) (address [16]byte, ok bool) {
	if array == None {
		return address, false
	}
	for _, w := range g.red.workers {
		if a, ok := w.addresses[g.objects[array]]; ok {
			return a, true
		}
	}
	return address, false
}
