package heap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rootless is a model that knows its roots but can't say that they are all.
type rootless struct{ *modelGraph }

func (g rootless) Roots(yield func(Node, RootKind)) bool {
	g.modelGraph.Roots(yield)
	return false
}

// TestBackwardSearchAgainstRoots holds what is judged from referrers against
// what is judged from the roots: the same fates, connections and bytes.
func TestBackwardSearchAgainstRoots(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		m := randomModel(r, 20+r.IntN(150))
		want, err := Attribute(newModelGraph(m))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Attribute(rootless{newModelGraph(m)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(withoutPaths(want), withoutPaths(got)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		for _, a := range got.Allocations {
			if held := a.Fate == FateApplication || a.Fate == FateConnection; held && (a.Holder < 0 || got.Holders[a.Holder].Root == "") {
				t.Errorf("seed %d: no path to %+v", seed, a)
			}
		}
	}
}

func withoutPaths(r *Result) []string {
	var out []string
	for _, a := range r.Allocations {
		line := fmt.Sprintf("%x %d %s %s %d", a.Address, a.Bytes, a.Kind, a.Fate, a.Sharers)
		if a.Connection >= 0 {
			line += fmt.Sprintf(" %x", r.Connections[a.Connection].Object)
		}
		out = append(out, line)
	}
	for _, c := range r.Connections {
		line := fmt.Sprintf("connection %x", c.Object)
		if c.Reachable != nil {
			line += fmt.Sprintf(" reachable=%v", *c.Reachable)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// TestFarGarbage has garbage behind more references than the search follows:
// then nothing is said of it, and the connection that is near is still judged.
func TestFarGarbage(t *testing.T) {
	b := newBuilder()
	last := b.object("app.Node", map[string]uint64{"a": b.buffer(0x1000000, 100)})
	for range maxBackward + 5 {
		last = b.object("app.Node", map[string]uint64{"a": last})
	}
	b.static("app.Registry", "near", b.buffer(0x2000000, 200))
	b.buffer(0x3000000, 300)
	r, err := Attribute(rootless{newModelGraph(b.build())})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range r.Allocations {
		got = append(got, fmt.Sprintf("%d %s", a.Bytes, a.Fate))
	}
	if want := "100 unattributed, 200 application, 300 unreachable"; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
}
