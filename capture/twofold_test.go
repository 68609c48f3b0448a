package capture_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestTwofold captures a program whose buffers the application holds, and
// something beside a connection too. Both ways are there to be found first; a
// reading from outside says what a heap dump says, to which all ways are known.
func TestTwofold(t *testing.T) {
	const count = 20
	classes := compiled(t, "testdata/Twofold.java", "8")
	for _, jdk := range scenario.JDKs(t) {
		for _, alone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/alone=%t", jdk, alone), func(t *testing.T) {
				pid := launch(t, jdk, "-Xmx128m", "-cp", classes, "Twofold", fmt.Sprint(count), fmt.Sprint(alone))
				dumped := dump(t, pid)
				want := holdings(dumped.Heap)
				for _, pause := range []time.Duration{0, time.Minute} {
					s := run(t, capture.Options{PID: pid, MaxPause: pause})
					if s.Heap == nil {
						t.Fatal("nothing read: ", sourceOf(t, s, snapshot.SourceVMStructs).Reason)
					}
					if d := differences(want, holdings(s.Heap)); len(d) > 0 {
						t.Errorf("a stop of at most %s, against the dump:\n%s", pause, strings.Join(d, "\n"))
					}
					fates := map[int64]snapshot.Fate{}
					for _, a := range s.Heap.Allocations {
						fates[a.Bytes] = a.Fate
					}
					for i := int64(0); i < count; i++ {
						for bytes, want := range map[int64]snapshot.Fate{
							1000 + i: snapshot.FateConnection, 2000 + i: snapshot.FateConnection,
							3000 + i: snapshot.FateConnection, 4000 + i: snapshot.FateApplication,
						} {
							if bytes/1000 == 2 && !alone {
								continue
							}
							if got := fates[bytes]; got != want {
								t.Errorf("a stop of at most %s: %d bytes are held by the %s, want %s", pause, bytes, got, want)
							}
						}
					}
				}
			})
		}
	}
}
