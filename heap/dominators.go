package heap

// dominators says, of each object that is reachable from the roots, which
// object would have to go for it to become garbage: the last one before it
// that every path from the roots passes.
//
// Objects are numbered in the order a depth-first search from the roots meets
// them, from 1; 0 stands above all roots. A dominator has a smaller number than
// what it dominates.
type dominators struct {
	number []uint32 // by Node; 0: not reachable
	order  []Node   // by number; order[0] is None
	idom   []uint32 // by number; 0: no single object

	spare [2][]uint32 // by number: no longer needed, for who makes something of it
}

// edges are the references of a heap, by Node: object n refers to
// to[starts[n]:starts[n+1]] by the fields beside them.
type edges struct {
	starts []uint32
	to     []Node
	field  []uint16 // elementField for array elements
}

// dominate computes dominators as Lengauer and Tarjan do (ACM TOPLAS 1(1),
// 1979), with path compression alone: in time O(m log n) whatever the heap,
// without recursion. Of the references it indexes backward only those that do
// not lead to a higher number, so it takes 24 bytes for each object and 8 for
// each such reference.
func dominate(e edges, roots []Node) *dominators {
	nodes := len(e.starts) - 1
	d := &dominators{number: make([]uint32, nodes), order: append(make([]Node, 0, nodes+1), None)}
	parent := make([]uint32, 1, nodes+1)
	cursor := make([]uint32, 1, nodes+1) // by number: the next reference to follow
	enter := func(n Node, from uint32) uint32 {
		v := uint32(len(d.order))
		d.number[n] = v
		d.order = append(d.order, n)
		parent = append(parent, from)
		cursor = append(cursor, e.starts[n])
		return v
	}
	for _, r := range roots {
		if d.number[r] != 0 {
			continue
		}
		for v := enter(r, 0); v != 0; {
			n := d.order[v]
			at := cursor[v]
			if at == e.starts[n+1] {
				v = parent[v]
				continue
			}
			cursor[v]++
			if to := e.to[at]; d.number[to] == 0 {
				v = enter(to, v)
			}
		}
	}
	count := len(d.order)

	// The semidominator of an object begins as the least number that refers to
	// it; references from higher numbers are indexed by what they lead to.
	semi := cursor
	copy(semi, parent)
	for _, r := range roots {
		semi[d.number[r]] = 0
	}
	// Until its turn comes, idom has the head of that list.
	d.idom = make([]uint32, count)
	type referrer struct{ from, next uint32 }
	referrers := make([]referrer, 1)
	for v := uint32(1); int(v) < count; v++ {
		n := d.order[v]
		for _, to := range e.to[e.starts[n]:e.starts[n+1]] {
			if t := d.number[to]; v < t {
				semi[t] = min(semi[t], v)
			} else if v > t {
				referrers = append(referrers, referrer{v, d.idom[t]})
				d.idom[t] = uint32(len(referrers) - 1)
			}
		}
	}

	// label is of an object that was linked the one with the least
	// semidominator above it so far; before that, the head of its bucket: the
	// objects whose semidominator it is, chained by idom.
	label := make([]uint32, count)
	var path []uint32
	eval := func(u, linked uint32) uint32 {
		if parent[u] < linked {
			return label[u]
		}
		path = path[:0]
		for ; parent[u] >= linked; u = parent[u] {
			path = append(path, u)
		}
		top := parent[u]
		for i := len(path) - 1; i >= 0; i-- {
			x := path[i]
			if best := label[parent[x]]; semi[best] < semi[label[x]] {
				label[x] = best
			}
			parent[x] = top
			u = x
		}
		return label[u]
	}
	for v := uint32(count - 1); v > 0; v-- {
		for r := d.idom[v]; r != 0; r = referrers[r].next {
			semi[v] = min(semi[v], semi[eval(referrers[r].from, v+1)])
		}
		label[v] = v
		p := parent[v]
		if s := semi[v]; s == 0 {
			d.idom[v] = 0 // the bucket of 0 needs no filling: nothing is above it
		} else {
			d.idom[v], label[s] = label[s], v
		}
		if p == 0 {
			continue
		}
		for u := label[p]; u != 0; {
			next := d.idom[u]
			if y := eval(u, v); semi[y] < semi[u] {
				d.idom[u] = y
			} else {
				d.idom[u] = p
			}
			u = next
		}
		label[p] = 0
	}
	for v := 1; v < count; v++ {
		if s := semi[v]; s == 0 {
			d.idom[v] = 0
		} else if d.idom[v] != s {
			d.idom[v] = d.idom[d.idom[v]]
		}
	}
	clear(semi)
	clear(label)
	d.spare = [2][]uint32{semi, label}
	return d
}
