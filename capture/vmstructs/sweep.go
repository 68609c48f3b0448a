package vmstructs

import (
	"context"
	"encoding/binary"

	"github.com/leakscope/leakscope/heap"
)

// sweep is what a scan of the heap looks for: objects of some classes, or
// references to some objects. One serves all workers; it does not change while
// they run.
type sweep struct {
	wanted []bool // by ClassID; nil when references are looked for

	members *members // the objects that references to are looked for
	reaches []reach  // by run, to be filled in; nil: not wanted
	known   *known   // references to elsewhere are looked for too; nil: they are not
	classes classTable

	keep *tenured // where runs that are settled are kept; nil: nowhere
	old  []bool   // by run: it is settled
}

// found is what one worker has come across.
type found struct {
	objects int64
	hits    []hit
	missed  []hit    // references to elsewhere than what is known
	starts  []uint64 // addresses of objects some way apart, rising in each run

	offsets []uint32 // of the objects in a block
	shapes  []*shape // their classes

	keeping
}

// startsApart is how far apart, at the least, the starts are that a scan notes.
const startsApart = blockSize / 2

// hit is an object that was looked for, or a reference to one.
type hit struct {
	from uint64 // address of the object
	slot uint64 // address of the reference in it
	to   uint64 // what it refers to
	id   heap.ClassID
}

// shape is how objects of a class are laid out, as a sweep needs it.
type shape struct {
	key     uint32 // what their headers say, plus one; 0: free
	size    uint32 // of an instance; 0: an array, or an object that differs in size
	maps    []oopMap
	class   *klass
	shift   uint8 // logarithm of an array element's size
	base    uint8 // offset of an array's first element
	array   bool  // of references
	special bool  // to be looked at the slow way
	wanted  bool
}

// classTable finds a class's shape by what headers say: open addressing, at
// most a quarter full.
type classTable struct {
	shapes []shape
	mask   uint32
}

func (t *classTable) place(key uint32) uint32 { return (key >> 3 * 0x9e3779b1 >> 7) & t.mask }

// newSweep prepares a scan for objects of wanted classes, or for references to
// a set of objects.
func (j *jvm) newSweep(wanted []bool) *sweep {
	size := 64
	for size < 4*len(j.klasses) {
		size *= 2
	}
	s := &sweep{wanted: wanted, classes: classTable{make([]shape, size), uint32(size - 1)}}
	for key, k := range j.byKey {
		if key >= 1<<32-1 {
			continue // not compressed: the slow way finds it
		}
		sh := shape{key: uint32(key) + 1, class: k, maps: k.maps, array: k.array, wanted: wanted != nil && wanted[k.id]}
		switch {
		case k.isClass, k.isChunk, k.helper == 0:
			sh.special = true
		case k.helper > 0:
			sh.size = uint32(k.helper) &^ 7
		default:
			sh.base, sh.shift = uint8(k.helper>>16), uint8(k.helper&0x3f)
		}
		at := s.classes.place(sh.key)
		for s.classes.shapes[at].key != 0 {
			at = (at + 1) & s.classes.mask
		}
		s.classes.shapes[at] = sh
	}
	return s
}

func (t *classTable) find(key uint32) *shape {
	key++
	for at := t.place(key); ; at = (at + 1) & t.mask {
		if s := &t.shapes[at]; s.key == key || s.key == 0 {
			return s
		}
	}
}

// run scans the heap.
func (w *sweep) run(ctx context.Context, j *jvm, runs []extent, workers int) (all []found, err error) {
	all = make([]found, workers)
	v := w.visitor(j, all)
	if w.keep != nil {
		v.begin = func(n, run int) bool {
			all[n].start(runs[run], w.old[run])
			return true
		}
		v.end = func(n, run int, err error) error {
			return w.keep.end(j, &all[n], runs[run], err)
		}
	}
	return all, j.scan(ctx, runs, workers, v)
}

func (w *sweep) visitor(j *jvm, all []found) visitor {
	fast := j.layout.narrowOops && j.layout.narrowKlasses && !j.layout.coloured
	for n := range all {
		all[n].due = never
	}
	return visitor{visit: func(n int, s *scanner, o *object) (uint64, error) {
		f := &all[n]
		if last := len(f.starts) - 1; last < 0 || o.address < f.starts[last] || o.address >= f.starts[last]+startsApart {
			f.starts = append(f.starts, o.address)
		}
		if o.address >= f.due {
			if from := o.address - s.at; from+sampleSize <= uint64(len(s.block)) {
				w.keep.sample(s.j.layout, f, s.block[from:from+sampleSize], o.address, o.class, o.size)
			}
		}
		if err := w.visit(s, o, f); err != nil {
			return 0, err
		}
		next := o.address + o.size
		switch {
		case !fast:
			return next, nil
		case w.members != nil:
			return w.blockReferences(s, next, f), nil
		}
		return w.block(s, next, f), nil
	}}
}

// visit looks at one object, whatever its class and the layout.
func (w *sweep) visit(s *scanner, o *object, f *found) error {
	f.objects++
	if w.wanted != nil {
		if w.wanted[o.class.id] {
			f.hits = append(f.hits, hit{from: o.address, id: o.class.id})
		}
		return nil
	}
	l := s.j.layout
	return s.slots(o, func(at uint64, raw []byte) {
		if l.narrowOops && !w.meets(&w.members.filter, w.reachOf(s), l, raw) {
			return
		}
		l.each(at, raw, func(slot, to uint64) {
			w.refersTo(s, l.token(to), hit{o.address, slot, to, o.class.id}, f)
		})
	})
}

// block goes through the objects that the scanner holds from an address on, as
// far as they are of plain classes and whole in its block, and returns where
// it stopped. It is where a scan spends its time: no call for an object, and
// one look into a table for its class.
func (w *sweep) block(s *scanner, at uint64, f *found) uint64 {
	b := s.block
	if at < s.at || at-s.at > uint64(len(b)) {
		return at
	}
	p := int(at - s.at)
	due := len(b)
	if f.due < s.at+uint64(len(b)) {
		due = int(max(f.due, s.at) - s.at)
	}
	for {
		sh, size := w.plain(s.j.layout, b, p)
		if size == 0 {
			break
		}
		if p >= due && p+sampleSize <= len(b) {
			w.keep.sample(s.j.layout, f, b[p:p+sampleSize], s.at+uint64(p), sh.class, uint64(size))
			due = p + int(w.keep.step)
		}
		f.objects++
		if sh.wanted {
			f.hits = append(f.hits, hit{from: s.at + uint64(p), id: sh.class.id})
		}
		p += size
	}
	return s.at + uint64(p)
}

// plain tells the class and the size of the object at p, where it is of a plain
// class and whole in the block; else the size is 0.
func (w *sweep) plain(l *layout, b []byte, p int) (*shape, int) {
	if p+24 > len(b) {
		return nil, 0
	}
	h := b[p : p+24]
	key, lengthAt := binary.LittleEndian.Uint32(h[8:]), 12
	if l.compactHeaders {
		key, lengthAt = uint32(binary.LittleEndian.Uint64(h)>>42), 8
	}
	sh := w.classes.find(key)
	if sh.key == 0 || sh.special {
		return nil, 0
	}
	size := int(sh.size)
	if size == 0 {
		length := int(int32(binary.LittleEndian.Uint32(h[lengthAt:])))
		if length < 0 {
			return nil, 0
		}
		align := int(l.alignment) - 1
		size = (int(sh.base) + length<<sh.shift + align) &^ align
	}
	if size > len(b)-p {
		return nil, 0
	}
	return sh, size
}
