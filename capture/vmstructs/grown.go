package vmstructs

import (
	"cmp"
	"slices"

	"github.com/leakscope/leakscope/heap"
)

// grown is what the program has allocated since a walk began. Without a collection
// objects keep their places, so it lies beside what the walk looked at. Another walk
// needs it: a connection that was opened since may be in the place of one that was
// closed, and what holds a buffer now may be an object that was not there.
type grown struct {
	view
	fresh   []extent // runs of objects that are new
	objects int64    // in these
	found   []hit    // connections and virtual threads
}

// grownSince finds what was allocated since a graph was made.
func (j *jvm) grownSince(g *graph) (*grown, error) {
	now, err := j.extents()
	if err != nil {
		return nil, err
	}
	out := &grown{fresh: without(now, g.runs)}
	if out.view, err = j.viewOf(byStart(g.runs, out.fresh)); err != nil {
		return nil, err
	}
	wanted := make([]bool, len(j.classes))
	for c := range j.classes {
		wanted[c] = heap.StandsForConnection(j.classes, heap.ClassID(c)) || j.klasses[c] == j.virtual.thread
	}
	found, err := j.newSweep(wanted).run(g.ctx, j, out.fresh, g.workers)
	for _, f := range found {
		out.objects += f.objects
		out.found = append(out.found, f.hits...)
	}
	return out, err
}

// continues has a graph look at what another one has found before, and at what is
// new since.
func (g *graph) continues(before *graph, since *grown) {
	g.again, g.rescan, g.searched = true, before.rescan, before.searched
	g.sought, g.settled, g.objects = before.sought, before.settled, before.objects+since.objects
	g.found = slices.Concat(before.found, since.found)
	slices.SortFunc(g.found, func(a, b hit) int { return cmp.Compare(a.from, b.from) })
	g.pieces, g.rest = byStart(before.pieces, since.fresh), byStart(before.rest, since.fresh)
	g.recalled = before.memory()
}

func byStart(a, b []extent) []extent {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y extent) int { return cmp.Compare(x.start, y.start) })
	return all
}

// without returns what of some runs lies in none of others; both are by address.
func without(runs, others []extent) (rest []extent) {
	for _, run := range runs {
		for len(others) > 0 && others[0].end <= run.start {
			others = others[1:]
		}
		for _, o := range others {
			if o.start >= run.end {
				break
			}
			if run.start < o.start {
				rest = append(rest, extent{run.start, o.start})
			}
			run.start = max(run.start, min(o.end, run.end))
		}
		if run.start < run.end {
			rest = append(rest, run)
		}
	}
	return rest
}
