package vmstructs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/internal/scenario"
)

// The size of the heap that BenchmarkRead reads; LEAKSCOPE_BENCH_HEAP gives
// another as "MILLIONS,MEGABYTES,CONNECTIONS,DROPPED,APPLICATION" (Large.java). Those
// of doc/zero-pause.md are 30,3200,2000 and 0,0, 200,0 and 0,100 behind.
const benchHeap = "3,300,200,20,0"

// BenchmarkRead reads a server's heap from outside, beside the JVM's own class
// histogram and heap dump of the same heap.
func BenchmarkRead(b *testing.B) {
	size := os.Getenv("LEAKSCOPE_BENCH_HEAP")
	if size == "" {
		size = benchHeap
	}
	parts := strings.Split(size, ",")
	millions, _ := strconv.Atoi(parts[0])
	megabytes, _ := strconv.Atoi(parts[1])
	jdk := scenario.Required(b)
	heap := strconv.Itoa(megabytes*11/10+millions*40+300) + "m"
	pid := start(b, jdk, compile(b, "Large"), append([]string{"-Xmx" + heap, "-Xms" + heap, "-XX:+UseG1GC", "Large"}, parts...)...)
	b.Run("outside", func(b *testing.B) {
		if target, err := Open("", pid); err == nil { // what filled the heap may have left a collection to run
			_, _ = target.Read(b.Context(), Options{Budget: time.Minute})
			target.Close()
		}
		b.ReportAllocs()
		b.ResetTimer()
		var read, objects, regions int64
		for b.Loop() {
			target, err := Open("", pid)
			if err != nil {
				b.Fatal(err)
			}
			reading, err := target.Read(b.Context(), Options{Budget: time.Minute})
			target.Close()
			if err != nil {
				b.Fatal(err)
			}
			read, objects, regions = reading.Cost.Bytes, reading.Heap.Objects, reading.HeapUsed
		}
		seconds := b.Elapsed().Seconds() / float64(b.N)
		b.ReportMetric(float64(regions)/1e9/seconds, "GB/s")
		b.ReportMetric(float64(objects)/1e6/seconds, "Mobjects/s")
		b.ReportMetric(float64(read)/1e6, "MB-read")
	})
	jcmd := func(b *testing.B, command ...string) {
		for b.Loop() {
			if out, err := exec.Command(filepath.Join(jdk.Home, "bin/jcmd"), append([]string{strconv.Itoa(pid)}, command...)...).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	}
	b.Run("jcmd-histogram", func(b *testing.B) { jcmd(b, "GC.class_histogram", "-all") })
	b.Run("jcmd-dump", func(b *testing.B) {
		jcmd(b, "GC.heap_dump", "-all", "-overwrite", filepath.Join(b.TempDir(), "heap.hprof"))
	})
}
