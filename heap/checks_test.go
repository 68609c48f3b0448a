package heap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSelfChecks holds the heap's own books against what is found: figures that
// agree pass, and each that does not is told.
func TestSelfChecks(t *testing.T) {
	for name, test := range map[string]struct {
		reserved, free uint64 // what the target's counters say
		checks         []string
		warning        string
	}{
		"agree": {
			4096 + 100, 4096 - 1024,
			[]string{"deallocators = java.nio.Bits.RESERVED_MEMORY 4196 4196 true", "pooled buffers ≤ used bytes of their chunks 1024 1024 true"},
			"",
		},
		"Bits knows of more": {
			9000, 4096 - 1024,
			[]string{"deallocators = java.nio.Bits.RESERVED_MEMORY 9000 4196 false", "pooled buffers ≤ used bytes of their chunks 1024 1024 true"},
			"",
		},
		"a chunk's books have less": {
			4096 + 100, 4096 - 1000,
			[]string{"deallocators = java.nio.Bits.RESERVED_MEMORY 4196 4196 true", "pooled buffers ≤ used bytes of their chunks 1000 1024 false"},
			"24 bytes more than its books say",
		},
		"a chunk's books have more: lost": {
			4096 + 100, 4096 - 2048,
			[]string{"deallocators = java.nio.Bits.RESERVED_MEMORY 4196 4196 true", "pooled buffers ≤ used bytes of their chunks 2048 1024 true"},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder()
			b.class("java.nio.Bits", "java.lang.Object")
			b.class("java.util.concurrent.atomic.AtomicLong", "java.lang.Object", "value:11")
			b.class("io.netty.buffer.PoolChunk", "java.lang.Object", "memory", "chunkSize:10", "freeBytes:10", "pageSize:10")
			b.class("io.netty.buffer.PooledByteBuf", "java.lang.Object", "chunk", "offset:10", "maxLength:10")
			b.static("java.nio.Bits", "RESERVED_MEMORY", b.object("java.util.concurrent.atomic.AtomicLong", map[string]uint64{"value": test.reserved}))
			chunk := b.object("io.netty.buffer.PoolChunk", map[string]uint64{
				"memory": b.buffer(0x1000000, 4096), "chunkSize": 4096, "freeBytes": test.free, "pageSize": 512,
			})
			b.static("app.Registry", "pooled", b.object("io.netty.buffer.PooledByteBuf", map[string]uint64{"chunk": chunk, "offset": 512, "maxLength": 1024}))
			b.static("app.Registry", "plain", b.buffer(0x2000000, 100))
			r := b.read(t)
			var got []string
			for _, c := range r.Checks {
				got = append(got, fmt.Sprintf("%s %d %d %v", c.Name, c.Expected, c.Actual, c.OK))
			}
			if diff := cmp.Diff(test.checks, got); diff != "" {
				t.Error(diff)
			}
			if warnings := strings.Join(r.Warnings, "\n"); !strings.Contains(warnings, test.warning) || test.warning == "" && warnings != "" {
				t.Errorf("warnings %q, want %q", warnings, test.warning)
			}
			var sum int64
			for _, a := range r.Allocations {
				sum += a.Bytes
			}
			if sum != 4096+100 {
				t.Errorf("the rows sum to %d", sum)
			}
			checkRetainers(t, r)
		})
	}
}
