package capture_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestNative captures a program whose off-heap memory native code alone holds, by
// JNI global references: it is not garbage, and what was let go again is. The
// references take more than one block of the JVM's.
func TestNative(t *testing.T) {
	const count = 100
	home := scenario.Required(t).Home
	classes := compiled(t, "testdata/Native.java", "8")
	gcc := exec.Command("gcc", "-shared", "-fPIC", "-o", filepath.Join(classes, "libnative.so"), "testdata/native.c",
		"-I"+home+"/include", "-I"+home+"/include/linux")
	if out, err := gcc.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s: run scripts/test-prereqs.sh", err, out)
	}
	for _, jdk := range scenario.JDKs(t) {
		for _, collector := range []string{"Serial", "G1"} {
			t.Run(fmt.Sprintf("%s/%s", jdk, collector), func(t *testing.T) {
				pid := launch(t, jdk, "-Xmx128m", "-XX:+Use"+collector+"GC", "-cp", classes, "Native", fmt.Sprint(count))
				dumped := dump(t, pid)
				for _, pause := range []time.Duration{0, time.Minute} {
					s := run(t, capture.Options{PID: pid, MaxPause: pause})
					if s.Heap == nil {
						t.Fatal("nothing read: ", sourceOf(t, s, snapshot.SourceVMStructs).Reason)
					}
					if d := differences(holdings(dumped.Heap), holdings(s.Heap)); len(d) > 0 {
						t.Errorf("a stop of at most %s, against the dump:\n%s", pause, strings.Join(d, "\n"))
					}
					held := map[snapshot.Fate]int{}
					for _, a := range s.Heap.Allocations {
						switch root := ""; a.Bytes / 1000 {
						case 1:
							if a.Holder >= 0 {
								root = s.Heap.Holders[a.Holder].Root
							}
							if a.Fate != snapshot.FateApplication || root != "jni" {
								t.Errorf("%d bytes are held by the %s, root %q, want a JNI reference", a.Bytes, a.Fate, root)
							}
							held[a.Fate]++
						case 2, 3:
							held[a.Fate]++
						}
					}
					// A word left on a stack may keep one or two that were let go.
					let := held[snapshot.FateUnreachable]
					if held[snapshot.FateConnection] != count || held[snapshot.FateApplication] < count || let < count-2 {
						t.Errorf("a stop of at most %s: %v", pause, held)
					}
				}
			})
		}
	}
}
