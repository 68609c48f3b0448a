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

	members addressIndex // the objects that references to are looked for; the numbers mean nothing
	filter  []uint64     // a bit for each of them, by filterBit: mostly no, seldom maybe
	classes classTable
}

// found is what one worker has come across.
type found struct {
	objects int64
	hits    []hit
	starts  []uint64 // addresses of objects some way apart, rising in each run
}

// startsApart is how far apart, at the least, the starts are that a scan notes.
const startsApart = 8 << 20

// hit is an object that was looked for, or a reference to one.
type hit struct {
	from uint64 // address of the object
	slot uint64 // address of the reference in it
	to   uint64 // what it refers to
	id   heap.ClassID
}

const (
	filterBits  = 20
	filterWords = 1 << filterBits / 64
)

func filterBit(raw uint32) uint32 { return raw * 0x9e3779b1 >> (32 - filterBits) }

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
		case k.isClass, k.helper == 0:
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

// lookFor has the scan look for references to an object.
func (w *sweep) lookFor(l *layout, address uint64) {
	w.members.put(address, 0)
	if l.narrowOops {
		if w.filter == nil {
			w.filter = make([]uint64, filterWords)
		}
		bit := filterBit(uint32((address - l.oopBase) >> l.oopShift))
		w.filter[bit/64] |= 1 << (bit % 64)
	}
}

// run scans the heap.
func (w *sweep) run(ctx context.Context, j *jvm, runs []extent, workers int) (all []found, err error) {
	all = make([]found, workers)
	fast := j.layout.narrowOops && j.layout.narrowKlasses && !j.layout.coloured
	err = j.scan(ctx, runs, workers, func(n int, s *scanner, o *object) (uint64, error) {
		f := &all[n]
		if last := len(f.starts) - 1; last < 0 || o.address < f.starts[last] || o.address >= f.starts[last]+startsApart {
			f.starts = append(f.starts, o.address)
		}
		if err := w.visit(s, o, f); err != nil {
			return 0, err
		}
		if fast {
			return w.block(s, o.address+o.size, f), nil
		}
		return o.address + o.size, nil
	})
	return all, err
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
	return s.references(o, func(slot, to uint64) {
		if w.members.get(to) != heap.None {
			f.hits = append(f.hits, hit{o.address, slot, to, o.class.id})
		}
	})
}

// block goes through the objects that the scanner holds from an address on, as
// far as they are of plain classes and whole in its block, and returns where
// it stopped. It is where a scan spends its time: no call for an object, one
// look into a table for its class, and for each reference one bit of a filter
// that fits into a processor's cache.
func (w *sweep) block(s *scanner, at uint64, f *found) uint64 {
	l := s.j.layout
	b := s.block
	if at < s.at || at-s.at > uint64(len(b)) {
		return at
	}
	keyAt, lengthAt := 8, 12
	if l.compactHeaders {
		keyAt, lengthAt = 0, 8
	}
	filter := w.filter
	align := int(l.alignment) - 1
	p := int(at - s.at)
	objects := int64(0)
	for p+24 <= len(b) {
		var key uint32
		if keyAt == 0 {
			key = uint32(binary.LittleEndian.Uint64(b[p:]) >> 42)
		} else {
			key = binary.LittleEndian.Uint32(b[p+8:])
		}
		sh := w.classes.find(key)
		if sh.key == 0 || sh.special {
			break
		}
		size := int(sh.size)
		if size == 0 {
			length := int(int32(binary.LittleEndian.Uint32(b[p+lengthAt:])))
			if length < 0 {
				break
			}
			size = (int(sh.base) + length<<sh.shift + align) &^ align
		}
		if size > len(b)-p {
			break
		}
		objects++
		switch {
		case filter == nil:
			if sh.wanted {
				f.hits = append(f.hits, hit{from: s.at + uint64(p), id: sh.class.id})
			}
		case sh.array:
			length := int(binary.LittleEndian.Uint32(b[p+lengthAt:]))
			w.slots(s, b[p+int(sh.base):p+int(sh.base)+4*length], p, int(sh.base), sh, f)
		default:
			for _, m := range sh.maps {
				from := p + int(m.offset)
				w.slots(s, b[from:from+4*int(m.count)], p, int(m.offset), sh, f)
			}
		}
		p += size
	}
	f.objects += objects
	return s.at + uint64(p)
}

// slots holds a run of references against the filter; base is its offset in the
// object at p of the block.
func (w *sweep) slots(s *scanner, run []byte, p, base int, sh *shape, f *found) {
	filter := w.filter
	for i := 0; i+4 <= len(run); i += 4 {
		raw := binary.LittleEndian.Uint32(run[i:])
		bit := raw * 0x9e3779b1 >> (32 - filterBits)
		if filter[bit>>6&(filterWords-1)]>>(bit&63)&1 == 0 || raw == 0 {
			continue
		}
		if to := s.j.layout.decode(uint64(raw)); w.members.get(to) != heap.None {
			at := s.at + uint64(p)
			f.hits = append(f.hits, hit{at, at + uint64(base+i), to, sh.class.id})
		}
	}
}
