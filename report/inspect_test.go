package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/snapshot"
)

// snapshots are snapshots of every quality, by the name of their golden files.
func snapshots() map[string]*snapshot.Snapshot {
	began := start
	manifest := snapshot.Manifest{
		Schema: snapshot.Schema, FormatVersion: snapshot.FormatVersion, Tool: snapshot.Tool{Name: "leakscope", Version: "1.0.0"},
		Target: target(), Clock: snapshot.Clock{Started: began, Finished: began.Add(2300 * time.Millisecond), UptimeSeconds: snapshot.Known(180_000.0)},
	}
	whole := manifest
	for _, row := range okSources(inputs(1)) {
		whole.Sources = append(whole.Sources, row.Source)
	}
	bad := manifest
	bad.Interrupted = true
	bad.Sources = []snapshot.Source{
		{Name: snapshot.SourceProc, Status: snapshot.StatusOK, DurationSeconds: 0.0012, PauseSeconds: snapshot.Known(0.0)},
		{Name: snapshot.SourceFDs, Status: snapshot.StatusDenied, Reason: "/proc/4242/fd: permission denied", Hint: "run as the user of the target, or as root"},
		{
			Name: snapshot.SourceHeapDump, Status: snapshot.StatusPartial, Reason: "the target ended during the dump: \x1b[2Jclear", DurationSeconds: 12.5,
			EstimateSeconds: snapshot.Known(3.1), BytesRead: snapshot.Known(int64(734_003_200)), Detail: map[string]string{"method": "fifo", "buffer": "1 MiB"},
		},
	}
	return map[string]*snapshot.Snapshot{
		"whole": {
			Manifest: whole, Memory: &snapshot.Memory{}, JVM: &snapshot.JVM{},
			Mappings: make([]snapshot.Mapping, 2345), FDs: make([]snapshot.FD, 77), Sockets: make([]snapshot.Socket, 54),
			Heap: &snapshot.Heap{
				Method: "heap-dump", Complete: true, Allocations: make([]snapshot.Allocation, 123_456), Holders: make([]snapshot.Holder, 12), Connections: make([]snapshot.HeapConnection, 54),
				Checks:   []snapshot.Check{{Name: "java.nio.Bits.RESERVED_MEMORY", Expected: 41_287_680, Actual: 41_287_680, OK: true}},
				Counters: []snapshot.Counter{{Name: "io.netty.util.internal.PlatformDependent.DIRECT_MEMORY_COUNTER", Value: snapshot.Known(int64(8_388_608))}, {Name: "java.nio.Bits.COUNT"}},
			},
		},
		"damaged": {
			Manifest: bad, FDs: nil, Sockets: []snapshot.Socket{},
			Heap: &snapshot.Heap{
				Reason: "the dump ends inside a record", Warnings: []string{"12 objects refer to nothing"},
				Checks: []snapshot.Check{{Name: "java.nio.Bits.RESERVED_MEMORY", Expected: 41_287_680, Actual: 12_582_912}},
			},
		},
		"nothing": {Manifest: snapshot.Manifest{FormatVersion: "1.0"}},
		"dump": {Manifest: snapshot.Manifest{
			FormatVersion: "1.0", Target: snapshot.Target{HeapDumpFile: "java_pid1.hprof", Runtime: snapshot.RuntimeHotSpot},
			Sources: []snapshot.Source{{Name: snapshot.SourceHeapDump, Status: snapshot.StatusOK, DurationSeconds: 1.1, BytesRead: snapshot.Known(int64(1 << 30))}},
		}, Heap: &snapshot.Heap{Complete: true}},
	}
}

func TestInspectGolden(t *testing.T) {
	for name, s := range snapshots() {
		t.Run(name, func(t *testing.T) {
			for _, width := range []int{80, 120} {
				var b bytes.Buffer
				if err := Inspect(&b, name+".lscope", s, Options{Width: width}); err != nil {
					t.Fatal(err)
				}
				checkLines(t, b.String(), width)
				golden(t, fmt.Sprintf("inspect-%s.table-%d.txt", name, width), b.Bytes())
			}
			var b bytes.Buffer
			if err := InspectJSON(&b, name+".lscope", s); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), `"sources": null`) || strings.Contains(b.String(), `"checks": null`) {
				t.Errorf("an array is null:\n%s", b.String())
			}
			var in Inspection
			if err := json.Unmarshal(b.Bytes(), &in); err != nil {
				t.Fatal(err)
			}
			golden(t, "inspect-"+name+".json", b.Bytes())
		})
	}
}
