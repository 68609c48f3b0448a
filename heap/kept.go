package heap

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/leakscope/leakscope/heap/hprof"
)

// keptRows are the wanted fields of the instances of one class that one worker
// has met. They grow by blocks, which stay where they are: there can be millions.
type keptRows struct {
	n      int
	ids    [][]packed
	values [][]byte // plan.kept bytes a row
}

const (
	keptBlockBits = 9
	keptBlock     = 1 << keptBlockBits // rows
)

// add makes room for a row and returns it.
func (k *keptRows) add(id packed, size int) []byte {
	if k.n%keptBlock == 0 {
		k.ids = append(k.ids, make([]packed, 0, keptBlock))
		k.values = append(k.values, make([]byte, size*keptBlock))
	}
	last := k.n >> keptBlockBits
	k.ids[last] = append(k.ids[last], id)
	k.n++
	return k.row(k.n-1, size)
}

func (k *keptRows) id(i int) packed { return k.ids[i>>keptBlockBits][i%keptBlock] }

func (k *keptRows) row(i, size int) []byte {
	return k.values[i>>keptBlockBits][i%keptBlock*size:][:size]
}

// noObject is a reference that is null, in packed form: the place of no object,
// because pages are given out from the first on.
const noObject = ^packed(0)

// keep stores the wanted fields of an instance: references packed, all else as
// it stands in the dump.
func (w *reducer) keep(p *plan, src packed, body []byte) {
	rows := w.kept[p]
	if rows == nil {
		rows = &keptRows{}
		w.kept[p] = rows
	}
	row := rows.add(src, p.kept)
	for i := range p.keep {
		k := &p.keep[i]
		if k.typ != Object {
			copy(row[k.at:], body[k.offset:k.offset+k.size])
			continue
		}
		to := noObject
		if id := hprof.ReadID(body[k.offset:], w.red.idSize); id != 0 {
			row[k.at] = 1
			if k.isSet {
				continue
			}
			to = w.red.pages.pack(id)
		}
		if !k.isSet {
			binary.LittleEndian.PutUint32(row[k.at:], to)
		}
	}
}

// reference reads a kept reference of a row.
func (k *keptField) reference(row []byte) packed { return binary.LittleEndian.Uint32(row[k.at:]) }

// number reads a kept field of a row that is no reference, as hprof.ReadValue does.
func (k *keptField) number(row []byte) uint64 {
	return hprof.ReadValue(row[k.at:], uint8(k.typ), 0)
}

// eachKept visits the kept rows of a finished pass. reference reads a kept
// reference by name: noObject where it is null, or the class has none of that name.
func (red *reduction) eachKept(visit func(p *plan, id packed, reference func(name string) packed)) {
	for _, w := range red.workers {
		for p, rows := range w.kept {
			var row []byte
			names := map[string]*keptField{}
			layout := Layout(red.reg.classes, p.id)
			for i := range p.keep {
				if name := layout[p.keep[i].field].Name; names[name] == nil && p.keep[i].typ == Object {
					names[name] = &p.keep[i]
				}
			}
			reference := func(name string) packed {
				if k := names[name]; k != nil {
					return k.reference(row)
				}
				return noObject
			}
			for i := range rows.n {
				row = rows.row(i, p.kept)
				visit(p, rows.id(i), reference)
			}
		}
	}
}

// pinCounters drops the kept counter objects but those that a counter of
// counterTable refers to.
func (red *reduction) pinCounters() {
	pinned := map[packed]bool{}
	for i, c := range red.reg.classes {
		for _, row := range counterTable {
			if !hasSuffix(c.Name, row.class) {
				continue
			}
			for _, s := range red.reg.statics[i] {
				if s.Type == uint8(Object) && s.Value != 0 {
					pinned[red.pages.pack(s.Value)] = true
				}
			}
		}
	}
	for _, w := range red.workers {
		for p, rows := range w.kept {
			if p.want.role != roleCounter {
				continue
			}
			kept := &keptRows{}
			for i := range rows.n {
				if id := rows.id(i); pinned[id] {
					copy(kept.add(id, p.kept), rows.row(i, p.kept))
				}
			}
			w.kept[p] = kept
		}
	}
}

// keptTable is the kept rows of a class. They stay in the blocks that the workers
// left them in: what a JVM writes has its objects by address, and each worker has
// met some of them in that order. For other dumps there is an index.
type keptTable struct {
	plan  *plan
	parts []keptPart
	last  int      // the part that the last row was in
	index []uint64 // node, then the row's place among those of all parts; by node. Nil: parts are sorted
}

// keptPart is what one worker has kept.
type keptPart struct {
	rows *keptRows
	at   int // where the last row was found
}

// newKeptTable makes a table of what the workers have kept; node numbers an
// object.
func newKeptTable(p *plan, all []*keptRows, node func(packed) Node) *keptTable {
	t := &keptTable{plan: p}
	sorted, count := true, 0
	for _, rows := range all {
		t.parts = append(t.parts, keptPart{rows: rows})
		count += rows.n
		last := Node(0)
		for i := 0; i < rows.n && sorted; i++ {
			n := node(rows.id(i))
			sorted = i == 0 || last < n
			last = n
		}
	}
	if sorted {
		return t
	}
	t.index = make([]uint64, 0, count)
	for _, rows := range all {
		for i := range rows.n {
			t.index = append(t.index, uint64(node(rows.id(i)))<<32|uint64(len(t.index)))
		}
		rows.ids = nil // the index tells
	}
	slices.Sort(t.index)
	return t
}

// row returns the values of a node, nil where there are none. Nodes mostly come
// in order: it looks near the last place first.
func (t *keptTable) row(n Node, node func(packed) Node) []byte {
	if t.index != nil {
		at, found := slices.BinarySearchFunc(t.index, n, func(e uint64, n Node) int { return cmp.Compare(Node(e>>32), n) })
		if !found {
			return nil
		}
		place := int(uint32(t.index[at]))
		for i := range t.parts {
			rows := t.parts[i].rows
			if place < rows.n {
				return rows.row(place, t.plan.kept)
			}
			place -= rows.n
		}
		return nil
	}
	if p := &t.parts[t.last]; p.near(n, node) {
		return p.rows.row(p.at, t.plan.kept)
	}
	for i := range t.parts {
		p := &t.parts[i]
		if i == t.last || !p.near(n, node) && !p.search(n, node) {
			continue
		}
		t.last = i
		return p.rows.row(p.at, t.plan.kept)
	}
	if p := &t.parts[t.last]; p.search(n, node) {
		return p.rows.row(p.at, t.plan.kept)
	}
	return nil
}

// near looks at the row after the last one, at the last, and at the one before:
// a collector that follows a list from its newest element lays it out backward.
func (p *keptPart) near(n Node, node func(packed) Node) bool {
	for _, at := range [...]int{p.at + 1, p.at, p.at - 1} {
		if at >= 0 && at < p.rows.n && node(p.rows.id(at)) == n {
			p.at = at
			return true
		}
	}
	return false
}

// search finds a node's row. What a JVM writes has the objects of a class spread
// evenly over long runs, so the place is guessed before it is halved.
func (p *keptPart) search(n Node, node func(packed) Node) bool {
	const guesses = 8
	low, high := 0, p.rows.n-1
	if high < 0 {
		return false
	}
	first, last := node(p.rows.id(low)), node(p.rows.id(high))
	for step := 0; low <= high && first <= n && n <= last; step++ {
		at := int(uint(low+high) / 2)
		if step < guesses && first < last {
			at = low + int(uint64(n-first)*uint64(high-low)/uint64(last-first))
		}
		switch found := node(p.rows.id(at)); {
		case found == n:
			p.at = at
			return true
		case found < n:
			low, first = at+1, found+1
		default:
			high, last = at-1, found-1
		}
	}
	return false
}
