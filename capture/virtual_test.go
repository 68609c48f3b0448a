package capture_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestVirtual captures a program whose buffers are held by the frames of virtual
// threads alone: these lie in the heap while a thread waits, and on the stack of
// another one while it runs. Heap dumps of 21 lack them, and say nothing to be garbage.
func TestVirtual(t *testing.T) {
	const count = 100
	const dumped = 24
	classes := compiled(t, "testdata/Virtual.java", "8")
	found := false
	for _, jdk := range scenario.JDKs(t) {
		if jdk.Feature < 21 {
			continue
		}
		found = true
		for _, c := range []struct {
			flags []string
			pause int // milliseconds between two messages
		}{
			{[]string{"-XX:+UseSerialGC"}, 0},
			{[]string{"-XX:+UseG1GC"}, 0},
			{[]string{"-XX:+UseG1GC"}, 1},
			{[]string{"-XX:+UseParallelGC", "-XX:-UseCompressedOops"}, 0},
			{[]string{"-XX:+UseParallelGC", "-XX:-UseCompressedOops"}, 1},
		} {
			t.Run(fmt.Sprintf("%s%s/%d", jdk, strings.Join(c.flags, ""), c.pause), func(t *testing.T) {
				arguments := append([]string{"-Xmx128m"}, c.flags...)
				pid := launch(t, jdk, append(arguments, "-cp", classes, "Virtual", fmt.Sprint(count), fmt.Sprint(c.pause))...)
				want := []string(nil)
				fates := func(h *snapshot.Heap) map[snapshot.Fate]int {
					all := map[snapshot.Fate]int{}
					for _, a := range h.Allocations {
						if a.Bytes >= 1000 && a.Bytes < 1000+count {
							all[a.Fate]++
						}
					}
					return all
				}
				if c.pause == 0 {
					s := dump(t, pid)
					if jdk.Feature >= dumped {
						want = holdings(s.Heap)
					} else if fates := fates(s.Heap); fates[snapshot.FateUnattributed] != count || !slices.ContainsFunc(s.Heap.Warnings, func(w string) bool { return strings.Contains(w, "virtual threads") }) {
						t.Errorf("a dump without frames says %v, and %q", fates, s.Heap.Warnings)
					}
				}
				for i := range many(t, 5) {
					for _, pause := range []time.Duration{0, time.Minute} {
						s := run(t, capture.Options{PID: pid, MaxPause: pause})
						if s.Heap == nil {
							t.Fatal("nothing read: ", sourceOf(t, s, snapshot.SourceVMStructs))
						}
						if d := differences(want, holdings(s.Heap)); want != nil && len(d) > 0 {
							t.Errorf("capture %d (a stop of at most %s), against the dump:\n%s", i, pause, strings.Join(d, "\n"))
						}
						fates := fates(s.Heap)
						if open := fates[snapshot.FateUnattributed]; fates[snapshot.FateApplication]+open != count || open > 0 && c.pause == 0 {
							t.Errorf("capture %d (a stop of at most %s): %v", i, pause, fates)
						}
					}
				}
			})
		}
	}
	if !found {
		t.Log("no JDK at hand has virtual threads: see scripts/jdks.sh")
	}
}
