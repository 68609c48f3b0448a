package capture_test

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestMovers captures a program whose connections, or tables of the application
// that only a look backward finds, hand buffers to each other
// while they are read, though nothing is allocated or collected. Which of them
// holds a buffer changes from moment to moment; that one does never.
func TestMovers(t *testing.T) {
	const connections, buffers = 40, 400
	jdk := scenario.Required(t)
	classes := t.TempDir()
	if out, err := exec.Command(filepath.Join(jdk.Home, "bin", "javac"), "-encoding", "UTF-8", "-d", classes, "testdata/Movers.java").CombinedOutput(); err != nil {
		t.Fatalf("javac: %v: %s", err, out)
	}
	for _, c := range []struct {
		holders snapshot.Fate
		rest    time.Duration
	}{
		{snapshot.FateConnection, time.Millisecond},
		{snapshot.FateConnection, 50 * time.Microsecond},
		{snapshot.FateConnection, 0},
		{snapshot.FateApplication, time.Millisecond},
		{snapshot.FateApplication, 50 * time.Microsecond},
		{snapshot.FateApplication, 0},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.holders, c.rest), func(t *testing.T) {
			cmd := exec.Command(filepath.Join(jdk.Home, "bin", "java"), "-Xmx128m", "-cp", classes, "Movers",
				fmt.Sprint(connections), fmt.Sprint(buffers), fmt.Sprint(c.rest.Nanoseconds()), fmt.Sprint(c.holders == snapshot.FateApplication))
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = stdin.Close()
				_ = cmd.Wait()
			})
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "READY\n" {
				t.Fatal(line, err)
			}
			for _, pause := range []time.Duration{0, time.Minute} {
				accepted := 0
				for i := range many(t, 5) {
					s := run(t, capture.Options{PID: cmd.Process.Pid, Budget: 2 * time.Second, MaxPause: pause})
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
