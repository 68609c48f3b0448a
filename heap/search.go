package heap

import "slices"

// walkRoots finds what is reachable from the roots, and the best way to show
// how: from static fields without passing through threads and class loaders,
// then from threads, then from JNI references, then from anything else.
func (w *walk) walkRoots() error {
	type root struct {
		node Node
		kind RootKind
	}
	var roots []root
	w.rootsKnown = w.g.Roots(func(n Node, kind RootKind) { roots = append(roots, root{n, kind}) })
	w.paths.rootKind = map[Node]RootKind{}
	if !w.rootsKnown {
		w.back.roots = map[Node]RootKind{}
		for _, r := range roots {
			if before, ok := w.back.roots[r.node]; !ok || r.kind < before {
				w.back.roots[r.node] = r.kind
			}
		}
		return nil
	}
	unrooted := w.virtualThreads()
	for _, r := range roots {
		delete(unrooted, r.node)
	}
	if err := w.noteVirtual(unrooted); err != nil {
		return err
	}
	slices.SortStableFunc(roots, func(a, b root) int { return int(a.kind) - int(b.kind) })
	w.rootWay.grow(w.reached())
	var set []Node
	var waiting []Node // hubs met on the way that are places to start from
	start := func(kind RootKind, take func(Node) bool) error {
		set = set[:0]
		for _, r := range roots {
			if r.kind == kind && !w.rootWay.met(r.node) && take(r.node) {
				w.rootWay.meet(r.node, r.node, Element)
				w.paths.rootKind[r.node] = kind
				set = append(set, r.node)
			}
		}
		return w.spread(&w.rootWay, set, func(from, to Node, _ int32) bool {
			if w.trait(to)&ownRoot != 0 {
				waiting = append(waiting, to)
				return false
			}
			return true
		})
	}
	any := func(Node) bool { return true }
	own := func(n Node) bool { return w.trait(n)&ownRoot != 0 }
	if err := start(RootStatic, any); err != nil {
		return err
	}
	if err := start(RootThread, own); err != nil {
		return err
	}
	for _, kind := range []RootKind{RootJNI, RootThread, RootOther} {
		if err := start(kind, any); err != nil {
			return err
		}
	}
	// Threads and loaders that are no roots themselves, but reachable.
	for len(waiting) > 0 {
		set = set[:0]
		for _, n := range waiting {
			if !w.rootWay.met(n) {
				w.rootWay.meet(n, n, Element)
				w.paths.rootKind[n] = RootOther
				if w.isA(w.g.Class(n), "java.lang.Thread") {
					w.paths.rootKind[n] = RootThread
				}
				set = append(set, n)
			}
		}
		waiting = waiting[:0]
		if err := w.spread(&w.rootWay, set, func(from, to Node, _ int32) bool {
			if w.trait(to)&ownRoot != 0 {
				waiting = append(waiting, to)
				return false
			}
			return true
		}); err != nil {
			return err
		}
	}
	return nil
}

// spread follows references from a set, level by level, into objects not met
// before that enter lets in.
func (w *walk) spread(way *way, set []Node, enter func(from, to Node, field int32) bool) error {
	level := slices.Clone(set)
	var next []Node
	for len(level) > 0 {
		next = next[:0]
		err := w.g.References(level, func(from Node, field int32, to Node) {
			way.grow(w.reached())
			if way.met(to) || !enter(from, to, field) {
				return
			}
			way.meet(to, from, field)
			next = append(next, to)
		})
		if err != nil {
			return err
		}
		level, next = next, level
	}
	return nil
}

// reachable reports whether an object is reachable from the roots, and whether
// that is known.
func (w *walk) reachable(n Node) (yes, known bool) {
	if !w.rootsKnown {
		return w.back.reachable(w, n)
	}
	return n != None && w.rootWay.met(n), true
}

// ownerSets interns the sets of connections that are equally near to an
// object. Set i < n is connection i alone; many is more than are worth telling
// apart.
type ownerSets struct {
	n      int
	sets   [][]int32
	byPair map[[2]int32]int32
	byKey  map[string]int32
	of     []int32 // by Node; noOwner
	level  []int32 // by Node: the level it was met at
}

const (
	noOwner   = int32(-1)
	manyOwner = int32(-2)
	// maxSharers is how many equally near connections are still told apart.
	maxSharers = 64
)

func (o *ownerSets) grow(n int) {
	old := len(o.of)
	if n <= old {
		return
	}
	o.of, o.level = grown(o.of, n), grown(o.level, n)
	for i := old; i < n; i++ {
		o.of[i] = noOwner
	}
}

// members returns the connections of a set.
func (o *ownerSets) members(set int32) []int32 {
	switch {
	case set < 0:
		return nil
	case int(set) < o.n:
		return []int32{set}
	}
	return o.sets[int(set)-o.n]
}

func (o *ownerSets) union(a, b int32) int32 {
	if a == b {
		return a
	}
	if a == manyOwner || b == manyOwner {
		return manyOwner
	}
	pair := [2]int32{min(a, b), max(a, b)}
	if u, ok := o.byPair[pair]; ok {
		return u
	}
	all := append(slices.Clone(o.members(a)), o.members(b)...)
	slices.Sort(all)
	all = slices.Compact(all)
	u := manyOwner
	if len(all) <= maxSharers {
		key := make([]byte, 0, 4*len(all))
		for _, m := range all {
			key = append(key, byte(m), byte(m>>8), byte(m>>16), byte(m>>24))
		}
		known := false
		if u, known = o.byKey[string(key)]; !known {
			if len(o.sets) > 1<<20 {
				u = manyOwner
			} else {
				u = int32(o.n + len(o.sets))
				o.sets = append(o.sets, all)
				o.byKey[string(key)] = u
			}
		}
	}
	o.byPair[pair] = u
	return u
}

// walkConnections follows references from all connections at once.
func (w *walk) walkConnections() error {
	if len(w.connections) == 0 {
		return nil
	}
	w.owners.n = len(w.connections)
	w.owners.byPair = map[[2]int32]int32{}
	w.owners.byKey = map[string]int32{}
	w.connWay.grow(w.reached())
	w.owners.grow(w.reached())
	var seeds []Node
	for c, nodes := range w.connNodes {
		for _, n := range nodes {
			if !w.connWay.met(n) {
				w.connWay.meet(n, n, Element)
				w.owners.of[n] = int32(c)
				seeds = append(seeds, n)
			}
		}
	}
	return w.own(seeds, 1<<30, func(from, to Node, field int32) bool {
		return true
	})
}

// own spreads ownership from objects that have owners, at most depth levels.
// An object met twice at one level belongs to both. A link from an element of
// a list to the next does not make it farther away.
func (w *walk) own(level []Node, depth int, enter func(from, to Node, field int32) bool) error {
	base := int32(1)
	for _, l := range w.owners.level {
		base = max(base, l+1)
	}
	var next, same []Node
	for d := base; len(level) > 0 && d-base < int32(min(depth, 1<<30)); d++ {
		next = next[:0]
		for len(level) > 0 {
			same = same[:0]
			err := w.g.References(level, func(from Node, field int32, to Node) {
				w.connWay.grow(w.reached())
				w.owners.grow(w.reached())
				if w.connWay.met(to) {
					if w.owners.level[to] == d && w.owners.of[to] != w.owners.of[from] && w.connWay.from[to] != to {
						w.owners.of[to] = w.owners.union(w.owners.of[to], w.owners.of[from])
					}
					return
				}
				if w.trait(to)&hub != 0 || !enter(from, to, field) {
					return
				}
				switch w.roleOf(to) {
				case roleSocket, roleServer, roleChannel, roleKey:
					if _, other := w.connAt[to]; other {
						return
					}
				}
				w.connWay.meet(to, from, field)
				w.owners.of[to] = w.owners.of[from]
				if field != Element && w.isLink(from, to, field) {
					w.owners.level[to] = d - 1
					same = append(same, to)
				} else {
					w.owners.level[to] = d
					next = append(next, to)
				}
			})
			if err != nil {
				return err
			}
			level = append(level[:0], same...)
		}
		level = append(level[:0], next...)
	}
	return nil
}

// isLink reports whether a reference leads from an element of a linked list to
// the next of its kind.
func (w *walk) isLink(from, to Node, field int32) bool {
	c := w.g.Class(from)
	if c < 0 || c != w.g.Class(to) {
		return false
	}
	l := w.layout(c)
	return int(field) < len(l) && l[field].Name == "next"
}
