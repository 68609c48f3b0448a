package capture_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestUnloaded captures a program with dead objects of unloaded classes among its
// old ones, as G1 leaves them: up to 20 until their region is emptied. A scan can't
// tell how long they are, and some seem to be of classes that are not theirs.
func TestUnloaded(t *testing.T) {
	classes := compiled(t, "testdata/Unloaded.java", "8")
	for _, jdk := range scenario.JDKs(t) {
		if jdk.Feature < 11 {
			continue // regions do not tell there what they are for
		}
		t.Run(jdk.String(), func(t *testing.T) {
			pid := launch(t, jdk, "-Xmx128m", "-Xms128m", "-XX:+UseG1GC", "-XX:G1HeapRegionSize=1m", "-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxTenuringThreshold=1", "-XX:MaxMetaspaceSize=64m", "-cp", classes, "Unloaded", "200")
			dumped := dump(t, pid)
			for _, pause := range []time.Duration{0, time.Minute} {
				s := run(t, capture.Options{PID: pid, MaxPause: pause})
				source := sourceOf(t, s, snapshot.SourceVMStructs)
				if s.Heap == nil {
					t.Fatalf("a stop of at most %s: nothing read: %s", pause, source.Reason)
				}
				if d := differences(holdings(dumped.Heap), holdings(s.Heap)); len(d) > 0 {
					t.Errorf("a stop of at most %s, against the dump:\n%s", pause, strings.Join(d, "\n"))
				}
				dead := source.Detail["dead, of unloaded classes"]
				t.Logf("a stop of at most %s: passed over %q", pause, dead)
				if dead == "" && jdk.Feature <= 20 {
					t.Error("there were no dead objects of unloaded classes")
				}
			}
		})
	}
}
