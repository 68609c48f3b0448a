package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/heap"
	"github.com/leakscope/leakscope/internal/scenario"
)

// BenchmarkStreamedDump streams the heap of a JVM twice in a row: to a reader that
// throws it away, and through the engine, both at the priority of a capture. How long the JVM stood still is told of
// both; pause-ratio is the median of the pairs. LEAKSCOPE_BENCH_HEAP is the size
// of the dump in MB, LEAKSCOPE_TEST_JDKS which JDKs write it.
func BenchmarkStreamedDump(b *testing.B) {
	size := 200
	if text := os.Getenv("LEAKSCOPE_BENCH_HEAP"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			b.Fatalf("LEAKSCOPE_BENCH_HEAP=%s: want MB", text)
		}
	}
	classes := compiled(b, "../testdata/heapgen/HeapGen.java", "17")
	jdks := slices.DeleteFunc(scenario.JDKs(b), func(j scenario.JDK) bool {
		return j.Feature < 17 // HeapGen is written for 17, and before it nothing is streamed
	})
	pids := map[int]int{}
	for _, jdk := range jdks {
		pids[jdk.Feature] = launch(b, jdk, fmt.Sprintf("-Xmx%dm", size*3+512), "-cp", classes, "HeapGen", "-", "plain", strconv.Itoa(size))
	}
	giveWay(b)
	for _, jdk := range jdks {
		b.Run(jdk.String(), func(b *testing.B) {
			pid := pids[jdk.Feature]
			j, err := hotspot.Open(pid)
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			dump := func(consume func(context.Context, hotspot.DumpStream) error) float64 {
				o := hotspot.DumpOptions{Feature: jdk.Feature, UsedBytes: int64(size) << 20}
				report, err := j.DumpHeap(b.Context(), o, consume)
				if err != nil {
					b.Fatal(err)
				}
				return report.Pause.Or(report.Seconds)
			}
			target, err := vmstructs.Open("", pid)
			if err != nil {
				b.Fatal(err)
			}
			defer target.Close()
			classes, err := target.Describe()
			if err != nil {
				b.Fatal(err)
			}
			describe := func() []heap.KnownClass {
				all, err := classes.Classes()
				if err != nil {
					b.Error(err)
				}
				return all
			}
			if jdk.Feature < 22 {
				describe = nil // as capture does: those have their classes first
			}
			var away, engine, ratios []float64
			for b.Loop() {
				away = append(away, dump(throwAway))
				engine = append(engine, dump(func(ctx context.Context, s hotspot.DumpStream) error {
					result, err := heap.ReadStream(ctx, s.Main, heap.Options{Segments: s.Segments, Describe: describe})
					if err == nil && !result.Complete {
						err = errors.New(result.Reason)
					}
					return err
				}))
				last := len(away) - 1
				ratios = append(ratios, engine[last]/away[last])
			}
			b.ReportMetric(median(away), "pause-thrown-away-s")
			b.ReportMetric(median(engine), "pause-s")
			b.ReportMetric(median(ratios), "pause-ratio")
		})
	}
}

// giveWay lowers the priority of this process, as capture does.
func giveWay(b *testing.B) {
	b.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, 10); err != nil && !errors.Is(err, unix.ESRCH) {
			b.Fatal(err)
		}
	}
}

// throwAway reads all streams at once and keeps nothing.
func throwAway(_ context.Context, s hotspot.DumpStream) error {
	var group sync.WaitGroup
	errs := make([]error, 1+len(s.Segments))
	for i, r := range append([]io.Reader{s.Main}, s.Segments...) {
		group.Go(func() { _, errs[i] = io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, 1<<20)) })
	}
	group.Wait()
	return errors.Join(errs...)
}
