package analyze

import (
	"cmp"
	"slices"

	"github.com/leakscope/leakscope/snapshot"
)

// The parts of resident memory, in the order reports show them. Direct memory
// has one part for each fate.
const (
	partJavaHeap    = "java heap"
	partMetaspace   = "metaspace"
	partCode        = "code"
	partThreads     = "thread stacks"
	partGC          = "gc"
	partJVM         = "jvm, other"
	partDirect      = "direct: " // and the fate
	partFiles       = "files and libraries"
	partShared      = "shared memory"
	partMalloc      = "malloc and fragmentation"
	partUnexplained = "unexplained"
)

const (
	fromMappings = "smaps"
	fromNMT      = "native memory tracking, bounded by smaps"
	fromHeapWalk = "heap walk, bounded by smaps"
	fromRest     = "rest"
)

// residency is how one snapshot's resident memory splits, part by part. The
// parts sum to rss.
type residency struct {
	parts   map[string]int64
	sources map[string]string
}

// residencyOf splits the resident memory of a snapshot, or reports false when
// it has no rss of its mappings.
//
// A mapping's kind says what its pages are. Direct memory comes from malloc: an
// allocation counts in the mapping its address lies in, and where the
// allocations of a mapping are larger than what is resident of it (pages never
// touched), each gets its share of what is. What is left of anonymous memory is
// the JVM's own as far as native memory tracking tells, then malloc's, then
// unexplained. So no byte is counted twice.
func residencyOf(s *snapshot.Snapshot) (residency, bool) {
	r := residency{parts: map[string]int64{}, sources: map[string]string{}}
	if s.Memory == nil || len(s.Mappings) == 0 {
		return r, false
	}
	rss, ok := s.Memory.RSSBytes.Get()
	if !ok {
		return r, false
	}
	direct := directByMapping(s)
	var malloc, anonymous int64
	for i := range s.Mappings {
		m := &s.Mappings[i]
		resident, ok := m.RSSBytes.Get()
		if !ok {
			return r, false
		}
		resident -= r.addDirect(direct[i], resident)
		switch m.Kind {
		case snapshot.MappingJavaHeap:
			r.add(partJavaHeap, resident, fromMappings)
		case snapshot.MappingMetaspace:
			r.add(partMetaspace, resident, fromMappings)
		case snapshot.MappingCode:
			r.add(partCode, resident, fromMappings)
		case snapshot.MappingThreadStack, snapshot.MappingMainStack:
			r.add(partThreads, resident, fromMappings)
		case snapshot.MappingLibrary, snapshot.MappingFile, snapshot.MappingKernel:
			r.add(partFiles, resident, fromMappings)
		case snapshot.MappingShared:
			r.add(partShared, resident, fromMappings)
		case snapshot.MappingMallocHeap, snapshot.MappingMallocArena:
			malloc += resident
		default:
			anonymous += resident
		}
	}
	r.addJVM(s.JVM, &anonymous, &malloc)
	r.add(partMalloc, malloc, fromMappings)
	var sum int64
	for _, bytes := range r.parts {
		sum += bytes
	}
	r.add(partUnexplained, rss-sum, fromRest)
	return r, true
}

func (r *residency) add(part string, bytes int64, source string) {
	r.parts[part] += bytes
	r.sources[part] = source
}

// fateBytes is the bytes of allocations by fate.
type fateBytes map[snapshot.Fate]int64

// addDirect adds the allocations of one mapping and returns how much of the
// mapping's resident memory they are.
func (r *residency) addDirect(sizes fateBytes, resident int64) int64 {
	var total int64
	for _, bytes := range sizes {
		total += bytes
	}
	if total == 0 {
		return 0
	}
	left := min(total, resident)
	used := left
	fates := snapshot.Fates()
	for _, f := range fates {
		share := sizes[f]
		if total > resident {
			share = int64(float64(sizes[f]) / float64(total) * float64(resident))
		}
		share = min(share, left)
		if share > 0 {
			r.add(partDirect+string(f), share, fromHeapWalk)
		}
		left -= share
	}
	return used - left
}

// directByMapping finds the mapping of each allocation. Allocations of kind
// mapped are files: their pages are counted as such.
func directByMapping(s *snapshot.Snapshot) map[int]fateBytes {
	found := map[int]fateBytes{}
	if s.Heap == nil {
		return found
	}
	for i := range s.Heap.Allocations {
		a := &s.Heap.Allocations[i]
		if a.Kind == snapshot.KindMapped || a.Fate == snapshot.FateRuntime {
			continue
		}
		at, ok := slices.BinarySearchFunc(s.Mappings, a.Address, func(m snapshot.Mapping, address snapshot.Address) int {
			switch {
			case m.End <= address:
				return -1
			case m.Start > address:
				return 1
			}
			return 0
		})
		if !ok || fileBacked(s.Mappings[at].Kind) {
			continue
		}
		if found[at] == nil {
			found[at] = fateBytes{}
		}
		found[at][a.Fate] += a.Bytes
	}
	return found
}

func fileBacked(k snapshot.MappingKind) bool {
	return k == snapshot.MappingFile || k == snapshot.MappingLibrary || k == snapshot.MappingKernel
}

// nmtElsewhere are the categories of native memory tracking whose memory is a
// mapping of a kind of its own, or direct memory.
func nmtElsewhere(category, direct string) bool {
	switch category {
	case "Java Heap", "Class", "Metaspace", "Code", "Thread", "Shared class space", "Native Memory Tracking", direct, "Total":
		return true
	}
	return false
}

// addJVM moves what native memory tracking knows of the JVM's own structures
// out of what no kind of mapping explains: mapped memory first, then malloc's.
func (r *residency) addJVM(jvm *snapshot.JVM, anonymous, malloc *int64) {
	if jvm == nil {
		return
	}
	take := func(part string, want int64) {
		for _, from := range []*int64{anonymous, malloc} {
			n := min(want, *from)
			if n > 0 {
				r.add(part, n, fromNMT)
				*from -= n
				want -= n
			}
		}
	}
	rows := slices.Clone(jvm.NMT)
	slices.SortStableFunc(rows, func(a, b snapshot.NMTCategory) int { return cmp.Compare(a.Name, b.Name) })
	for _, row := range rows {
		switch {
		case row.Name == "GC":
			take(partGC, row.CommittedBytes)
		case !nmtElsewhere(row.Name, nmtCategory(jvm)):
			take(partJVM, row.CommittedBytes)
		}
	}
}

// residencyRows compares the split of base and head.
func (c *comparison) residencyRows() []Residency {
	rows := []Residency{}
	head, okHead := residencyOf(c.head.Snapshot)
	var base residency
	okBase := false
	if c.base != nil {
		base, okBase = residencyOf(c.base.Snapshot)
	}
	if !okHead && !okBase {
		return rows
	}
	order := []string{partJavaHeap, partMetaspace, partCode, partThreads, partGC, partJVM}
	for _, f := range snapshot.Fates() {
		order = append(order, partDirect+string(f))
	}
	order = append(order, partFiles, partShared, partMalloc, partUnexplained)
	for _, part := range order {
		if base.parts[part] == 0 && head.parts[part] == 0 && part != partUnexplained {
			continue
		}
		row := Residency{Part: part, Source: cmp.Or(head.sources[part], base.sources[part])}
		if okBase {
			row.BaseBytes = snapshot.Known(base.parts[part])
		}
		if okHead {
			row.HeadBytes = snapshot.Known(head.parts[part])
		}
		rows = append(rows, row)
	}
	return rows
}
