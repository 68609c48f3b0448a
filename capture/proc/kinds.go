package proc

import (
	"slices"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// The rules that give each mapping one kind, in order of precedence:
//
//  1. A hint that covers at least half of the mapping.
//  2. The kernel's own names: [stack], [heap], [vdso] and the like.
//  3. A file: a shared archive of classes (*.jsa) is metaspace; memfd, shmem and
//     System V segments are shared; a file of which some part is mapped
//     executable is a library, with all of its parts; any other is a file.
//  4. Executable memory without a file: code.
//  5. A malloc arena: glibc reserves HEAP_MAX_SIZE (64 MiB on 64-bit) aligned to
//     its size and makes the used front of it writable. The writable mapping
//     starts on such a boundary, and the reserved rest ends on the next one.
//     Go's heap and a compressed Java heap have the same shape, so only what
//     is near a mapped libc counts, where the kernel places what mmap asks for.
//  6. A thread stack: private writable memory right above a guard of at most
//     1 MiB without permissions, and either a thread's stack pointer lies in it
//     or it was mapped with MAP_STACK (kernel 6.7 shows that as no-huge-page),
//     or guard and stack are as large as those of a stack known by its pointer.
//     Where the kernel tells neither, the shape alone must do: a guard of at
//     most 64 KiB below at most 64 MiB. The stack of an ended thread that glibc
//     keeps has lost its guard; it is known by MAP_STACK and by the guard of
//     the next stack right above it. Guards count with their stacks.
//  7. The zero-initialised data of a library, right above its writable data.
//  8. Anything else is anonymous.
//
// The kinds partition the mappings, so their sums are the sums of the whole.

const (
	arenaBytes     = 64 << 20 // glibc malloc/arena.c, HEAP_MAX_SIZE
	maxGuardBytes  = 1 << 20
	maxPlainGuard  = 64 << 10
	maxPlainStack  = 64 << 20
	maxZeroedBytes = 4 << 20 // of a library's .bss; libjvm.so has 0.4 MiB

	nearLibc = 1 << 40

	// Below this a JVM places a heap with compressed references.
	compressedEnd = 1 << 36
	// Go's heap begins at 0xc000000000 and grows upward (runtime/malloc.go),
	// or from Go 1.26 on at a random address.
	goHeapStart, goHeapEnd = 0xc0_0000_0000, 0x1c0_0000_0000
)

// stackPointers is what is known of the threads' stack pointers.
type stackPointers struct {
	sorted []uint64
	known  bool // at least one could be read
}

// in reports whether a stack pointer lies in [start, end).
func (s stackPointers) in(start, end uint64) bool {
	i, _ := slices.BinarySearch(s.sorted, start)
	return i < len(s.sorted) && s.sorted[i] < end
}

// classifyMappings sets the kind of every mapping; all is sorted by start.
func classifyMappings(all []vma, pointers stackPointers, hints []Range) {
	libraries := executableFiles(all)
	libc := libcAddress(all)
	mapStackShown := slices.ContainsFunc(all, func(v vma) bool { return v.flagNoHugePage })
	for i := range all {
		v := &all[i]
		if kind, ok := hinted(v, hints); ok {
			v.kind = kind
			continue
		}
		v.kind = plainKind(v, libraries)
	}
	for i := range all {
		v := &all[i]
		if v.kind != "" {
			continue
		}
		switch {
		case isArena(all, i, libc):
			v.kind = snapshot.MappingMallocArena
			if i+1 < len(all) && reserved(&all[i+1]) && all[i+1].start == v.end {
				all[i+1].kind = snapshot.MappingMallocArena
			}
		case isStack(all, i, pointers, mapStackShown):
			v.kind = snapshot.MappingThreadStack
			all[i-1].kind = snapshot.MappingThreadStack
		}
	}
	alikeStacks(all)
	for i := len(all) - 1; i >= 0; i-- {
		v := &all[i]
		if v.kind != "" {
			continue
		}
		// the stack of an ended thread, below another stack
		inGo := v.start >= goHeapStart && v.start < goHeapEnd
		if v.flagNoHugePage && writable(v) && !inGo && v.end-v.start <= maxPlainStack &&
			i+1 < len(all) && all[i+1].kind == snapshot.MappingThreadStack && all[i+1].start == v.end {
			v.kind = snapshot.MappingThreadStack
		}
	}
	for i := range all {
		v := &all[i]
		if v.kind != "" {
			continue
		}
		v.kind = snapshot.MappingAnonymous
		if i > 0 && writable(v) && all[i-1].end == v.start && v.end-v.start <= maxZeroedBytes &&
			all[i-1].kind == snapshot.MappingLibrary && all[i-1].origin == originFile && all[i-1].perms[1] == 'w' {
			v.kind = snapshot.MappingLibrary
		}
	}
}

func hinted(v *vma, hints []Range) (snapshot.MappingKind, bool) {
	for _, h := range hints {
		start, end := max(v.start, h.Start), min(v.end, h.End)
		if start < end && end-start >= (v.end-v.start+1)/2 {
			return h.Kind, true
		}
	}
	return "", false
}

// plainKind applies the rules that need no neighbour; "" is undecided.
func plainKind(v *vma, libraries map[fileID]bool) snapshot.MappingKind {
	switch v.origin {
	case originHeap:
		return snapshot.MappingMallocHeap
	case originStack:
		return snapshot.MappingMainStack
	case originThread:
		return snapshot.MappingThreadStack
	case originKernel:
		return snapshot.MappingKernel
	case originShared:
		return snapshot.MappingShared
	case originFile:
		switch {
		case strings.HasSuffix(v.name, ".jsa"):
			return snapshot.MappingMetaspace
		case libraries[fileID{v.dev, v.inode}]:
			return snapshot.MappingLibrary
		}
		return snapshot.MappingFile
	}
	if v.perms[2] == 'x' {
		return snapshot.MappingCode
	}
	return ""
}

type fileID struct{ dev, inode uint64 }

func executableFiles(all []vma) map[fileID]bool {
	libraries := map[fileID]bool{}
	for i := range all {
		if v := &all[i]; v.origin == originFile && v.perms[2] == 'x' {
			libraries[fileID{v.dev, v.inode}] = true
		}
	}
	return libraries
}

// private memory without a file and without a name of its own.
func unnamed(v *vma) bool { return v.origin == originAnonymous && v.perms[3] == 'p' }

func writable(v *vma) bool { return unnamed(v) && string(v.perms[:3]) == "rw-" }

// reserved memory has no permissions: a guard, or address space kept for later.
func reserved(v *vma) bool { return unnamed(v) && string(v.perms[:3]) == "---" }

// libcAddress is where glibc is mapped; 0: it is not, and has no arenas.
func libcAddress(all []vma) uint64 {
	for i := range all {
		name := all[i].name
		if all[i].origin == originFile && (strings.HasPrefix(name, "libc.so") || strings.HasPrefix(name, "libc-2.")) {
			return all[i].start
		}
	}
	return 0
}

func isArena(all []vma, i int, libc uint64) bool {
	v := &all[i]
	if libc == 0 || max(v.start, libc)-min(v.start, libc) > nearLibc {
		return false
	}
	if !writable(v) || v.start%arenaBytes != 0 || v.start < compressedEnd ||
		(v.start >= goHeapStart && v.start < goHeapEnd) {
		return false
	}
	if v.end-v.start == arenaBytes {
		return true // grown to its full size
	}
	// Neighbouring arenas merge when one has grown to its full size.
	return i+1 < len(all) && reserved(&all[i+1]) && all[i+1].start == v.end &&
		all[i+1].end%arenaBytes == 0 && all[i+1].end-v.end < arenaBytes
}

// guardOf returns the guard right below a mapping that could be a stack.
func guardOf(all []vma, i int) (*vma, bool) {
	v := &all[i]
	if i == 0 || !writable(v) {
		return nil, false
	}
	guard := &all[i-1]
	return guard, reserved(guard) && guard.end == v.start && guard.end-guard.start <= maxGuardBytes &&
		guard.kind != snapshot.MappingMallocArena
}

// alikeStacks recognises the stacks of threads that were running when asked for
// their stack pointer: guard and stack together are as large as those of a
// stack that is known.
func alikeStacks(all []vma) {
	type shape struct{ guard, whole uint64 }
	shapes := map[shape]bool{}
	each := func(visit func(guard, v *vma, s shape)) {
		for i := range all {
			if guard, ok := guardOf(all, i); ok {
				visit(guard, &all[i], shape{guard.end - guard.start, all[i].end - guard.start})
			}
		}
	}
	each(func(_, v *vma, s shape) {
		if v.kind == snapshot.MappingThreadStack {
			shapes[s] = true
		}
	})
	each(func(guard, v *vma, s shape) {
		if v.kind == "" && shapes[s] {
			v.kind, guard.kind = snapshot.MappingThreadStack, snapshot.MappingThreadStack
		}
	})
}

func isStack(all []vma, i int, pointers stackPointers, mapStackShown bool) bool {
	guard, ok := guardOf(all, i)
	if !ok {
		return false
	}
	v := &all[i]
	if pointers.in(v.start, v.end) || v.flagNoHugePage {
		return true
	}
	return !pointers.known && !mapStackShown &&
		guard.end-guard.start <= maxPlainGuard && v.end-v.start <= maxPlainStack
}
