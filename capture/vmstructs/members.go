package vmstructs

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap"
)

// members are the objects that a scan looks for references to. While it runs,
// what is found to refer to one of them joins them if it is not known yet:
// whoever refers to garbage is garbage too, mostly allocated just before it,
// and a scan goes from high addresses to low ones. So one scan finds the most
// of what would take one for each level. Of what joined it has seen a part
// only; that is looked for again.
type members struct {
	mu     sync.RWMutex
	index  addressIndex // asked or joined
	joined []uint64
	filter [filterWords]uint64 // a bit for each of them: mostly no, seldom maybe
	known  *addressIndex       // objects that do not join; it does not change meanwhile
	layout *layout
}

// What is kept of a member.
const (
	memberAsked  heap.Node = iota // the whole scan looks for it
	memberJoined                  // what is left of the scan does
)

// maxJoined bounds how many objects join in one scan.
const maxJoined = 1 << 16

const (
	filterBits  = 20
	filterWords = 1 << filterBits / 64
)

// token is the part of a reference that the filter goes by.
func (l *layout) token(address uint64) uint32 {
	if l.narrowOops {
		return uint32((address - l.oopBase) >> l.oopShift)
	}
	return uint32(address >> 3)
}

func filterPlace(token uint32) (word, bit uint32) {
	h := token * 0x9e3779b1 >> (32 - filterBits)
	return h / 64 & (filterWords - 1), h % 64
}

// may tells by a reference's token whether it may lead to a member.
func (m *members) may(token uint32) bool {
	word, bit := filterPlace(token)
	return atomic.LoadUint64(&m.filter[word])>>bit&1 != 0
}

// has tells whether an object is a member.
func (m *members) has(address uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index.get(address) != heap.None
}

func (m *members) add(address uint64, as heap.Node) {
	m.index.put(address, as)
	word, bit := filterPlace(m.layout.token(address))
	atomic.OrUint64(&m.filter[word], 1<<bit)
}

// refers notes a reference if it leads to a member.
func (w *sweep) refers(h hit, f *found) {
	m := w.members
	m.mu.RLock()
	as := m.index.get(h.to)
	stranger := as != heap.None && len(m.joined) < maxJoined && m.index.get(h.from) == heap.None
	m.mu.RUnlock()
	if as == memberAsked {
		f.hits = append(f.hits, h)
	}
	if !stranger || m.known.get(h.from) != heap.None {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.index.get(h.from) == heap.None {
		m.add(h.from, memberJoined)
		m.joined = append(m.joined, h.from)
	}
}

// refersTo notes of a reference what is looked for.
func (w *sweep) refersTo(s *scanner, token uint32, h hit, f *found) {
	w.note(s, token)
	if w.members.may(token) {
		w.refers(h, f)
	}
	if w.known != nil && w.known.mayMiss(s.j.layout, token) && !w.known.has(h.to) {
		f.missed = append(f.missed, h)
	}
}

// blockReferences is what block is, for references. Few blocks have one that
// leads to a member: those it goes through again, from the last object to the
// first.
func (w *sweep) blockReferences(s *scanner, at uint64, f *found) uint64 {
	b := s.block
	if at < s.at || at-s.at > uint64(len(b)) {
		return at
	}
	first := int(at - s.at)
	p, objects := w.pass(s, b, first)
	f.objects += objects
	if p < 0 {
		p = w.backwards(s, b, first, f)
	}
	return s.at + uint64(p)
}

// pass goes through the objects in a block from p on and returns where it
// stopped, or -1 where one of them refers to what is looked for. For each reference it
// looks at one bit of a filter that fits into a processor's cache.
func (w *sweep) pass(s *scanner, b []byte, p int) (next int, objects int64) {
	l, filter, to := s.j.layout, &w.members.filter, w.reachOf(s)
	lengthAt := 12
	if l.compactHeaders {
		lengthAt = 8
	}
	for {
		sh, size := w.plain(l, b, p)
		if size == 0 {
			return p, objects
		}
		objects++
		if sh.array {
			length := int(binary.LittleEndian.Uint32(b[p+lengthAt:]))
			if w.meets(filter, to, l, b[p+int(sh.base):p+int(sh.base)+4*length]) {
				return -1, 0
			}
		} else {
			for _, m := range sh.maps {
				from := p + int(m.offset)
				if w.meets(filter, to, l, b[from:from+4*int(m.count)]) {
					return -1, 0
				}
			}
		}
		p += size
	}
}

// meets tells whether one of a run of references leads to what is looked for.
func (w *sweep) meets(filter *[filterWords]uint64, to *reach, l *layout, run []byte) bool {
	for ; len(run) >= 4; run = run[4:] {
		raw := binary.LittleEndian.Uint32(run)
		if raw == 0 {
			continue
		}
		if to != nil {
			to.add(l, raw)
		}
		h := raw * 0x9e3779b1 >> (32 - filterBits)
		if atomic.LoadUint64(&filter[h/64&(filterWords-1)])>>(h&63)&1 != 0 && w.members.has(l.decode(uint64(raw))) {
			return true
		}
		if w.known != nil && w.known.mayMiss(l, raw) && !w.known.has(l.decode(uint64(raw))) {
			return true
		}
	}
	return false
}

// backwards goes through the objects in a block from the last to the first.
func (w *sweep) backwards(s *scanner, b []byte, p int, f *found) (next int) {
	l := s.j.layout
	lengthAt := 12
	if l.compactHeaders {
		lengthAt = 8
	}
	f.offsets, f.shapes = f.offsets[:0], f.shapes[:0]
	for {
		sh, size := w.plain(l, b, p)
		if size == 0 {
			break
		}
		f.objects++
		f.offsets, f.shapes = append(f.offsets, uint32(p)), append(f.shapes, sh)
		p += size
	}
	for i := len(f.offsets) - 1; i >= 0; i-- {
		o, sh := int(f.offsets[i]), f.shapes[i]
		slots := func(base, count int) {
			object := s.at + uint64(o)
			for n := range count {
				raw := binary.LittleEndian.Uint32(b[o+base+4*n:])
				if raw != 0 {
					w.refersTo(s, raw, hit{object, object + uint64(base+4*n), l.decode(uint64(raw)), sh.class.id}, f)
				}
			}
		}
		if sh.array {
			slots(int(sh.base), int(binary.LittleEndian.Uint32(b[o+lengthAt:])))
			continue
		}
		for _, m := range sh.maps {
			slots(int(m.offset), int(m.count))
		}
	}
	return p
}
