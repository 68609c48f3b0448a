package heap

import "slices"

// dominators says, of each object that is reachable from the roots, which
// object would have to go for it to become garbage: the last one before it
// that every path from the roots passes.
//
// Objects are numbered in the order a depth-first search from the roots meets
// them, from 1; 0 stands above all roots. A dominator has a smaller number than
// what it dominates.
type dominators struct {
	number []uint32 // by Node; 0: not reachable
	order  []uint32 // by number: the Node
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
// not lead to a higher number. It takes 20 bytes for each object, in five tables
// that serve one use after another, and 8 for each such reference.
func dominate(e edges, roots []Node) *dominators {
	nodes := len(e.starts) - 1
	d := &dominators{number: make([]uint32, nodes)}
	up := make([]uint32, nodes+1)    // by Node: where it was met from
	cursor := slices.Clone(e.starts) // by Node: the next reference to follow
	met := uint32(0)                 // numbers given
	const top = uint32(None)         // of up, at a root
	for _, r := range roots {
		if d.number[r] != 0 {
			continue
		}
		met++
		d.number[r], up[r] = met, top
		for n := uint32(r); n != top; {
			at := cursor[n]
			if at == e.starts[n+1] {
				n = up[n]
				continue
			}
			cursor[n]++
			if to := uint32(e.to[at]); d.number[to] == 0 {
				met++
				d.number[to], up[to] = met, n
				n = to
			}
		}
	}
	count := int(met) + 1
	parent := make([]uint32, count)
	for n, v := range d.number {
		if v != 0 && up[n] != top {
			parent[v] = d.number[up[n]]
		}
	}

	// The semidominator of an object begins as the least number that refers to
	// it; references from higher numbers are indexed by what they lead to.
	semi := cursor[:count]
	copy(semi, parent)
	for _, r := range roots {
		semi[d.number[r]] = 0
	}
	// Until its turn comes, idom has the head of that list.
	d.idom = make([]uint32, count)
	var referrers referrerList
	for n, v := range d.number {
		if v == 0 {
			continue
		}
		for _, to := range e.to[e.starts[n]:e.starts[n+1]] {
			if t := d.number[to]; v < t {
				semi[t] = min(semi[t], v)
			} else if v > t {
				d.idom[t] = referrers.add(v, d.idom[t])
			}
		}
	}

	// label is of an object that was linked the one with the least
	// semidominator above it so far; before that, the head of its bucket: the
	// objects whose semidominator it is, chained by idom.
	label := up[:count]
	clear(label)
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
		for r := d.idom[v]; r != 0; {
			var from uint32
			from, r = referrers.get(r)
			semi[v] = min(semi[v], semi[eval(from, v+1)])
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
	d.order = parent
	for n, v := range d.number {
		d.order[v] = uint32(n)
	}
	clear(semi)
	clear(label)
	d.spare = [2][]uint32{semi, label}
	return d
}

// referrerList holds lists of objects in one place. It grows by blocks: to copy
// it as it grows would take its memory twice.
type referrerList struct {
	blocks [][]referrer
	n      uint32
}

type referrer struct{ from, next uint32 }

const referrerBlock = 1 << 16

// add puts an object in front of a list, 0 for an empty one, and returns the
// list.
func (l *referrerList) add(from, next uint32) uint32 {
	if l.n%referrerBlock == 0 {
		l.blocks = append(l.blocks, make([]referrer, referrerBlock))
	}
	l.blocks[l.n/referrerBlock][l.n%referrerBlock] = referrer{from, next}
	l.n++
	return l.n
}

// get returns the first of a list, and the rest of it.
func (l *referrerList) get(list uint32) (from, rest uint32) {
	r := l.blocks[(list-1)/referrerBlock][(list-1)%referrerBlock]
	return r.from, r.next
}
