package heap

import (
	"cmp"
	"slices"
	"strings"
)

// settle gives each anchor its fate, connection and holder, and each chunk the
// rows for the rest of it.
func (w *walk) settle() {
	w.paths.index = map[string]int32{}
	for i := range w.anchors {
		a := &w.anchors[i]
		row := Allocation{
			Address: a.address, Bytes: a.bytes, Kind: a.kind, Holder: -1, Connection: -1,
		}
		if a.chunk >= 0 {
			row.Chunk = w.chunks[a.chunk].address
		}
		w.judge(a.node, &row)
		w.allocations = append(w.allocations, row)
	}
	for i := range w.chunks {
		w.settleChunk(&w.chunks[i])
	}
	slices.SortFunc(w.allocations, func(a, b Allocation) int {
		return cmp.Or(
			cmp.Compare(a.Address, b.Address), cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Fate, b.Fate),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Connection, b.Connection), cmp.Compare(a.Holder, b.Holder),
		)
	})
	w.paths.sort(w.allocations)
}

// judge decides the fate of the allocation that an object stands for.
func (w *walk) judge(n Node, row *Allocation) {
	if n == None {
		row.Fate = FateUnreachable
		return
	}
	held, known := w.reachable(n)
	if known && !held {
		row.Fate = FateUnreachable
		return
	}
	if w.connWay.met(n) && w.owners.of[n] != noOwner {
		set := w.owners.of[n]
		members := w.owners.members(set)
		if !w.tooShared(set) {
			row.Fate = FateConnection
			row.Connection = members[0]
			if len(members) > 1 {
				row.Sharers = int32(len(members))
			}
			row.Holder = w.paths.fromConnection(w, n)
			return
		}
	}
	if !known {
		row.Fate = FateUnattributed
		return
	}
	row.Fate = FateApplication
	switch t := w.nearHolder(n); {
	case t&runtimeHolder != 0:
		row.Fate = FateRuntime
	case t&threadCache != 0:
		row.Fate = FateThreadCache
	}
	row.Holder = w.paths.fromRoot(w, n)
}

// tooShared reports whether so many connections are equally near to an object
// that it belongs to what they share, the application, rather than to them.
func (w *walk) tooShared(set int32) bool {
	if set == manyOwner {
		return true
	}
	n := len(w.owners.members(set))
	return n > 8 || n > 2 && 2*n > len(w.connections)
}

// nearHolder returns the traits of the object that holds n, collections,
// arrays and views between them passed over: the JDK's module image and its
// performance counters, or the JDK's cache of a thread's temporary buffers.
func (w *walk) nearHolder(n Node) trait {
	for range 6 {
		if !w.rootWay.met(n) {
			return 0
		}
		from := w.rootWay.from[n]
		t := w.trait(from)
		if c, isMirror := w.mirrors[from]; isMirror {
			t = w.traits[c]
		}
		if t&(runtimeHolder|threadCache) != 0 {
			return t
		}
		if from == n || t&(internal|wrapper) == 0 && !strings.HasSuffix(w.className(from), "[]") {
			return 0
		}
		n = from
	}
	return 0
}

// settleChunk adds the rows that stand for the rest of a chunk, so that all
// rows of it sum to its size.
func (w *walk) settleChunk(c *chunkState) {
	if c.gone {
		return
	}
	kind := KindPooled
	add := func(fate Fate, bytes int64) {
		if bytes > 0 {
			w.allocations = append(w.allocations, Allocation{
				Address: c.address, Bytes: bytes, Chunk: c.address, Kind: kind, Fate: fate,
				Remainder: true, Holder: -1, Connection: -1,
			})
		}
	}
	rest := c.size - c.live
	cached := max(0, min(c.cached, rest))
	rest -= cached
	free := max(0, min(c.free+c.subpage, rest))
	if c.adaptive {
		// An adaptive chunk only counts up: what has been released in it is
		// free again when all of it is.
		free = max(0, rest)
	}
	rest -= free
	add(FateThreadCache, cached)
	add(FatePoolFree, free)
	add(FateLost, rest)
}

// paths interns holder paths.
type paths struct {
	holders  []Holder
	index    map[string]int32
	rootKind map[Node]RootKind
	memo     map[memoKey]int32
}

// memoKey finds the path of an object that is reached from the same place by
// the same field as one before.
type memoKey struct {
	from  Node
	field uint16
	way   *way
}

var rootNames = [...]string{
	RootStatic: "static", RootThread: "thread", RootJNI: "jni", RootOther: "other root",
}

// maxSteps bounds the steps of a path that is shown.
const maxSteps = 40

// fromConnection returns the index of the path from the connection to n. Where
// the connection is only a sibling, the path starts at the root that holds both.
func (p *paths) fromConnection(w *walk, n Node) int32 {
	return p.remember(&w.connWay, n, func() int32 {
		steps, top := p.collect(w, &w.connWay, n)
		root := "connection"
		if _, isConn := w.connAt[top]; !isConn {
			var above []string
			var start Node
			above, start = p.collect(w, &w.rootWay, top)
			steps = append(steps, above...)
			root = rootNames[p.rootKind[start]]
		}
		return p.intern(steps, root)
	})
}

// fromRoot returns the index of the path from a root to n.
func (p *paths) fromRoot(w *walk, n Node) int32 {
	if !w.rootWay.met(n) {
		return -1
	}
	return p.remember(&w.rootWay, n, func() int32 {
		steps, top := p.collect(w, &w.rootWay, n)
		return p.intern(steps, rootNames[p.rootKind[top]])
	})
}

func (p *paths) remember(way *way, n Node, find func() int32) int32 {
	key := memoKey{way.from[n], way.field[n], way}
	if key.from == n {
		return find()
	}
	if p.memo == nil {
		p.memo = map[memoKey]int32{}
	}
	h, ok := p.memo[key]
	if !ok {
		h = find()
		p.memo[key] = h
	}
	return h
}

// collect walks from n back to where it was reached from and returns the steps,
// last first, and the start. A chain is followed by a loop; its repeated links
// are one step.
func (p *paths) collect(w *walk, way *way, n Node) (steps []string, top Node) {
	for way.met(n) && way.from[n] != n {
		from, field := way.from[n], way.field[n]
		// Links of a chain are passed over without making their steps.
		if step := p.step(w, from, n, field); step != "" {
			if len(steps) == 0 || steps[len(steps)-1] != step {
				if len(steps) < 1<<12 {
					steps = append(steps, step)
				}
			} else if !strings.HasSuffix(step, "…") {
				steps[len(steps)-1] = step + "…"
			}
		}
		n = from
	}
	return steps, n
}

// step names the reference from one object to the next, "" for one that is no
// step of a path: the inside of a collection, an array, a wrapper of a buffer.
func (p *paths) step(w *walk, from, to Node, field uint16) string {
	if c, isMirror := w.mirrors[from]; isMirror {
		names, ok := w.statics[c]
		if !ok {
			names = w.g.StaticNames(c)
			w.statics[c] = names
		}
		if int(field) < len(names) {
			return w.classes[c].Name + "." + names[field]
		}
		return w.classes[c].Name
	}
	c := w.g.Class(from)
	if c < 0 || field == elementField {
		return ""
	}
	l := w.layout(c)
	if int(field) >= len(l) {
		return ""
	}
	name := l[field].Name
	t := w.traits[c]
	switch {
	case t&wrapper != 0:
		return ""
	case t&entry != 0:
		if !valueFields[name] {
			return ""
		}
	case t&internal != 0, t&chain != 0 && linkFields[name]:
		return ""
	}
	step := w.classes[c].Name + "." + name
	if linkFields[name] && c == w.g.Class(to) {
		step += "…"
	}
	return step
}

// intern returns the index of a path whose steps are given last first.
func (p *paths) intern(steps []string, root string) int32 {
	slices.Reverse(steps)
	if len(steps) > maxSteps {
		steps = slices.Concat(steps[:maxSteps/2], []string{"…"}, steps[len(steps)-maxSteps/2+1:])
	}
	key := root + "\x00" + strings.Join(steps, "\x00")
	if h, ok := p.index[key]; ok {
		return h
	}
	h := int32(len(p.holders))
	p.holders = append(p.holders, Holder{Path: slices.Clone(steps), Root: root})
	p.index[key] = h
	return h
}

// sort orders the holders by path and renumbers the rows.
func (p *paths) sort(rows []Allocation) {
	order := make([]int32, len(p.holders))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(
			slices.Compare(p.holders[a].Path, p.holders[b].Path),
			cmp.Compare(p.holders[a].Root, p.holders[b].Root),
		)
	})
	sorted := make([]Holder, len(order))
	place := make([]int32, len(order))
	for i, o := range order {
		sorted[i] = p.holders[o]
		place[o] = int32(i)
	}
	for i := range rows {
		if rows[i].Holder >= 0 {
			rows[i].Holder = place[rows[i].Holder]
		}
	}
	p.holders = sorted
}
