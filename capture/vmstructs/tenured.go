package vmstructs

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
)

// tenured keeps what scans have found among old objects: which are of wanted
// classes. Young collections leave those where they are, so a later try reads
// their part of the heap again only as far as it takes to tell that it is still
// the same. So a try can be shorter than a scan of the heap.
//
// Old objects move in full collections, which the JVM counts apart, and with G1
// in collections of the young and some of the old regions, which it does not:
// there a region may be emptied and filled again. What was found counts again
// only if
//
//   - no full collection has been counted since,
//   - the part of the heap is there, for the same use, and no smaller,
//   - at places some way apart the object is there that was, with the same
//     contents; with G1 enough of these must say something of their own, and not only
//     refer to others,
//   - and objects of wanted classes have their headers still. Some of many are
//     looked at here, each one when it is read.
type tenured struct {
	counter uint64 // address of the counter of full collections
	counted uint64 // what it said
	mixed   bool   // young collections may move old objects too
	step    uint64 // from one sample to the next, at least
	seed    maphash.Seed

	reload bool // classes are to be read in the try, where it met what is of none

	mu        sync.Mutex
	gaps      map[uint64]uint64 // in the stretches: where dead objects of classes that are gone begin and end
	wanted    []uint64          // addresses of the classes that were looked for
	stretches []stretch

	hints
}

// stretch is a run of old objects.
type stretch struct {
	extent
	space   space // that it lies in
	objects int64
	hits    []settledHit
	samples []sample

	references []settledReference // to objects that were asked for
	elsewhere  []settledReference // to what is not known, wherever it is now
	asked      int                // how often such had been added when it was scanned for them
	to         *reach             // what it referred to then; nil before
	fresh      bool               // that was before this try
}

type settledHit struct{ address, key uint64 }

const (
	sampleSize  = 64
	mixedStep   = 64 << 10
	stretchSize = 1 << 20 // at least, but at the end of a part of the heap

	// leastTenured is the size of the heap below which a try is short enough.
	leastTenured = 64 << 20
	// leastTelling is how many different samples tell a region from others, hitSamples
	// how many objects of wanted classes are looked at in a stretch.
	leastTelling = 4
	hitSamples   = 4

	// maxStretches bounds the memory: 1.5 KiB each.
	maxStretches = 1 << 17

	never = ^uint64(0)
)

// fullCollections counts those that move all old objects (collectorCounters.cpp).
const fullCollections = "sun.gc.collector.1.invocations"

// newTenured returns nil where old objects can't be told apart, or where the JVM
// does not tell when they move.
func (j *jvm) newTenured(small bool) *tenured {
	t := &tenured{hints: hints{small: small}, seed: maphash.MakeSeed(), step: stretchSize / 2}
	switch _, tagged := j.tables.find("HeapRegion::_type", "G1HeapRegion::_type"); j.collector() {
	case "Serial", "Parallel":
	case "G1":
		if t.mixed, t.step = true, mixedStep; !tagged {
			return nil
		}
	default:
		return nil
	}
	found, err := j.published()
	j.r.err = nil
	if err != nil {
		return nil
	}
	var ok bool
	if t.counter, ok = found[fullCollections]; !ok {
		return nil
	}
	return t
}

// settled tells the parts of the heap whose objects young collections leave
// where they are. Large objects of G1 are read by their header anyway.
func (s space) settled() bool { return s.tag != 0 && s.tag&(youngTag|humongousTag) == 0 }

// large tells the parts of the heap that are one large object.
func (s space) large() bool { return s.tag != oldSpace && s.tag&humongousTag != 0 }

// Bits of the tag: HeapRegionType.
const youngTag, humongousTag = 2, 4

// spaceOf returns the part of the heap that an address lies in.
func spaceOf(spaces []space, address uint64) space {
	i := lastFrom(spaces, address, func(s *space) uint64 { return s.start })
	if i < 0 || address >= spaces[i].end {
		return space{}
	}
	return spaces[i]
}

// drop forgets all that was found.
func (t *tenured) drop() {
	t.stretches, t.wantedReferrers, t.added, t.places, t.askedFor, t.known = nil, addressIndex{}, 0, nil, addressIndex{}, known{}
}

// forget drops the stretch that an address lies in.
func (t *tenured) forget(address uint64) {
	t.stretches = slices.DeleteFunc(t.stretches, func(s stretch) bool { return s.start <= address && address < s.end })
}

// counts drops what was found if old objects may have moved since.
func (t *tenured) counts(j *jvm) error {
	now, err := j.words([]uint64{t.counter})
	if err != nil {
		return fmt.Errorf("counter of full collections: %w", err)
	}
	if now[0] != t.counted {
		t.drop()
	}
	t.counted = now[0]
	return nil
}

// lookFor drops what was found if other classes were looked for.
func (t *tenured) lookFor(classes []uint64) {
	slices.Sort(classes)
	if !slices.Equal(classes, t.wanted) {
		t.drop()
	}
	t.wanted = classes
}

// there keeps what lies in parts of the heap that are there still, for the same
// use, by address.
func (t *tenured) there(spaces []space) {
	t.stretches = slices.DeleteFunc(t.stretches, func(s stretch) bool {
		now := spaceOf(spaces, s.start)
		return now.start != s.space.start || now.tag != s.space.tag || now.end < s.end
	})
	slices.SortFunc(t.stretches, func(a, b stretch) int { return cmp.Compare(a.start, b.start) })
	t.prune()
}

// prune drops ways and gaps that begin where nothing is known any more.
func (t *tenured) prune() {
	gone := func(a uint64) bool {
		i := lastFrom(t.stretches, a, func(s *stretch) uint64 { return s.start })
		return i < 0 || a >= t.stretches[i].end
	}
	t.ways = slices.DeleteFunc(t.ways, func(r settledReference) bool { return gone(r.from) })
	maps.DeleteFunc(t.gaps, func(at, _ uint64) bool { return gone(at) })
}

// still keeps of what was found what is so still.
func (t *tenured) still(g *graph) error {
	if err := t.counts(g.j); err != nil {
		return err
	}
	t.there(g.j.spaces)
	verdicts := make([]verdict, 0, len(t.stretches))
	for some := range slices.Chunk(t.stretches, lookBatch) {
		v, err := t.look(g, some)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, v...)
	}
	gone := map[uint64]bool{} // parts of the heap with other objects
	for i, v := range verdicts {
		if v == moved {
			gone[t.stretches[i].space.start] = true
		}
	}
	kept := make([]stretch, 0, len(t.stretches))
	for i, s := range t.stretches {
		if verdicts[i] == unchanged && !gone[s.space.start] {
			kept = append(kept, s)
		}
	}
	t.stretches = kept
	t.prune()
	return nil
}

// rest is what is still to be scanned of runs of objects, and which of it is of
// old ones.
func (t *tenured) rest(j *jvm, runs []extent) (out []extent, old []bool) {
	add := func(start, end uint64, settled bool) {
		if start < end {
			out, old = append(out, extent{start, end}), append(old, settled)
		}
	}
	at := 0
	for _, run := range runs {
		if !spaceOf(j.spaces, run.start).settled() {
			add(run.start, run.end, false)
			continue
		}
		start := run.start
		for ; at < len(t.stretches) && t.stretches[at].start < run.end; at++ {
			if s := &t.stretches[at]; s.start >= start {
				add(start, s.start, true)
				start = s.end
			}
		}
		add(start, run.end, true)
	}
	return out, old
}
