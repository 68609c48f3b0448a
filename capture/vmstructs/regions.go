package vmstructs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// extent is a run of objects in the heap, one after the other.
type extent struct{ start, end uint64 }

// lastFrom returns the index of the last of some, which are by address, that begins at
// an address or before; -1 for none.
func lastFrom[T any](all []T, address uint64, start func(*T) uint64) int {
	return sort.Search(len(all), func(i int) bool { return start(&all[i]) > address }) - 1
}

func (e *extent) from() uint64 { return e.start }

const maxRegions = 1 << 20

// collector names the target's collector by its flag, "" for none that is known.
func (j *jvm) collector() string {
	for _, name := range []string{"G1", "Parallel", "Serial", "Shenandoah", "Z", "Epsilon", "ConcMarkSweep"} {
		if j.flag["Use"+name+"GC"]&0xff != 0 {
			return name
		}
	}
	return ""
}

// space is a part of the heap: a run of objects, and what the collector has it
// for, where that is told.
type space struct {
	extent
	tag uint32
}

// extents returns where objects are: what the collector has handed out, less
// what threads have set aside and not used yet.
func (j *jvm) extents() ([]extent, error) {
	var err error
	if j.spaces, err = j.readSpaces(); err != nil {
		return nil, err
	}
	used := make([]extent, len(j.spaces))
	for i, s := range j.spaces {
		used[i] = s.extent
	}
	threads, err := j.threads()
	if err != nil {
		return nil, err
	}
	return j.withoutBuffers(used, threads), nil
}

// readSpaces reads what the collector has handed out, by address.
func (j *jvm) readSpaces() (used []space, err error) {
	switch c := j.collector(); c {
	case "G1":
		used, err = j.g1Regions()
	case "Parallel":
		used, err = j.parallelSpaces()
	case "Serial":
		used, err = j.serialSpaces()
	case "Shenandoah":
		used, err = j.shenandoahRegions()
	case "Z":
		return nil, fmt.Errorf("%w: ZGC moves objects while the program runs; counters and Cleaners are read, owners take a heap dump", ErrUnsupported)
	case "":
		return nil, fmt.Errorf("%w: a collector that is not known", ErrUnsupported)
	default:
		return nil, fmt.Errorf("%w: the heap of the collector %s", ErrUnsupported, c)
	}
	if err != nil {
		return nil, fmt.Errorf("the heap of the collector %s: %w", j.collector(), err)
	}
	slices.SortFunc(used, func(a, b space) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(used); i++ {
		if used[i].start < used[i-1].end {
			return nil, fmt.Errorf("objects from 0x%x to 0x%x and again from 0x%x", used[i-1].start, used[i-1].end, used[i].start)
		}
	}
	return used, nil
}

// sameSpaces checks that the parts of the heap are still what they were, or
// have grown: in its pauses for marking G1 gives up regions without a collection
// that counts, and in those of Shenandoah objects begin to move.
func (j *jvm) sameSpaces(before []space) error {
	j.r.err = nil
	now, err := j.readSpaces()
	if err != nil {
		return err
	}
	at := map[uint64]space{}
	for _, s := range now {
		at[s.start] = s
	}
	for _, s := range before {
		if n, ok := at[s.start]; !ok || n.end < s.end || n.tag != s.tag {
			return fmt.Errorf("the heap from 0x%x to 0x%x was given up meanwhile", s.start, s.end)
		}
	}
	return nil
}

// withoutBuffers takes runs of objects, by address, and cuts the unused part of each thread's allocation buffer out.
// When the thread gives a buffer up it fills that part and a reserve behind its
// end, so the next object starts behind the reserve.
func (j *jvm) withoutBuffers(used []extent, threads []thread) []extent {
	// In words: room for the smallest array that fills, and for prefetching (not
	// since 27).
	reserve := uint64(2)
	if !j.layout.narrowKlasses {
		reserve = 3
	}
	if at, ok := j.tables.find("CollectedHeap::_lab_alignment_reserve"); ok {
		reserve = j.r.u64(at.at) // 25 on
	}
	if at, ok := j.tables.find("ThreadLocalAllocBuffer::_reserve_for_allocation_prefetch", "Abstract_VM_Version::_reserve_for_allocation_prefetch"); ok {
		reserve = max(reserve, uint64(j.r.u32(at.at)))
	}
	a := j.layout.alignment
	size := (reserve*8 + a - 1) &^ (a - 1)
	var gaps []extent
	for _, t := range threads {
		if t.top != 0 && t.top <= t.end {
			gaps = append(gaps, extent{t.top, t.end + size})
		}
	}
	slices.SortFunc(gaps, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	var out []extent
	for _, e := range used {
		first, _ := slices.BinarySearchFunc(gaps, e.start, func(g extent, at uint64) int { return cmp.Compare(g.start, at) })
		for _, g := range gaps[first:] {
			if g.start >= e.end {
				break
			}
			if g.start > e.start {
				out = append(out, extent{e.start, g.start})
			}
			e.start = min(g.end, e.end)
		}
		if e.start < e.end {
			out = append(out, e)
		}
	}
	return out
}

// addExtent checks a run of objects and keeps it.
func (j *jvm) addExtent(all []space, start, end uint64, tag uint32) ([]space, error) {
	if start == end {
		return all, nil
	}
	if start%8 != 0 || end%8 != 0 || start > end || end >= 1<<47 {
		return nil, fmt.Errorf("%w: objects from 0x%x to 0x%x", ErrUnsupported, start, end)
	}
	return append(all, space{extent{start, end}, tag}), nil
}

// g1Regions reads the table of regions. Regions that continue a large object
// are left out, and the one it starts in is as long as the object.
func (j *jvm) g1Regions() ([]space, error) {
	f := &resolver{t: j.tables}
	regions := j.layout.collectedHeap + f.offset("G1CollectedHeap::_hrm") + f.offset("HeapRegionManager::_regions", "G1HeapRegionManager::_regions")
	base, length := f.offset("G1HeapRegionTable::_base"), f.offset("G1HeapRegionTable::_length")
	bottomAt, topAt := f.field("HeapRegion::_bottom", "G1HeapRegion::_bottom", "Space::_bottom"), f.field("HeapRegion::_top", "G1HeapRegion::_top", "G1OffsetTableContigSpace::_top", "G1ContiguousSpace::_top", "ContiguousSpace::_top")
	tagAt := bottomAt.offset // 8 has no tag: any word will do
	_, tagged := j.tables.find("HeapRegion::_type", "G1HeapRegion::_type")
	if tagged {
		tagAt = f.offset("HeapRegion::_type", "G1HeapRegion::_type") + f.offset("HeapRegionType::_tag", "G1HeapRegionType::_tag")
	}
	if len(f.missing) > 0 {
		return nil, f.missing[0]
	}
	n := j.r.u64(regions + length)
	if j.r.err == nil && n > maxRegions {
		return nil, fmt.Errorf("%w: %d regions", ErrUnsupported, n)
	}
	raw := j.r.bytes(j.r.u64(regions+base), 8*int(n))
	var slots []uint64
	for ; len(raw) >= 8; raw = raw[8:] {
		if r := binary.LittleEndian.Uint64(raw); r != 0 {
			slots = append(slots, r+bottomAt.offset, r+topAt.offset, r+tagAt)
		}
	}
	if j.r.err != nil {
		return nil, j.r.err
	}
	words, err := j.words(slots)
	if err != nil {
		return nil, err
	}
	const humongous, continues = 4, 1 // bits of the tag: HeapRegionType (11 on)
	var all []space
	for ; len(words) >= 3; words = words[3:] {
		bottom, top, tag := words[0], words[1], uint32(words[2])
		if !tagged {
			// On 8 the top of the region that a large object starts in is its end.
			if n := len(all); n > 0 && bottom < all[n-1].end {
				continue
			}
			tag = 0
		}
		if tag&humongous != 0 && tag&continues != 0 {
			if n := len(all); n > 0 && all[n-1].end == bottom {
				all[n-1].end = top
			}
			continue
		}
		if all, err = j.addExtent(all, bottom, top, tag); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// oldSpace is the tag of an old generation. It is none of G1's.
const oldSpace = 1 << 16

// spacesAt reads the bottoms and tops of spaces, the last one that of the old
// generation.
func (j *jvm) spacesAt(at []uint64, bottom, top vmField) ([]space, error) {
	var all []space
	for i, s := range at {
		start, end := j.r.u64(s+bottom.offset), j.r.u64(s+top.offset)
		if j.r.err != nil {
			return nil, j.r.err
		}
		tag := uint32(0)
		if i == len(at)-1 {
			tag = oldSpace
		}
		var err error
		if all, err = j.addExtent(all, start, end, tag); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (j *jvm) parallelSpaces() ([]space, error) {
	f := &resolver{t: j.tables}
	generation := func(name string) uint64 {
		g := f.field(name)
		if g.static { // up to 26
			return j.r.u64(g.at)
		}
		return j.r.u64(j.layout.collectedHeap + g.offset)
	}
	young, old := generation("ParallelScavengeHeap::_young_gen"), generation("ParallelScavengeHeap::_old_gen")
	// The other survivor space is empty between collections.
	eden, from := f.offset("PSYoungGen::_eden_space"), f.offset("PSYoungGen::_from_space")
	tenured := f.offset("PSOldGen::_object_space")
	bottom, top := f.field("MutableSpace::_bottom", "ImmutableSpace::_bottom"), f.field("MutableSpace::_top")
	if len(f.missing) > 0 {
		return nil, f.missing[0]
	}
	at := []uint64{j.r.u64(young + eden), j.r.u64(young + from), j.r.u64(old + tenured)}
	return j.spacesAt(at, bottom, top)
}

func (j *jvm) serialSpaces() ([]space, error) {
	f := &resolver{t: j.tables}
	var young, old uint64
	if gens, ok := j.tables.find("GenCollectedHeap::_gens"); ok { // 8: an array of two
		young, old = j.r.u64(j.layout.collectedHeap+gens.offset), j.r.u64(j.layout.collectedHeap+gens.offset+8)
	} else {
		young = j.r.u64(j.layout.collectedHeap + f.offset("SerialHeap::_young_gen", "GenCollectedHeap::_young_gen"))
		old = j.r.u64(j.layout.collectedHeap + f.offset("SerialHeap::_old_gen", "GenCollectedHeap::_old_gen"))
	}
	eden, from := f.offset("DefNewGeneration::_eden_space"), f.offset("DefNewGeneration::_from_space")
	tenured := f.offset("TenuredGeneration::_the_space", "OneContigSpaceCardGeneration::_the_space")
	bottom, top := f.field("ContiguousSpace::_bottom", "Space::_bottom"), f.field("ContiguousSpace::_top")
	if len(f.missing) > 0 {
		return nil, f.missing[0]
	}
	return j.spacesAt([]uint64{j.r.u64(young + eden), j.r.u64(young + from), j.r.u64(old + tenured)}, bottom, top)
}

func (j *jvm) shenandoahRegions() ([]space, error) {
	f := &resolver{t: j.tables}
	table := j.r.u64(j.layout.collectedHeap + f.offset("ShenandoahHeap::_regions"))
	n := j.r.u64(j.layout.collectedHeap + f.offset("ShenandoahHeap::_num_regions"))
	bottomAt, topAt, stateAt := f.field("ShenandoahHeapRegion::_bottom"), f.field("ShenandoahHeapRegion::_top"), f.offset("ShenandoahHeapRegion::_state")
	if len(f.missing) > 0 {
		return nil, f.missing[0]
	}
	if j.r.err == nil && n > maxRegions {
		return nil, fmt.Errorf("%w: %d regions", ErrUnsupported, n)
	}
	raw := j.r.bytes(table, 8*int(n))
	// ShenandoahHeapRegion::RegionState: 2 regular, 3 and 4 a large object and
	// what continues it, 5 the collection set, 6 to 8 pinned ones, 9 trash.
	const regular, continues, moving, pinnedMoving, trash = 2, 4, 6, 8, 9
	var all []space
	for ; len(raw) >= 8; raw = raw[8:] {
		r := binary.LittleEndian.Uint64(raw)
		bottom, top, state := j.r.u64(r+bottomAt.offset), j.r.u64(r+topAt.offset), j.r.u32(r+stateAt)
		switch {
		case j.r.err != nil:
			return nil, j.r.err
		case state == moving, state == pinnedMoving:
			return nil, errors.New("a collection is moving objects")
		case state < regular, state >= trash:
			continue
		case state == continues:
			if n := len(all); n > 0 && all[n-1].end == bottom {
				all[n-1].end = top
			}
			continue
		}
		var err error
		if all, err = j.addExtent(all, bottom, top, 0); err != nil {
			return nil, err
		}
	}
	return all, nil
}
