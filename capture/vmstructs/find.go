package vmstructs

import (
	"cmp"
	"slices"

	"github.com/leakscope/leakscope/heap"
)

// Objects implements heap.Graph: a scan of the whole heap.
func (g *graph) Objects(classes []heap.ClassID) ([]heap.Node, error) {
	wanted := make([]bool, len(g.j.classes))
	for _, c := range classes {
		wanted[c] = true
	}
	if !slices.Equal(g.sought, classes) {
		if err := g.scanObjects(wanted); err != nil {
			return nil, err
		}
		g.sought = slices.Clone(classes)
	}
	var ks []*klass
	nodes := make([]heap.Node, 0, len(g.found))
	for _, h := range g.found {
		n := g.index.get(h.from)
		if n == heap.None {
			n = g.add(h.from, h.id)
		}
		if k := g.j.klasses[h.id]; !k.loaded {
			ks = append(ks, k)
		}
		nodes = append(nodes, n)
	}
	return nodes, g.j.loadFields(ks)
}

// scanObjects finds the objects of wanted classes. What is known of old ones from
// earlier tries is not scanned again.
func (g *graph) scanObjects(wanted []bool) error {
	w := g.j.newSweep(wanted)
	runs := g.runs
	var starts []uint64
	g.found, g.objects, g.settled = nil, 0, 0
	if t := g.j.tenured; t != nil && g.j.since != nil {
		var classes []uint64
		for _, k := range g.j.klasses {
			if wanted[k.id] {
				classes = append(classes, k.address)
			}
		}
		t.lookFor(classes)
		if err := t.still(g); err != nil {
			return err
		}
		for i := range t.stretches {
			s := &t.stretches[i]
			g.objects += s.objects
			g.settled += int64(s.end - s.start)
			starts = append(starts, s.start)
			for _, h := range s.hits {
				g.found = append(g.found, hit{from: h.address, id: g.j.byKey[h.key].id})
			}
		}
		w.keep, g.searched = t, t.searched()
		runs, w.old = t.rest(g.j, g.runs)
		g.rest = runs
		g.recalled = t.recall(g.j)
	}
	found, err := w.run(g.ctx, g.j, runs, g.workers)
	if err != nil {
		return err
	}
	for _, f := range found {
		g.objects += f.objects
		g.found = append(g.found, f.hits...)
		starts = append(starts, f.starts...)
	}
	g.pieces = splitAt(g.runs, starts)
	slices.SortFunc(g.found, func(a, b hit) int { return cmp.Compare(a.from, b.from) })
	return nil
}

// splitAt splits runs of objects at where objects start, for several goroutines
// to scan a long one.
func splitAt(runs []extent, starts []uint64) []extent {
	slices.Sort(starts)
	out := make([]extent, 0, len(runs)+len(starts))
	for _, run := range runs {
		i, _ := slices.BinarySearch(starts, run.start+1)
		for ; i < len(starts) && starts[i] < run.end; i++ {
			if starts[i] > run.start {
				out = append(out, extent{run.start, starts[i]})
				run.start = starts[i]
			}
		}
		out = append(out, run)
	}
	return out
}
