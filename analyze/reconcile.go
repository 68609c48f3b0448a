package analyze

import (
	"fmt"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// holderName is a holder path on one line.
func holderName(h *snapshot.Holder) string { return strings.Join(h.Path, " → ") }

// counter is a figure the target or the kernel keeps, and what it counts.
type counter struct {
	name, covers, source string
	value                Int
	counted              Int    // the allocations it should count
	difference           string // what the rest is
}

// counters lists the figures of one snapshot that stand beside the attributed
// total. They overlap, so they are never summed.
func counters(s *snapshot.Snapshot) []counter {
	var all []counter
	for _, c := range s.Counters() {
		if row, ok := heapCounter(s.Heap, c); ok {
			all = append(all, row)
		}
	}
	if s.JVM != nil {
		all = append(all, nmtCounters(s)...)
	}
	if s.Memory != nil {
		all = append(all, counter{
			name: "rss", covers: "all resident memory of the process", source: "/proc/PID/status VmRSS",
			value: s.Memory.RSSBytes, counted: liveTotal(s),
			difference: "Java heap, metaspace, code, stacks, malloc and files; an allocation counts in full although untouched pages are not resident",
		})
	}
	return all
}

// heapCounter describes a counter the target keeps in its heap. Counters of
// objects rather than bytes are left out.
func heapCounter(h *snapshot.Heap, c snapshot.Counter) (counter, bool) {
	row := counter{name: c.Name, value: c.Value, source: "static field in the heap"}
	switch {
	case strings.HasSuffix(c.Name, "Bits.RESERVED_MEMORY"):
		row.covers = "direct buffers that a Cleaner frees"
		row.counted = cleanerBytes(h)
		row.difference = "buffers freed or reserved while the heap was read"
	case strings.HasSuffix(c.Name, "PlatformDependent.DIRECT_MEMORY_COUNTER"):
		row.covers = "direct memory that Netty allocates without a Cleaner, whole chunks included"
		row.counted = sumOf(h, func(a *snapshot.Allocation) bool {
			return a.Kind == snapshot.KindPooled || a.Kind == snapshot.KindNoCleaner
		})
		row.difference = "chunks that Netty has the JDK clean, or no-cleaner buffers that are not Netty's"
	default:
		return counter{}, false
	}
	return row, true
}

// cleanerBytes is the size of all buffers that a Cleaner frees: the heap
// walk's own check adds up their deallocators, chunks of pools included.
func cleanerBytes(h *snapshot.Heap) Int {
	if h == nil {
		return Int{}
	}
	for _, check := range h.Checks {
		if strings.Contains(check.Name, "Bits") {
			return snapshot.Known(check.Actual)
		}
	}
	return Int{}
}

func sumOf(h *snapshot.Heap, counts func(*snapshot.Allocation) bool) Int {
	if h == nil {
		return Int{}
	}
	var sum int64
	for i := range h.Allocations {
		if counts(&h.Allocations[i]) {
			sum += h.Allocations[i].Bytes
		}
	}
	return snapshot.Known(sum)
}

// nmtCategory is the category of native memory tracking that counts direct
// buffers: Other since JDK 11, Internal before.
func nmtCategory(jvm *snapshot.JVM) string {
	if feature, ok := jvm.Feature.Get(); ok && feature < 11 {
		return "Internal"
	}
	return "Other"
}

func nmtCounters(s *snapshot.Snapshot) []counter {
	want := nmtCategory(s.JVM)
	for _, row := range s.JVM.NMT {
		if row.Name != want {
			continue
		}
		c := counter{
			name: "nmt." + want, covers: "all memory from Unsafe: direct buffers, Netty no-cleaner, foreign segments",
			source: "native memory tracking", value: snapshot.Known(row.CommittedBytes),
			difference: "other users of Unsafe.allocateMemory",
		}
		if s.Heap != nil {
			c.counted = sumOf(s.Heap, func(a *snapshot.Allocation) bool {
				return a.Fate != snapshot.FateRuntime && a.Kind != snapshot.KindMapped
			})
		}
		return []counter{c}
	}
	return nil
}

// reconcile puts the attributed total beside every counter.
func (c *comparison) reconcile() []Reconciliation {
	rows := []Reconciliation{}
	if c.head.haveHeap || (c.base != nil && c.base.haveHeap) {
		d := c.total.bytes.delta(c.heapKnown())
		row := Reconciliation{
			Counter: "allocations", Base: d.Base, Head: d.Head, DifferenceBytes: snapshot.Known[int64](0),
			Covers: "every allocation found, attributed or not", Source: "heap walk",
		}
		if un, ok := c.fates[snapshot.FateUnattributed].bytes.delta(c.heapKnown()).Head.Get(); ok && un > 0 {
			row.Explanation = fmt.Sprintf("%d bytes of it are unattributed", un)
		}
		rows = append(rows, row)
	}
	var base []counter
	if c.base != nil {
		base = counters(c.base.Snapshot)
	}
	head := counters(c.head.Snapshot)
	for _, h := range head {
		row := Reconciliation{Counter: h.name, Head: h.value, Covers: h.covers, Source: h.source}
		for _, b := range base {
			if b.name == h.name {
				row.Base = b.value
			}
		}
		value, okValue := h.value.Get()
		counted, okCounted := h.counted.Get()
		if okValue && okCounted {
			row.DifferenceBytes = snapshot.Known(value - counted)
			if value != counted {
				row.Explanation = h.difference
			}
		}
		rows = append(rows, row)
	}
	for _, b := range base { // a counter that the head could not read
		known := false
		for _, h := range head {
			known = known || h.name == b.name
		}
		if !known {
			rows = append(rows, Reconciliation{Counter: b.name, Base: b.value, Covers: b.covers, Source: b.source})
		}
	}
	return rows
}
