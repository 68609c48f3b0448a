package heap

import (
	"strings"
	"testing"

	"github.com/leakscope/leakscope/heap/hprof"
)

// TestVirtualThreads reads dumps with a buffer that nothing in them refers to:
// where they lack the frames of virtual threads, these may.
func TestVirtualThreads(t *testing.T) {
	const parked, suspended = 4, 1 << 8
	for _, test := range []struct {
		name  string
		state uint64
		root  bool // as in dumps that have its frames
		want  Fate
	}{
		{"waits", parked, false, FateUnattributed},
		{"suspended", parked | suspended, false, FateUnattributed},
		{"with its frames", parked, true, FateUnreachable},
		{"not started", 0, false, FateUnreachable},
		{"ended", 99, false, FateUnreachable},
		{"ended, suspended", 99 | suspended, false, FateUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilder()
			b.class("java.lang.VirtualThread", "java.lang.Thread", "state:10")
			thread := b.object("java.lang.VirtualThread", map[string]uint64{"state": test.state})
			if test.root {
				b.root(thread, hprof.RootThreadObject)
			}
			b.buffer(0x7000_0000, 4096)
			r := b.read(t)
			if len(r.Allocations) != 1 || r.Allocations[0].Fate != test.want {
				t.Errorf("%+v, want one that is %s", r.Allocations, test.want)
			}
			if short := strings.Contains(strings.Join(r.Warnings, "\n"), "1 virtual threads"); short != (test.want == FateUnattributed) {
				t.Errorf("%q", r.Warnings)
			}
		})
	}
}
