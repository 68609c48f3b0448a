package heap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reach returns what is reachable from the roots of a model's graph when one
// object is gone. It is the plain meaning of retained: what is not in it then.
func reach(g *modelGraph, gone Node) map[Node]bool {
	seen := map[Node]bool{}
	var work []Node
	g.Roots(func(n Node, _ RootKind) {
		if n != gone && !seen[n] {
			seen[n] = true
			work = append(work, n)
		}
	})
	for len(work) > 0 {
		n := work[len(work)-1]
		work = work[:len(work)-1]
		_ = g.References([]Node{n}, func(_ Node, _ int32, to Node) {
			if to != gone && !seen[to] {
				seen[to] = true
				work = append(work, to)
			}
		})
	}
	return seen
}

// TestDominatorsAgainstRemoval takes each object of random heaps away and looks
// what is no longer reachable: exactly what it dominates.
func TestDominatorsAgainstRemoval(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 5))
		g := newModelGraph(randomModel(r, 10+r.IntN(80)))
		w := &walk{g: g, classes: g.Classes()}
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
		e, err := w.edges()
		if err != nil {
			t.Fatal(err)
		}
		var roots []Node
		g.Roots(func(n Node, _ RootKind) { roots = append(roots, n) })
		d := dominate(e, roots)
		all := reach(g, None)
		for n := range Node(g.Len()) {
			if all[n] != (d.number[n] != 0) {
				t.Fatalf("seed %d: object %d: reachable %v, number %d", seed, n, all[n], d.number[n])
			}
			if !all[n] {
				continue
			}
			left := reach(g, n)
			for m := range all {
				up := d.number[m]
				for up != 0 && up != d.number[n] {
					up = d.idom[up]
				}
				if dominated := up != 0; dominated == left[m] {
					t.Fatalf("seed %d: without %d, %d is reachable: %v; dominated: %v", seed, n, m, left[m], dominated)
				}
			}
		}
	}
}

// flatRetainers lists the steps of a tree in its order.
func flatRetainers(r *Retainer) []string {
	var out []string
	type level struct {
		r     *Retainer
		depth int
	}
	stack := []level{{r, 0}}
	for len(stack) > 0 {
		l := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s%s %d objects %d/%d %s", strings.Repeat("  ", l.depth), l.r.Step, l.r.Objects, l.r.Allocations, l.r.Bytes, l.r.Root)))
		for _, c := range slices.Backward(l.r.Children) {
			stack = append(stack, level{c, l.depth + 1})
		}
	}
	return out
}

// checkRetainers holds the arithmetic of a tree: a step retains what its
// children do and what stands at it, and the top retains all that is neither
// garbage nor the runtime's own.
func checkRetainers(t *testing.T, r *Result) {
	t.Helper()
	var want retained
	for _, a := range r.Allocations {
		if a.Fate != FateUnreachable && a.Fate != FateRuntime {
			want.add(retained{1, a.Bytes})
		}
	}
	if got := (retained{r.Retainers.Allocations, r.Retainers.Bytes}); got != want {
		t.Errorf("the tree retains %+v, the allocations are %+v", got, want)
	}
	work := []*Retainer{r.Retainers}
	for len(work) > 0 {
		n := work[len(work)-1]
		work = work[:len(work)-1]
		var sum retained
		for i, c := range n.Children {
			sum.add(retained{c.Allocations, c.Bytes})
			if c.Step == "" || (c.Root != "") != (n == r.Retainers && c.Step != OtherRetainers) {
				t.Errorf("step %q, root %q below %q", c.Step, c.Root, n.Step)
			}
			if i > 0 && c.Step != OtherRetainers && c.Bytes > n.Children[i-1].Bytes {
				t.Errorf("children of %q are not sorted", n.Step)
			}
		}
		if sum.bytes > n.Bytes || sum.allocations > n.Allocations || n == r.Retainers && sum.bytes != n.Bytes {
			t.Errorf("%q retains %d bytes, its children %d", n.Step, n.Bytes, sum.bytes)
		}
		work = append(work, n.Children...)
	}
}

// plainRetainers makes the tree of retained sizes the slow way: who dominates
// whom is found by taking each object away, sizes by asking each allocation
// for all that dominates it.
func plainRetainers(w *walk, g *modelGraph) *Retainer {
	all := reach(g, None)
	above := map[Node][]Node{} // by node: all that dominate it, itself too
	for n := range Node(g.Len()) {
		if !all[n] {
			continue
		}
		left := reach(g, n)
		for m := range all {
			if !left[m] {
				above[m] = append(above[m], n)
			}
		}
	}
	kinds := map[Node]RootKind{}
	g.Roots(func(n Node, kind RootKind) {
		if before, ok := kinds[n]; !ok || kind < before {
			kinds[n] = kind
		}
	})
	top := &Retainer{}
	for _, a := range w.allocations {
		if a.node == None || !all[a.node] {
			continue
		}
		// From the root down: the more dominate an object, the deeper it is.
		way := slices.Clone(above[a.node])
		slices.SortFunc(way, func(x, y Node) int { return len(above[x]) - len(above[y]) })
		at := top
		at.Bytes += a.Bytes
		at.Allocations++
		for i, n := range way {
			root, text := "", ""
			direct := false
			if i > 0 {
				_ = g.References(way[i-1:i], func(from Node, field int32, to Node) {
					if to == n && !direct {
						direct = true
						text = w.paths.texts[w.paths.step(w, from, to, uint16(field))]
					}
				})
			} else if kind, isRoot := kinds[n]; isRoot {
				root, text = rootWords[kind], w.paths.texts[(&retainerTree{w: w}).className(n)]
			} else {
				root = SeveralRoots
			}
			if text == "" && !direct && root == "" || root == SeveralRoots {
				text = anyStep(w, g, all, n)
			}
			if text == "" && i == 0 {
				text = w.paths.texts[(&retainerTree{w: w}).className(n)]
			}
			switch bare := strings.TrimSuffix(text, "…"); {
			case text == "":
				continue
			case strings.TrimSuffix(at.Step, "…") == bare && at != top:
				at.Step = bare + "…"
				continue
			}
			k := slices.IndexFunc(at.Children, func(r *Retainer) bool {
				return strings.TrimSuffix(r.Step, "…") == strings.TrimSuffix(text, "…") && r.Root == root
			})
			if k < 0 {
				k = len(at.Children)
				at.Children = append(at.Children, &Retainer{Step: text, Root: root})
			}
			at = at.Children[k]
			at.Bytes += a.Bytes
			at.Allocations++
		}
	}
	return top
}

// anyStep is the first step, by the addresses of those that refer there, that
// leads to an object.
func anyStep(w *walk, g *modelGraph, reachable map[Node]bool, n Node) (text string) {
	for from := range Node(g.Len()) {
		if !reachable[from] || from == n {
			continue
		}
		_ = g.References([]Node{from}, func(from Node, field int32, to Node) {
			if to == n && text == "" {
				text = w.paths.texts[w.paths.step(w, from, to, uint16(field))]
			}
		})
	}
	return text
}

// TestRetainersAgainstRemoval holds the tree of retained sizes of random heaps,
// from the plain graph and from dumps, against the one made by taking objects
// away.
func TestRetainersAgainstRemoval(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 6))
		m := randomModel(r, 10+r.IntN(60))
		g := newModelGraph(m)
		w := &walk{g: g, classes: g.Classes()}
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
		checkRetainers(t, w.result())
		want := plainRetainers(w, g)
		mergeOnlyFields(want)
		if diff := cmp.Diff(amountsOf(want), amountsOf(w.retainers)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		dump, _ := m.encode(shape{idSize: 8, segment: 300})
		engine, err := ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(flatRetainers(w.retainers), flatRetainers(engine.Retainers)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// mergeOnlyFields replaces a class by its one static field that retains all.
func mergeOnlyFields(top *Retainer) {
	for i, r := range top.Children {
		if len(r.Children) == 1 && r.Children[0].Bytes == r.Bytes && strings.HasPrefix(r.Step, "class ") {
			top.Children[i] = r.Children[0]
			top.Children[i].Root = r.Root
		}
	}
}

// amountsOf lists each step of a tree with all above it and what it retains,
// sorted.
func amountsOf(r *Retainer) []string {
	var out []string
	var list func(r *Retainer, path string)
	list = func(r *Retainer, path string) {
		path += " > " + r.Step
		out = append(out, fmt.Sprintf("%s %s %d/%d", path, r.Root, r.Allocations, r.Bytes))
		for _, c := range r.Children {
			list(c, path)
		}
	}
	list(r, "")
	slices.Sort(out)
	return out
}

// TestRetainerTree reads one heap whose tree is plain.
func TestRetainerTree(t *testing.T) {
	b := newBuilder()
	b.class("app.Link", "java.lang.Object", "next", "buffer")
	entry := func(value uint64) uint64 {
		return b.object("java.util.HashMap$Node", map[string]uint64{"value": value})
	}
	shared := b.buffer(0x5000000, 500)
	b.static("app.Registry", "byName", b.object("java.util.HashMap", map[string]uint64{"table": b.array(
		entry(b.buffer(0x1000000, 100)), entry(b.buffer(0x2000000, 200)), entry(shared),
	)}))
	chain := uint64(0)
	for i := range 50 {
		chain = b.object("app.Link", map[string]uint64{"next": chain, "buffer": b.buffer(0x3000000+uint64(i)<<8, 10)})
	}
	b.root(b.object("java.lang.Thread", map[string]uint64{"threadLocals": chain}), 0x08)
	node := b.object("app.Node", map[string]uint64{"a": shared})
	b.root(node, 0x01)
	b.buffer(0x4000000, 4000) // garbage
	r := b.read(t)
	checkRetainers(t, r)
	if diff := cmp.Diff([]string{
		"0 objects 53/1300",
		"instance of java.lang.Thread 1 objects 50/500 thread",
		"java.lang.Thread.threadLocals 1 objects 50/500",
		"app.Link.next… 49 objects 49/490",
		"app.Link.buffer 49 objects 49/490",
		"app.Link.buffer 1 objects 1/10",
		"java.util.HashMap$Node.value 1 objects 1/500 several roots",
		"app.Registry.byName 1 objects 2/300 static",
		"java.util.HashMap$Node.value 2 objects 2/300",
	}, flatRetainers(r.Retainers)); diff != "" {
		t.Error(diff)
	}
}

// TestManyRetainers has more steps at a level than are told apart: the rest is
// summed, and the totals still agree.
func TestManyRetainers(t *testing.T) {
	b := newBuilder()
	for i := range 3 * maxLevel {
		b.static("app.Registry", fmt.Sprintf("field%d", i), b.buffer(0x1000000+uint64(i)<<16, 1000+i))
	}
	r := b.read(t)
	checkRetainers(t, r)
	class := r.Retainers.Children[0]
	if class.Step != "class app.Registry" || len(class.Children) != maxLevel+1 {
		t.Fatalf("%q has %d children", class.Step, len(class.Children))
	}
	others := class.Children[maxLevel]
	if first := class.Children[0]; first.Bytes != 1000+3*maxLevel-1 || others.Step != OtherRetainers || others.Objects != 2*maxLevel || others.Allocations != 2*maxLevel {
		t.Errorf("first %+v, others %+v", first, others)
	}
}
