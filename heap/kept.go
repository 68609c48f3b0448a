package heap

import (
	"encoding/binary"

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
			to = w.red.pages.pack(id)
		}
		binary.LittleEndian.PutUint32(row[k.at:], to)
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

// keptTable is the kept rows of a class, by node. The rows stay in the blocks
// that the workers left them in.
type keptTable struct {
	plan  *plan
	rows  []uint64 // node, then the row's place among those of all workers; by node
	parts []keptPart
}

// keptPart is what one worker has kept, from a place on.
type keptPart struct {
	first int
	rows  *keptRows
}

func (t *keptTable) node(i int) Node { return Node(t.rows[i] >> 32) }

// row returns the values of row i.
func (t *keptTable) row(i int) []byte {
	at := int(uint32(t.rows[i]))
	part := len(t.parts) - 1
	for t.parts[part].first > at {
		part--
	}
	return t.parts[part].rows.row(at-t.parts[part].first, t.plan.kept)
}
