package vmstructs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	small           bool               // a scan takes no time to speak of
	partial         bool               // tries go by hints now
	ways            []settledReference // how walks met what they held
	wantedReferrers addressIndex       // old objects, whose referrers are of use
	added           int                // how often some were added to them
	places          []reach            // where those are that were added
	met             addressIndex       // objects that a walk has met: what refers to these is of no use
	connections     map[uint64]bool    // keys of the classes of what stands for connections
	askedFor        addressIndex       // where there was such when the old objects were searched
	known           known              // where was asked for all of it
	took            time.Duration      // to search all old objects for what refers to connections
}

// maxElsewhere bounds the references that are known by their place.
const maxElsewhere = 1 << 17

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
		t.ways = append(t.ways, settledReference{r.from, r.slot, r.to, g.j.keyOf(r.class)})
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
		t.forward = min(max(4*t.forward, partialForward), maxNodes)
	}
	t.scanned, t.reload = false, errors.Is(err, errUnknown)
	t.partial = t.scans >= maxScans && !t.small
}

// errOpen says that hints told too little of what holds objects, errBeside of what
// refers to connections.
var (
	errOpen   = errors.New("too much is left open")
	errBeside = errors.New("too much may be held beside connections")
)

// maxOpen is the share of all bytes that may be left open where there is no time
// to do better: garbage, for the most part.
const maxOpen = 0.2

// tooOpen rejects a result that leaves more than a share of the bytes open. late
// tells that there is no time to do better: what is known to be held is not counted
// then, even where a connection may be beside its holder.
func tooOpen(r *heap.Result, late bool) error {
	var open, held, all int64
	for _, a := range r.Allocations {
		switch {
		case a.Fate == heap.FateRuntime:
			continue
		case a.Fate == heap.FateUnattributed && a.Holder < 0:
			open += a.Bytes
		case a.Fate == heap.FateUnattributed:
			held += a.Bytes
		}
		all += a.Bytes
	}
	most := maxMoved
	if late {
		most = maxOpen
	}
	switch {
	case float64(open) > most*float64(all):
		return fmt.Errorf("%w: what holds %d bytes of %d", errOpen, open, all)
	case !late && float64(open+held) > most*float64(all):
		return fmt.Errorf("%w: %d bytes of %d", errBeside, held, all)
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

// askConnections adds the old ones of what stands for connections. With anew all old
// objects are to be scanned for what refers to these, or to where there may be others;
// else those alone that have not been.
func (t *tenured) askConnections(j *jvm, anew bool) {
	if anew {
		t.askedFor, t.known = addressIndex{}, t.knownNow(j)
	}
	var addresses []uint64
	for i := range t.stretches {
		s := &t.stretches[i]
		s.fresh = s.fresh && !anew
		for _, h := range s.hits {
			if t.connections[h.key] {
				addresses = append(addresses, h.address)
				t.askedFor.put(h.address, 0)
			}
		}
	}
	t.ask(j, addresses)
}

// searched tells whether all that is known of old objects is known of what refers to
// connections too.
func (t *tenured) searched() bool {
	return !slices.ContainsFunc(t.stretches, func(s stretch) bool { return !s.fresh })
}

// concerns tells whether a stretch is to be scanned for references: it has not
// been, or it referred to where some of the objects are that were added since.
func (t *tenured) concerns(s *stretch) bool {
	if s.to == nil || !s.fresh && len(t.connections) > 0 {
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
			case s.to != nil && s.asked == t.added && (s.fresh || len(t.connections) == 0):
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
		if len(t.connections) > 0 {
			w.known = &t.known
		}
		all := make([]found, workers)
		v := w.visitor(j, all)
		t.between(j, &v, workers, func(n, _ int) {
			all[n].hits, all[n].missed = all[n].hits[:0], all[n].missed[:0]
		}, func(n, run int) {
			s := of[run]
			s.asked, s.to, s.references, s.elsewhere = t.added, &w.reaches[run], t.settle(j, all[n].hits), t.settle(j, all[n].missed)
			s.fresh = w.known != nil
		})
		if err := j.scan(ctx, runs, workers, v); err != nil {
			return err
		}
		t.ask(j, w.members.joined)
	}
	return nil
}

// settle returns references as they are kept from one try to the next.
func (t *tenured) settle(j *jvm, hits []hit) (out []settledReference) {
	for _, h := range hits {
		out = append(out, settledReference{h.from, h.slot, h.to, j.keyOf(h.id)})
	}
	return out
}

// mayMove returns the references that led from old objects to connections before
// the try, or to elsewhere than what is known: a collection may have put another
// address there. ok is false where these are too many.
func (t *tenured) mayMove() (all []settledReference, ok bool) {
	for i := range t.stretches {
		s := &t.stretches[i]
		for _, r := range s.references {
			if t.askedFor.get(r.to) != heap.None {
				all = append(all, r)
			}
		}
		if all = append(all, s.elsewhere...); len(all) > maxElsewhere {
			return nil, false
		}
	}
	return all, true
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
		add(x)
	}
	slices.SortFunc(r.all, compareReferences)
	r.all = slices.Compact(r.all)
	return r
}
