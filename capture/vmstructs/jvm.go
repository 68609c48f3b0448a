package vmstructs

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap"
)

// jvm is a running HotSpot JVM, seen from outside.
type jvm struct {
	r      *reader
	lib    *library
	tables *tables
	layout *layout
	flag   map[string]uint64

	classes []heap.Class // by ClassID
	klasses []*klass     // by ClassID
	byKey   map[uint64]*klass
	byPlace map[uint64]*klass // by address

	virtual virtual
	keys    keyRange     // of all classes
	current bool         // the classes are those of the try
	dead    atomic.Int64 // bytes of objects that were passed over, their classes being gone

	fieldsKept int
	spaces     []space  // of the heap, as they were last read
	noPauses   error    // why pauses can't be seen of a collector that does not count collections
	since      *state   // when the try began; nil where the target stood still
	tenured    *tenured // what is known of old objects; nil where that is of no use
	settles    bool     // whether it is has been looked at
}

// knownFlags are those that decide how memory is laid out, and those that a
// snapshot keeps.
var knownFlags = []string{
	"UseCompressedOops", "UseCompressedClassPointers", "UseCompactObjectHeaders", "ObjectAlignmentInBytes",
	"UseG1GC", "UseParallelGC", "UseSerialGC", "UseShenandoahGC", "UseZGC", "ZGenerational", "UseEpsilonGC", "UseConcMarkSweepGC",
	"UsePerfData", "DisableExplicitGC", "ExplicitGCInvokesConcurrent", "DisableAttachMechanism",
	"MaxDirectMemorySize", "MaxHeapSize", "InitialHeapSize", "MaxMetaspaceSize", "ReservedCodeCacheSize",
	"NativeMemoryTracking",
}

// openJVM finds the JVM in a process's memory and reads how it is laid out. It
// reads nothing of the heap.
func openJVM(m memory, mappings []mapping) (*jvm, error) {
	r := &reader{memory: m}
	lib, err := findLibrary(r, mappings, "libjvm.so")
	if err != nil {
		return nil, err
	}
	t, err := readTables(lib)
	if err != nil {
		return nil, err
	}
	l, err := newLayout(r, t)
	if err != nil {
		return nil, err
	}
	j := &jvm{r: r, lib: lib, tables: t, layout: l}
	if j.flag, err = j.flags(knownFlags...); err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	on := func(name string, absent bool) bool {
		v, ok := j.flag[name]
		if !ok {
			return absent
		}
		return v&0xff != 0
	}
	l.narrowOops = on("UseCompressedOops", false)
	l.compactHeaders = on("UseCompactObjectHeaders", false)
	// The flag is gone where classes are always compressed (27).
	l.narrowKlasses = on("UseCompressedClassPointers", true)
	l.alignment = 8
	if a := j.flag["ObjectAlignmentInBytes"] & 0xffff; a == 16 || a == 32 || a == 64 || a == 128 || a == 256 {
		l.alignment = a
	}
	if !l.narrowOops {
		l.oopBase, l.oopShift = 0, 0
	}
	if !l.narrowKlasses {
		l.klassBase, l.klassShift = 0, 0
	}
	if l.oopShift > 8 || l.klassShift > 16 {
		return nil, fmt.Errorf("%w: references shifted by %d, classes by %d", ErrUnsupported, l.oopShift, l.klassShift)
	}
	start, end := j.reserved()
	l.partsOf(end - start)
	if j.collector() == "Z" {
		// The flag came with 21 and went with 24: before, no pointer is coloured
		// in a way that matters here; since, all are.
		_, isNew := t.find("CompressedOops::_base")
		l.coloured = on("ZGenerational", isNew)
	}
	if j.collector() == "Shenandoah" {
		if j.noPauses = j.findPauses(); j.noPauses != nil && !errors.Is(j.noPauses, ErrUnsupported) {
			return nil, j.noPauses
		}
	}
	return j, nil
}

// decode turns a reference as it stands in memory into an address, 0 for null.
func (l *layout) decode(raw uint64) uint64 {
	switch {
	case l.coloured:
		// The address is above the lowest bit set of 12 to 15, which say how far
		// the collector is (generational ZGC; zAddress.hpp).
		for bit := 12; bit < 16; bit++ {
			if raw>>bit&1 != 0 {
				return raw >> (bit + 1)
			}
		}
		return 0
	case raw == 0 || !l.narrowOops:
		return raw
	}
	return l.oopBase + raw<<l.oopShift
}

// klassKey turns the address of a Klass into what the headers of its objects
// say.
func (l *layout) klassKey(address uint64) uint64 {
	if !l.narrowKlasses {
		return address
	}
	return (address - l.klassBase) >> l.klassShift
}

// klassAt is the address of the Klass that a key stands for.
func (l *layout) klassAt(key uint64) uint64 {
	if !l.narrowKlasses {
		return key
	}
	return l.klassBase + key<<l.klassShift
}

// keyOf is what the headers of a class's objects say.
func (j *jvm) keyOf(c heap.ClassID) uint64 { return j.layout.klassKey(j.klasses[c].address) }

// headerSize is how many bytes of an object tell its class and, of an array,
// its length.
func (l *layout) headerSize() int {
	switch {
	case l.compactHeaders:
		return 12
	case l.narrowKlasses:
		return 16
	}
	return 20
}

// smallest is the size of the smallest object, which holds its class.
func (l *layout) smallest() uint64 {
	if l.compactHeaders {
		return 8
	}
	return 16
}
