package vmstructs

import (
	"errors"
	"fmt"
	"strings"
)

// layout is where this JVM keeps what is read, in offsets and addresses. The
// tables of libjvm.so give them; where a name has changed, the names of all
// JDKs are tried in turn.
type layout struct {
	collectedHeap uint64   // address of the CollectedHeap
	gcActive      uint64   // address of its flag
	collections   uint64   // address of its counter
	pauses        []uint64 // addresses of the counters of safepoints; none where collections are counted
	objectKlass   uint64
	typeArrays    []uint64 // addresses of static Klass* of arrays of primitives

	oopBase, oopShift     uint64
	klassBase, klassShift uint64
	narrowOops            bool
	narrowKlasses         bool
	compactHeaders        bool   // the class is in the mark word
	coloured              bool   // references tell a collector's progress too
	alignment             uint64 // of objects
	partShift             uint32 // from a reference's token to the part of the heap that a reach tells apart

	klass struct {
		size                                                            uint64 // of an InstanceKlass
		name, super, subklass, sibling, layoutHelper, mirror, vtableLen uint64
		arrayKlasses, higherDimension, itableLen, oopMapSize, constants uint64
		javaFields, fieldStream, fieldsCount                            uint64
		mirrorIsHandle                                                  bool
		hasStream                                                       bool
	}
	poolHeader               uint64 // size of a ConstantPool before its slots
	symbolLength, symbolBody uint64

	mirrorKlass, mirrorSize, mirrorStatics uint64 // offsets in a java.lang.Class

	threads struct {
		list, length, array uint64 // ThreadsList, where there is one
		first, next         uint64 // else a linked list
		object              uint64
		objectIsHandle      bool
		tlabTop, tlabEnd    uint64
		stackBase, stackLen uint64
		lastSP              uint64
	}
	flags struct {
		at, count, stride, name, address uint64
	}
}

// find returns the first of these fields that there is.
func (t *tables) find(names ...string) (vmField, bool) {
	for _, n := range names {
		if f, ok := t.fields[n]; ok {
			return f, true
		}
	}
	return vmField{}, false
}

// resolver looks up what a layout needs and notes what is missing.
type resolver struct {
	t       *tables
	missing []error
}

func (r *resolver) field(names ...string) vmField {
	f, ok := r.t.find(names...)
	if !ok {
		r.missing = append(r.missing, fmt.Errorf("%w: no field %s in the tables of this JVM", ErrUnsupported, strings.Join(names, " or ")))
	}
	return f
}

func (r *resolver) offset(names ...string) uint64 { return r.field(names...).offset }

// at returns the address of a static field.
func (r *resolver) at(names ...string) uint64 { return r.field(names...).at }

// wellKnown finds the static Klass* of a class that the JVM itself uses: an
// element of an array, by an expression that differs between JDKs.
func (r *resolver) wellKnown(class string) uint64 {
	for name, f := range r.t.fields {
		before, _, ok := strings.Cut(name, class+"_klass_knum")
		if ok && f.static && strings.HasSuffix(before, "::") {
			return f.at
		}
	}
	r.missing = append(r.missing, fmt.Errorf("%w: no class %s in the tables of this JVM", ErrUnsupported, class))
	return 0
}

// newLayout resolves a layout and reads the few values that do not change
// while a JVM runs.
func newLayout(r *reader, t *tables) (*layout, error) {
	f := &resolver{t: t}
	l := &layout{}
	l.collectedHeap = r.u64(f.at("Universe::_collectedHeap"))
	l.gcActive = l.collectedHeap + f.offset("CollectedHeap::_is_gc_active", "CollectedHeap::_is_stw_gc_active")
	l.collections = l.collectedHeap + f.offset("CollectedHeap::_total_collections")

	// Universe (8, 11), CompressedOops._narrow_oop (17, 21), CompressedOops (25 on).
	l.oopBase = r.u64(f.at("CompressedOops::_narrow_oop._base", "CompressedOops::_base", "Universe::_narrow_oop._base"))
	l.oopShift = uint64(r.u32(f.at("CompressedOops::_narrow_oop._shift", "CompressedOops::_shift", "Universe::_narrow_oop._shift")))
	l.klassBase = r.u64(f.at("CompressedKlassPointers::_narrow_klass._base", "CompressedKlassPointers::_base", "Universe::_narrow_klass._base"))
	l.klassShift = uint64(r.u32(f.at("CompressedKlassPointers::_narrow_klass._shift", "CompressedKlassPointers::_shift", "Universe::_narrow_klass._shift")))

	// SystemDictionary (8, 11), vmClasses (17 on).
	l.objectKlass = r.u64(f.wellKnown("Object"))
	for name, field := range t.fields {
		// Universe::_boolArrayKlassObj (8, 11, 17); later not in the tables.
		if field.static && strings.HasPrefix(name, "Universe::_") && strings.HasSuffix(name, "ArrayKlassObj") {
			l.typeArrays = append(l.typeArrays, field.at)
		}
	}

	k := &l.klass
	k.size = t.types["InstanceKlass"].size
	k.name, k.super = f.offset("Klass::_name"), f.offset("Klass::_super")
	k.subklass, k.sibling = f.offset("Klass::_subklass"), f.offset("Klass::_next_sibling")
	k.layoutHelper = f.offset("Klass::_layout_helper")
	mirror := f.field("Klass::_java_mirror")
	k.mirror, k.mirrorIsHandle = mirror.offset, mirror.typ == "OopHandle"
	k.vtableLen = f.offset("Klass::_vtable_len", "InstanceKlass::_vtable_len")
	k.itableLen = f.offset("InstanceKlass::_itable_len")
	k.oopMapSize = f.offset("InstanceKlass::_nonstatic_oop_map_size")
	k.constants = f.offset("InstanceKlass::_constants")
	k.arrayKlasses = f.offset("InstanceKlass::_array_klasses")
	k.higherDimension = f.offset("ArrayKlass::_higher_dimension")
	if stream, ok := t.find("InstanceKlass::_fieldinfo_stream"); ok {
		k.fieldStream, k.hasStream = stream.offset, true // 21 on
	} else {
		k.javaFields, k.fieldsCount = f.offset("InstanceKlass::_fields"), f.offset("InstanceKlass::_java_fields_count")
	}
	l.poolHeader = t.types["ConstantPool"].size
	l.symbolLength, l.symbolBody = f.offset("Symbol::_length"), f.offset("Symbol::_body", "Symbol::_body[0]")

	l.mirrorKlass = uint64(r.u32(f.at("java_lang_Class::_klass_offset")))
	l.mirrorSize = uint64(r.u32(f.at("java_lang_Class::_oop_size_offset")))
	l.mirrorStatics = uint64(r.u32(f.at("java_lang_Class::_static_oop_field_count_offset")))

	l.resolveThreads(r, f)
	l.resolveFlags(r, f)
	if err := errors.Join(f.missing...); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	if k.size == 0 || k.size > 4096 || l.poolHeader == 0 || l.poolHeader > 4096 || l.mirrorKlass > 4096 || l.mirrorSize > 4096 || l.mirrorStatics > 4096 {
		return nil, fmt.Errorf("%w: the sizes in the tables of this JVM make no sense", ErrUnsupported)
	}
	return l, nil
}

func (l *layout) resolveThreads(r *reader, f *resolver) {
	t := &l.threads
	if list, ok := f.t.find("ThreadsSMRSupport::_java_thread_list"); ok {
		t.list = list.at
		t.length, t.array = f.offset("ThreadsList::_length"), f.offset("ThreadsList::_threads")
	} else { // 8
		t.first, t.next = f.at("Threads::_thread_list"), f.offset("JavaThread::_next")
	}
	object := f.field("JavaThread::_threadObj")
	t.object, t.objectIsHandle = object.offset, object.typ == "OopHandle"
	tlab := f.offset("Thread::_tlab")
	t.tlabTop, t.tlabEnd = tlab+f.offset("ThreadLocalAllocBuffer::_top"), tlab+f.offset("ThreadLocalAllocBuffer::_end")
	t.stackBase, t.stackLen = f.offset("JavaThread::_stack_base", "Thread::_stack_base"), f.offset("JavaThread::_stack_size", "Thread::_stack_size")
	t.lastSP = f.offset("JavaThread::_anchor") + f.offset("JavaFrameAnchor::_last_Java_sp")
}

func (l *layout) resolveFlags(r *reader, f *resolver) {
	l.flags.at = r.u64(f.at("JVMFlag::flags", "Flag::flags"))
	l.flags.count = r.u64(f.at("JVMFlag::numFlags", "Flag::numFlags"))
	l.flags.name = f.offset("JVMFlag::_name", "Flag::_name")
	l.flags.address = f.offset("JVMFlag::_addr", "Flag::_addr")
	for _, name := range []string{"JVMFlag", "Flag"} {
		if typ, ok := f.t.types[name]; ok && l.flags.stride == 0 {
			l.flags.stride = typ.size
		}
	}
	if l.flags.count > 1<<14 || l.flags.stride == 0 || l.flags.stride > 256 {
		r.fail(fmt.Errorf("%w: %d flags of %d bytes", ErrUnsupported, l.flags.count, l.flags.stride))
	}
}
