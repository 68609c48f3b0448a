package capture_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestMovers captures a program whose connections, or sessions beside these, or
// tables of the application that only a look backward finds, hand buffers to each
// other while they are read, though nothing is allocated or collected. Which of them
// holds a buffer changes from moment to moment; that one does never.
func TestMovers(t *testing.T) {
	const connections, buffers = 40, 400
	jdk := scenario.Required(t)
	classes := compiled(t, "testdata/Movers.java", "8")
	for _, c := range []struct {
		name    string
		holders snapshot.Fate
		rest    time.Duration
	}{
		{"connection", snapshot.FateConnection, time.Millisecond},
		{"connection", snapshot.FateConnection, 50 * time.Microsecond},
		{"connection", snapshot.FateConnection, 0},
		{"beside", snapshot.FateConnection, time.Millisecond},
		{"beside", snapshot.FateConnection, 50 * time.Microsecond},
		{"beside", snapshot.FateConnection, 0},
		{"application", snapshot.FateApplication, time.Millisecond},
		{"application", snapshot.FateApplication, 50 * time.Microsecond},
		{"application", snapshot.FateApplication, 0},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.name, c.rest), func(t *testing.T) {
			pid := launch(t, jdk, "-Xmx128m", "-cp", classes, "Movers",
				fmt.Sprint(connections), fmt.Sprint(buffers), fmt.Sprint(c.rest.Nanoseconds()), c.name)
			for _, pause := range []time.Duration{0, time.Minute} {
				accepted := 0
				for i := range many(t, 2) {
					s := run(t, capture.Options{PID: pid, Budget: 2 * time.Second, MaxPause: pause})
					if s.Heap == nil {
						continue
					}
					accepted++
					seen := map[snapshot.Address]bool{}
					fates := map[snapshot.Fate]int{}
					for _, a := range s.Heap.Allocations {
						if a.Bytes != 4096 {
							continue // the library's own
						}
						if seen[a.Address] {
							t.Errorf("capture %d: %#x is there twice", i, uint64(a.Address))
						}
						seen[a.Address] = true
						fates[a.Fate]++
					}
					// A walk and a second one may not agree on a few; then they say so.
					if sum := fates[c.holders] + fates[snapshot.FateUnattributed]; sum != buffers || len(seen) != buffers {
						t.Errorf("capture %d (a stop of at most %s): %v, want %d held by a %s", i, pause, fates, buffers, c.holders)
					}
					if moved := fates[snapshot.FateUnattributed]; pause > 0 && moved > 0 || moved > buffers/20 {
						t.Errorf("capture %d (a stop of at most %s): %d unattributed", i, pause, moved)
					}
				}
				t.Logf("stop of at most %s: %d accepted", pause, accepted)
				if pause > 0 && accepted == 0 {
					t.Error("nothing was read of a target that stood still")
				}
			}
		})
	}
}
