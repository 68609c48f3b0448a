package heap

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap/hprof"
)

// dumpGraph is the part of a dump's heap that can matter: the ancestors of the
// anchors and the objects of wanted classes, with the references between them.
// Nodes are numbered by address; behind them, by address too, those that only say
// how memory is freed: no reference leads to them. It implements Graph.
type dumpGraph struct {
	red     *reduction
	number  *ranking
	freeing *ranking
	size    int // nodes that are numbered by number
	count   int // all nodes
	class   *classNumbers
	perm    []Node   // nodes by rank, when odd addresses upset the order
	sorted  []packed // objects by node, then

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

// newDumpGraph builds the graph of the marked objects and the wanted ones.
func newDumpGraph(ctx context.Context, red *reduction, rows rowSource, marks bitmap) (*dumpGraph, error) {
	g := &dumpGraph{red: red}
	freeing := newBitmap(red.pages.slots())
	// Wanted objects are nodes, whether they lead anywhere or not.
	for _, w := range red.workers {
		for p, rows := range w.kept {
			for i := range rows.n {
				if id := rows.id(i); !p.want.role.frees() {
					marks.set(id)
				} else if !marks.has(id) {
					freeing.set(id)
				}
			}
		}
	}
	red.markAddresses(marks)
	for _, id := range red.reg.mirrors {
		marks.set(red.pages.pack(id))
	}
	order := red.pages.byAddress()
	g.number = rank(marks, order)
	g.freeing = rank(freeing, order)
	g.size = g.number.total
	g.count = g.size + g.freeing.total
	if len(red.pages.odd) > 0 {
		g.sortOdd()
	}
	g.class = newClassNumbers(g.count)
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
				for i := range rows.n {
					used[k.reference(rows.row(i, p.kept))] = true
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
	objects := make([]packed, g.size)
	ranks := make([]uint32, g.size)
	for i := range ranks {
		objects[i], ranks[i] = g.number.at(uint32(i)), uint32(i)
	}
	slices.SortFunc(ranks, func(a, b uint32) int {
		return cmp.Compare(pages.address(objects[a]), pages.address(objects[b]))
	})
	g.perm = make([]Node, len(ranks))
	g.sorted = make([]packed, len(ranks))
	for n, rank := range ranks {
		g.perm[rank] = Node(n)
		g.sorted[n] = objects[rank]
	}
}

// object is the reverse of node.
func (g *dumpGraph) object(n Node) packed {
	switch {
	case int(n) >= g.size:
		return g.freeing.at(uint32(n) - uint32(g.size))
	case g.sorted != nil:
		return g.sorted[n]
	}
	return g.number.at(uint32(n))
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
	return g.lookUp(g.red.pages.pack(id))
}

// lookUp returns the node of an object, or None where it is none.
func (g *dumpGraph) lookUp(p packed) Node {
	switch {
	case int(p>>6) >= len(g.number.bits):
		return None
	case g.number.bits.has(p):
		return g.node(p)
	case g.freeing.bits.has(p):
		return Node(uint32(g.size) + g.freeing.of(p))
	}
	return None
}

// takeKept gathers the workers' kept rows by class, sorted by node.
func (g *dumpGraph) takeKept() {
	reg := g.red.reg
	g.tables = make([]*keptTable, len(reg.classes))
	kept := map[*plan][]*keptRows{}
	for _, w := range g.red.workers {
		for p, rows := range w.kept {
			kept[p] = append(kept[p], rows)
			for i := range rows.n {
				g.class.set(g.lookUp(rows.id(i)), p.id)
			}
		}
		w.kept = nil
	}
	for p, rows := range kept {
		g.tables[p.id] = newKeptTable(p, rows, g.lookUp)
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
			g.class.set(n, java)
		}
	}
}

// takeEdges fills the references between nodes, counting first. The rows of an
// object come from one goroutine, in order, so its references stay in order.
func (g *dumpGraph) takeEdges(ctx context.Context, rows rowSource) error {
	member := g.number.bits
	// starts[n+1] is first where the references of n begin, then where the next
	// one goes, and in the end where those of n+1 begin.
	starts := make([]uint32, g.size+2)
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
					atomic.AddUint32(&starts[g.node(src)+2], count)
				}
			}
			targets = targets[n:]
		}
	})
	if err != nil {
		return err
	}
	for i := 2; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	sum := starts[g.size+1]
	g.to = make([]Node, sum)
	g.field = make([]uint16, sum)
	kinds := g.red.reg.kinds
	err = rows.each(ctx, false, func(k *chunk) {
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
							g.class.set(node, kind.class)
						}
					}
					if at := atomic.AddUint32(&starts[node+1], 1) - 1; at < sum {
						g.to[at], g.field[at] = g.node(t), field
					}
				}
			}
			targets = targets[n:]
		}
	})
	if err != nil {
		return err
	}
	g.starts = starts[:g.size+1]
	if g.starts[g.size] != sum || !slices.IsSorted(g.starts) {
		return errors.New("the dump was changed while it was read")
	}
	return nil
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
	wanted := make([]bool, len(g.tables))
	count := 0
	for _, c := range classes {
		if t := g.tables[c]; t != nil && !wanted[c] {
			wanted[c] = true
			for _, part := range t.parts {
				count += part.rows.n
			}
		}
	}
	nodes := make([]Node, 0, count)
	for n := range Node(g.count) {
		if c := g.Class(n); c >= 0 && wanted[c] {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// forget drops the kept fields of the objects of a class.
func (g *dumpGraph) forget(c ClassID) { g.tables[c] = nil }

// Len implements Graph.
func (g *dumpGraph) Len() int { return g.count }

// Address implements Graph.
func (g *dumpGraph) Address(n Node) uint64 { return g.red.pages.address(g.object(n)) }

// Class implements Graph.
func (g *dumpGraph) Class(n Node) ClassID { return g.class.get(n) }

// Values implements Graph.
func (g *dumpGraph) Values(nodes []Node, fields []int32, out []uint64, ok []bool) error {
	clear(ok)
	clear(out)
	if len(nodes) == 0 {
		return nil
	}
	class := g.Class(nodes[0])
	if class < 0 || g.tables[class] == nil {
		return nil
	}
	t := g.tables[class]
	kept := make([]*keptField, len(fields))
	for j, f := range fields {
		for i := range t.plan.keep {
			if t.plan.keep[i].field == f {
				kept[j] = &t.plan.keep[i]
			}
		}
	}
	for i, n := range nodes {
		row := t.row(n, g.lookUp)
		if row == nil {
			continue
		}
		for j, k := range kept {
			if k == nil {
				continue
			}
			var v uint64
			known := true
			switch {
			case k.typ != Object:
				v = k.number(row)
			case k.isSet:
				v, known = uint64(None), row[k.at] == 0
			default:
				to := k.reference(row)
				node := g.lookUp(to)
				known = to == noObject || node != None
				v = uint64(node)
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
		if int(n) >= g.size {
			continue
		}
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

// reached is the number of nodes that references lead to: every such node is
// smaller.
func (g *dumpGraph) reached() int { return g.size }

// edges are the references as they are laid out here.
func (g *dumpGraph) edges() edges { return edges{g.starts, g.to, g.field} }

// Referrers implements Graph.
func (g *dumpGraph) Referrers(set []Node, yield func(from Node, field int32, to Node)) error {
	member := make([]bool, g.count)
	for _, n := range set {
		member[n] = true
	}
	for n := range g.size {
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
		if a, ok := w.addresses[g.object(array)]; ok {
			return a, true
		}
	}
	return address, false
}
