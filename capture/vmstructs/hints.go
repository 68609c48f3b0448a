package vmstructs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leakscope/leakscope/heap"
)

// Where collections come too often for a scan of all references between two of
// them, old objects are searched before a try for references to those old ones
// that earlier tries asked for. In the try each such reference is read again
// where it was found, in a stretch that is still the same: so it shows as well
// as a scan that something is held. That nothing holds an object is not shown
// that way, and not claimed.

// hints are what tries that were cut short have asked for.
type hints struct {
	scans           int                // how many had come to a scan for referrers
	scanned         bool               // the last one had
	forward         int                // how many objects a search forward may meet then
	partial         bool               // tries go by hints now
	ways            []settledReference // how walks met what they held
	wantedReferrers addressIndex       // old objects, whose referrers are of use
	added           int                // how often some were added to them
	places          []reach            // where those are that were added
	met             addressIndex       // objects that a walk has met: what refers to these is of no use
}

// maxScans is how many tries may scan for referrers and be cut short, before
// that is given up.
const maxScans = 2

// maxWays bounds the memory of how walks met what they held.
const maxWays = 1 << 18

// maxRounds bounds the scans for referrers of referrers before one try.
const maxRounds = 3

// settledReference is a reference, with what tells the class it is in.
type settledReference struct{ from, slot, to, key uint64 }

// remember notes what a walk asked for, and how it met what it did, for another
// try if there is one.
func (t *tenured) remember(g *graph) {
	if len(t.ways) > maxWays {
		t.ways = nil
	}
	for _, r := range g.ways {
		t.ways = append(t.ways, settledReference{r.from, r.slot, r.to, g.j.layout.klassKey(g.j.klasses[r.class].address)})
	}
	if t.scanned = g.referrers.asked.n > 0; t.scanned {
		t.met = g.index
		t.ask(g.j, slices.DeleteFunc(slices.Clone(g.referrers.asked.keys), func(a uint64) bool { return a == 0 }))
	}
}

// rejected notes why a try was.
func (t *tenured) rejected(err error) {
	if t.scanned && errors.Is(err, errMoved) {
		t.scans++
	}
	if errors.Is(err, errOpen) {
		t.forward = min(4*t.forward, maxNodes)
	}
	t.scanned = false
	t.partial = t.scans >= maxScans
}

// errOpen says that hints told too little.
var errOpen = errors.New("too much is left open")

// maxOpen is the share of all bytes that may be left open where there is no time
// to do better: garbage, for the most part.
const maxOpen = 0.2

// tooOpen rejects a result that leaves more than a share of the bytes open.
func tooOpen(r *heap.Result, most float64) error {
	var open, all int64
	for _, a := range r.Allocations {
		switch a.Fate {
		case heap.FateRuntime:
			continue
		case heap.FateUnattributed:
			open += a.Bytes
		}
		all += a.Bytes
	}
	if float64(open) > most*float64(all) {
		return fmt.Errorf("%w: what holds %d bytes of %d", errOpen, open, all)
	}
	return nil
}

// ask adds old objects to those whose referrers are of use.
func (t *tenured) ask(j *jvm, addresses []uint64) {
	var fresh []uint64
	for _, a := range addresses {
		if t.wantedReferrers.n < maxJoined && t.wantedReferrers.get(a) == heap.None && spaceOf(j.spaces, a).settled() {
			t.wantedReferrers.put(a, 0)
			fresh = append(fresh, a)
		}
	}
	if len(fresh) > 0 {
		t.added++
		t.places = append(t.places, reach{})
		t.places[t.added-1].addAll(j.layout, fresh)
	}
}

// concerns tells whether a stretch is to be scanned for references: it has not
// been, or it referred to where some of the objects are that were added since.
func (t *tenured) concerns(s *stretch) bool {
	if s.to == nil {
		return true
	}
	for _, place := range t.places[s.asked:] {
		if s.to.meets(&place) {
			return true
		}
	}
	return false
}

// learnReferences scans old objects for references to those that were asked
// for, and to what refers to these.
func (t *tenured) learnReferences(ctx context.Context, j *jvm, workers int) error {
	for range maxRounds {
		var runs []extent
		var of []*stretch
		for i := range t.stretches {
			switch s := &t.stretches[i]; {
			case s.to != nil && s.asked == t.added:
			case t.concerns(s):
				runs, of = append(runs, s.extent), append(of, s)
			default:
				s.asked = t.added
			}
		}
		if len(runs) == 0 {
			return nil
		}
		slices.Reverse(runs)
		slices.Reverse(of)
		w := j.newSweep(nil)
		w.members = &members{known: &t.met, layout: j.layout}
		for _, a := range t.wantedReferrers.keys {
			if a != 0 {
				w.members.add(a, memberAsked)
			}
		}
		w.reaches = make([]reach, len(runs))
		all := make([]found, workers)
		before := make([]int, workers)
		v := w.visitor(j, all)
		t.between(j, &v, workers, func(n, _ int) { before[n] = len(all[n].hits) }, func(n, run int) {
			of[run].asked, of[run].to, of[run].references = t.added, &w.reaches[run], nil
			for _, h := range all[n].hits[before[n]:] {
				of[run].references = append(of[run].references, settledReference{h.from, h.slot, h.to, j.layout.klassKey(j.klasses[h.id].address)})
			}
		})
		if err := j.scan(ctx, runs, workers, v); err != nil {
			return err
		}
		t.ask(j, w.members.joined)
	}
	return nil
}

// recall returns the references that are known in what is still the same.
func (t *tenured) recall(j *jvm) *referrers {
	r := &referrers{}
	add := func(x settledReference) {
		if k := j.byKey[x.key]; k != nil {
			r.all = append(r.all, reference{x.from, x.slot, x.to, k.id})
		}
	}
	for i := range t.stretches {
		for _, x := range t.stretches[i].references {
			add(x)
		}
	}
	for _, x := range t.ways {
		i, ok := slices.BinarySearchFunc(t.stretches, x.from, func(s stretch, a uint64) int { return cmp.Compare(s.start, a) })
		if !ok {
			i--
		}
		if i >= 0 && x.from < t.stretches[i].end {
			add(x)
		}
	}
	slices.SortFunc(r.all, compareReferences)
	r.all = slices.Compact(r.all)
	return r
}
