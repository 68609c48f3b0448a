package report

import (
	"strings"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

// retainedTree is what a server with two leaks and many small maps retains.
func retainedTree() *snapshot.Retainer {
	node := func(step, root string, objects, allocations, bytes int64, children ...*snapshot.Retainer) *snapshot.Retainer {
		return &snapshot.Retainer{Step: step, Root: root, Objects: objects, Allocations: allocations, Bytes: bytes, Children: children}
	}
	return node("", "", 0, 5000, 100<<20,
		node("instance of java.lang.Thread", "thread", 8, 3000, 60<<20,
			node("java.lang.Thread.target", "", 8, 3000, 60<<20,
				node("com.example.Loop.sessions", "", 1, 2000, 40<<20,
					node("com.example.Session.buffers", "", 2000, 2000, 40<<20)),
				node("com.example.Loop.cache", "", 1, 1000, 15<<20))),
		node("com.example.Registry.byChannel", "static", 1, 1500, 30<<20),
		node("java.util.concurrent.ConcurrentHashMap$Node.val", "several roots", 12, 400, 9<<20),
		node("(others)", "", 90, 100, 1<<20),
	)
}

func TestRetainersGolden(t *testing.T) {
	r := single()
	r.Retainers = retainedTree()
	for _, width := range []int{80, 120} {
		o := Options{Width: width, Retainers: -1}
		out := table(t, r, nil, o)
		checkLines(t, out, width)
		at, end := strings.Index(out, "Top retainers"), strings.Index(out, "Top connections")
		if at < 0 || end < at {
			t.Fatalf("no section of retainers in\n%s", out)
		}
		golden(t, map[int]string{80: "retainers.table-80.txt", 120: "retainers.table-120.txt"}[width], []byte(out[at:end]))
	}
}

func TestRetainersShown(t *testing.T) {
	r := single()
	r.Retainers = retainedTree()
	if out := table(t, r, nil, Options{}); strings.Contains(out, "Top retainers") {
		t.Error("the tree is shown unasked")
	}
	out := table(t, r, nil, Options{Retainers: 2})
	if !strings.Contains(out, "Loop.sessions") || strings.Contains(out, "byChannel") || !strings.Contains(out, "4 more steps: --top-retainers=6") {
		t.Errorf("two steps are\n%s", out)
	}
	r.Retainers = nil
	if out := table(t, r, nil, Options{Retainers: 2}); !strings.Contains(out, "retained sizes are not known: only a heap dump") {
		t.Errorf("no reason for a tree that is missing in\n%s", out)
	}
}
