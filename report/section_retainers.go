package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// eachRetainer visits the steps of a tree of retained sizes, but for its top.
func eachRetainer(top *snapshot.Retainer, visit func(*snapshot.Retainer)) {
	if top == nil {
		return
	}
	for work := slices.Clone(top.Children); len(work) > 0; {
		r := work[len(work)-1]
		visit(r)
		work = append(work[:len(work)-1], r.Children...)
	}
}

// retainedBranch is a step of the tree of retained sizes as it is shown,
// together with the steps below it as long as each is the only one and retains
// the same.
type retainedBranch struct {
	steps []string
	root  string
	last  *snapshot.Retainer
	depth int
	below []*retainedBranch
}

func branchOf(r *snapshot.Retainer, depth int) *retainedBranch {
	b := &retainedBranch{root: r.Root, depth: depth}
	for {
		b.steps = append(b.steps, r.Step)
		b.last = r
		if len(r.Children) != 1 || r.Children[0].Bytes != r.Bytes || r.Children[0].Allocations != r.Allocations {
			return b
		}
		r = r.Children[0]
	}
}

// retainers shows the steps that retain most, as a tree: what would be freed if
// they were gone.
func (v *view) retainers() {
	if v.o.Retainers == 0 {
		return
	}
	top := v.r.Retainers
	if top == nil {
		v.heading("Top retainers", "")
		why := v.whyNoHeap()
		if len(why) == 0 {
			why = []string{"only a heap dump tells all roots of a heap: leakscope capture --heap, or --heap-dump FILE"}
		}
		v.isUnknown("retained sizes are not known", why)
		return
	}
	// Those that retain most are shown: of equals what is above the other, so
	// they are whole branches.
	stem := &retainedBranch{last: top, depth: -1}
	all := []*retainedBranch{stem}
	for i := 0; i < len(all); i++ {
		for _, child := range all[i].last.Children {
			all[i].below = append(all[i].below, branchOf(child, all[i].depth+1))
		}
		all = append(all, all[i].below...)
	}
	all = all[1:]
	slices.SortStableFunc(all, func(a, b *retainedBranch) int { return cmp.Compare(b.last.Bytes, a.last.Bytes) })
	shown := map[*retainedBranch]bool{}
	for _, b := range all {
		if v.o.Retainers > 0 && len(shown) == v.o.Retainers {
			break
		}
		shown[b] = true
	}
	v.heading("Top retainers", ": what would be freed if they were gone")
	if len(top.Children) == 0 {
		v.para("", "nothing that is reachable retains off-heap memory", plain)
	}
	width := 0
	eachRetainer(top, func(r *snapshot.Retainer) { width = max(width, columns(bytesOf(snapshot.Known(r.Bytes)))) })
	v.retained(stem.below, shown, width)
	if hidden := len(all) - len(shown); hidden > 0 {
		v.para("", fmt.Sprintf("%s more %s: --top-retainers=%d shows them all", count(int64(hidden)), plural(int64(hidden), "step"), len(all)), v.p.faint)
	}
}

func (v *view) retained(branches []*retainedBranch, shown map[*retainedBranch]bool, width int) {
	for _, b := range branches {
		if !shown[b] {
			continue
		}
		amount := bytesOf(snapshot.Known(b.last.Bytes))
		indent := strings.Repeat("  ", min(b.depth, 12))
		mark := strings.Repeat(" ", width-columns(amount)) + amount + "  " + indent
		words := v.names.path(b.steps)
		about := fmt.Sprintf("%s %s", count(b.last.Allocations), plural(b.last.Allocations, "allocation"))
		if b.last.Objects > 1 {
			about = fmt.Sprintf("%s objects, %s", count(b.last.Objects), about)
		}
		if b.root != "" {
			about += ", " + cmp.Or(map[string]string{"several roots": "reached from several roots"}[b.root], "root "+b.root)
		}
		writeWrapped(&v.b, mark, strings.Repeat(" ", columns(mark)), strings.Join(words, " ")+" ("+about+")", v.width)
		v.retained(b.below, shown, width)
	}
}
