package vmstructs

import "math/bits"

// reach tells which parts of the heap a run of objects has references to: a
// bit for each of them. The search for what refers to garbage goes level by
// level; after its first scan it looks at those runs again that can matter.
type reach [reachWords]uint64

const (
	reachBits  = 1 << 12
	reachWords = reachBits / 64
	maxReaches = 1 << 16
)

// partsOf has a heap of so many bytes be told apart by all bits of a reach.
func (l *layout) partsOf(heapBytes uint64) {
	l.partShift = uint32(max(0, bits.Len64(heapBytes/l.unit())-bits.Len64(reachBits)+1))
}

// unit is how far apart the addresses are that two neighbouring tokens stand for.
func (l *layout) unit() uint64 {
	if l.narrowOops {
		return 1 << l.oopShift
	}
	return 8
}

// addAll adds references to objects; 0 is none.
func (r *reach) addAll(l *layout, addresses []uint64) {
	for _, a := range addresses {
		if a != 0 {
			r.add(l, l.token(a))
		}
	}
}

func (r *reach) add(l *layout, token uint32) {
	part := token >> l.partShift
	r[part/64%reachWords] |= 1 << (part % 64)
}

func (r *reach) has(l *layout, token uint32) bool {
	part := token >> l.partShift
	return r[part/64%reachWords]>>(part%64)&1 != 0
}

func (r *reach) meets(other *reach) bool {
	for i := range r {
		if r[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

// reachOf is that of the run that is scanned, nil where none is wanted.
func (w *sweep) reachOf(s *scanner) *reach {
	if w.reaches == nil {
		return nil
	}
	return &w.reaches[s.index]
}

func (w *sweep) note(s *scanner, token uint32) {
	if to := w.reachOf(s); to != nil {
		to.add(s.j.layout, token)
	}
}
