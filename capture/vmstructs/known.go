package vmstructs

import (
	"cmp"
	"slices"
)

// known is where objects were when the old ones were searched for what refers to
// connections: each connection in it was asked for. A reference that leads elsewhere
// may be to one too, now or when collections have moved it: of old objects such
// references are known by their place, and read again when that is asked.
type known struct {
	runs      []extent // by address
	elsewhere reach    // parts of the heap where there is something else, or may be soon
}

// knownNow takes what stretches there are, and large objects, which are none of
// connections.
func (t *tenured) knownNow(j *jvm) known {
	k := known{}
	for i := range t.stretches {
		k.runs = append(k.runs, t.stretches[i].extent)
	}
	for _, s := range j.spaces {
		if s.large() {
			k.runs = append(k.runs, s.extent)
		}
	}
	slices.SortFunc(k.runs, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	l := j.layout
	part := l.unit() << l.partShift
	start, end := j.reserved()
	for _, run := range append(k.runs[:len(k.runs):len(k.runs)], extent{end, end}) {
		for a := start; a < run.start; a += min(part, run.start-a) {
			k.elsewhere.add(l, l.token(a))
		}
		if run.start > start {
			k.elsewhere.add(l, l.token(run.start-l.unit()))
		}
		if start = run.end; t.mixed { // a region is of this size at least
			start = (start + leastRegion - 1) &^ (leastRegion - 1)
		}
	}
	return k
}

// leastRegion is the size of the smallest regions of G1.
const leastRegion = 1 << 20

// has tells whether an address lies in it.
func (k *known) has(address uint64) bool {
	i := lastFrom(k.runs, address, (*extent).from)
	return i >= 0 && address < k.runs[i].end
}

// mayMiss tells by a reference's token whether it may lead elsewhere: mostly no.
func (k *known) mayMiss(l *layout, token uint32) bool {
	return k.elsewhere.has(l, token)
}
