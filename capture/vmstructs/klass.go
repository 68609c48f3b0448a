package vmstructs

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/heap"
)

// klass is a loaded class as the JVM keeps it.
type klass struct {
	address uint64
	super   uint64
	mirror  uint64 // address of its java.lang.Class object
	symbol  uint64 // its name
	pool    uint64 // its constant pool
	fields  uint64 // how its fields are laid out
	higher  uint64 // the class of arrays of it
	count   int    // of its fields, where that is told apart
	helper  int32  // the layout helper: sizes of its objects
	vtable  int32
	itable  int32
	mapSize int32 // of its oop maps, in words
	id      heap.ClassID
	maps    []oopMap
	isClass bool // it is java.lang.Class: its objects differ in size
	isChunk bool // it is jdk.internal.vm.StackChunk: so do its
	array   bool // of references

	loaded  bool // own and statics are read, or are being
	whole   bool // they are
	own     []javaField
	statics []javaField
	all     []javaField // own ones, then those of the superclasses
	allRead bool

	strong     []int32 // numbers of fields that are strong references
	strongRead bool
}

// oopMap is a run of references in an object.
type oopMap struct{ offset, count uint32 }

// javaField is a field and where it is in an object, or in the mirror.
type javaField struct {
	heap.Field
	offset uint32
}

// Limits of what describes classes; JVMs stay far below.
const (
	maxClasses   = 1 << 20
	maxSupers    = 1 << 10  // superclasses of one class
	maxInstance  = 1 << 20  // bytes of an object that is no array
	maxDescribed = 64 << 20 // bytes of all names, or of all oop maps, or of all tables of fields
	klassBatch   = 1 << 12  // structures that are read at once
)

// errTooMuch says that what describes classes has no sensible size.
func errTooMuch(what string) error {
	return fmt.Errorf("%w: more than %d bytes of %s", ErrUnsupported, maxDescribed, what)
}

// loadClasses walks the class hierarchy down from java.lang.Object and reads
// names, superclasses, mirrors and sizes of objects. Arrays hang off their
// element classes.
func (j *jvm) loadClasses() error {
	before := j.byPlace
	j.byKey, j.byPlace = map[uint64]*klass{}, map[uint64]*klass{}
	j.klasses, j.classes = nil, nil
	j.fieldsKept, j.keys = 0, keyRange{}
	frontier := []uint64{j.layout.objectKlass}
	for _, at := range j.layout.typeArrays {
		frontier = append(frontier, j.r.u64(at))
	}
	seen := map[uint64]bool{0: true}
	var all []*klass
	for len(frontier) > 0 {
		var todo []uint64
		for _, a := range frontier {
			if !seen[a] {
				seen[a] = true
				todo = append(todo, a)
			}
		}
		if len(all)+len(todo) > maxClasses {
			return fmt.Errorf("%w: more than %d classes", ErrUnsupported, maxClasses)
		}
		frontier = frontier[:0]
		for some := range slices.Chunk(todo, klassBatch) {
			ks, next, err := j.readKlasses(some)
			if err != nil {
				return fmt.Errorf("classes: %w", err)
			}
			all, frontier = append(all, ks...), append(frontier, next...)
		}
	}
	if err := j.addClasses(all); err != nil {
		return err
	}
	if err := j.keepFields(before); err != nil {
		return err
	}
	return j.findVirtual()
}

// keepFields takes over what was read of the fields of classes that are still there:
// these do not change.
func (j *jvm) keepFields(before map[uint64]*klass) error {
	for _, k := range j.klasses {
		b := before[k.address]
		if b == nil || !b.whole || b.symbol != k.symbol || b.fields != k.fields || b.pool != k.pool || b.count != k.count || b.super != k.super || b.helper != k.helper {
			continue
		}
		if err := j.keep(len(b.own) + len(b.statics)); err != nil {
			return err
		}
		k.loaded, k.whole = true, true
		k.own, k.statics = b.own, b.statics
		j.classes[k.id].Fields = b.instanceFields()
	}
	return nil
}

// instanceFields are the fields that a class declares, as heap.Class has them.
func (k *klass) instanceFields() []heap.Field {
	fields := make([]heap.Field, len(k.own))
	for n, f := range k.own {
		fields[n] = f.Field
	}
	return fields
}

// readKlasses reads Klass structures, and the addresses of those they lead to.
func (j *jvm) readKlasses(at []uint64) (ks []*klass, next []uint64, err error) {
	l := &j.layout.klass
	size := int(l.size)
	raw := make([]byte, size*len(at))
	spans := make([]span, len(at))
	for i, a := range at {
		if a%8 != 0 {
			return nil, nil, fmt.Errorf("%w: a class at 0x%x", ErrUnsupported, a)
		}
		spans[i] = span{a, raw[i*size : (i+1)*size]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, nil, err
	}
	for i, a := range at {
		b := raw[i*size : (i+1)*size]
		word := func(o uint64) uint64 { return field64(b, min(o, l.size)) }
		half := func(o uint64) int32 { return int32(uint32(word(o))) }
		k := &klass{address: a, super: word(l.super), symbol: word(l.name), mirror: word(l.mirror), helper: half(l.layoutHelper), id: heap.NoClass}
		if k.symbol == 0 {
			return nil, nil, fmt.Errorf("%w: a class at 0x%x without a name", ErrUnsupported, a)
		}
		if !j.layout.sensible(k.helper) {
			return nil, nil, fmt.Errorf("%w: a class at 0x%x with the layout helper 0x%x", ErrUnsupported, a, uint32(k.helper))
		}
		next = append(next, word(l.subklass), word(l.sibling))
		if k.helper < 0 {
			k.array = k.helper>>30 == -2
			next = append(next, word(l.higherDimension))
		} else {
			k.pool, k.vtable, k.itable = word(l.constants), half(l.vtableLen), half(l.itableLen)
			k.mapSize, k.higher = half(l.oopMapSize), word(l.arrayKlasses)
			if l.hasStream {
				k.fields = word(l.fieldStream)
			} else {
				k.fields, k.count = word(l.javaFields), int(uint16(half(l.fieldsCount)))
			}
			next = append(next, k.higher)
		}
		ks = append(ks, k)
	}
	return ks, next, nil
}

// sensible tells whether sizes computed by a layout helper make sense, see
// measure.
func (l *layout) sensible(helper int32) bool {
	switch shift, base := helper&0xff, helper>>16&0xff; {
	case helper >= 0:
		return helper == 0 || helper >= 8 && helper <= maxInstance
	case helper>>30 == -2: // an array of references
		return base >= 12 && base <= 32 && 1<<shift == l.oopSize()
	default:
		return base >= 12 && base <= 32 && shift <= 3
	}
}

// readMirrors reads again where the mirrors of all classes are: a collection
// moves them.
func (j *jvm) readMirrors() error {
	slots := make([]uint64, len(j.klasses))
	for i, k := range j.klasses {
		slots[i] = k.address + j.layout.klass.mirror
	}
	words, err := j.words(slots)
	if err != nil {
		return fmt.Errorf("mirrors of classes: %w", err)
	}
	for i, k := range j.klasses {
		k.mirror = words[i]
	}
	return j.resolveMirrors(j.klasses)
}

// resolveMirrors follows the handles of mirrors, where a class has a handle.
func (j *jvm) resolveMirrors(ks []*klass) error {
	if j.layout.klass.mirrorIsHandle {
		raw := make([]byte, 8*len(ks))
		var spans []span
		for i, k := range ks {
			if k.mirror != 0 {
				spans = append(spans, span{k.mirror, raw[8*i : 8*i+8]})
			}
		}
		if err := j.r.read(spans); err != nil {
			return fmt.Errorf("mirrors of classes: %w", err)
		}
		for i, k := range ks {
			k.mirror = binary.LittleEndian.Uint64(raw[8*i:])
			if j.layout.coloured {
				k.mirror = j.layout.decode(k.mirror)
			}
		}
	}
	return nil
}

// addClasses reads names, mirrors and oop maps of classes and numbers them.
func (j *jvm) addClasses(ks []*klass) error {
	names, err := j.symbols(ks, func(k *klass) uint64 { return k.symbol })
	if err != nil {
		return fmt.Errorf("names of classes: %w", err)
	}
	if err := j.resolveMirrors(ks); err != nil {
		return err
	}
	if err := j.readOopMaps(ks); err != nil {
		return fmt.Errorf("oop maps: %w", err)
	}
	for i, k := range ks {
		k.id = heap.ClassID(len(j.klasses))
		k.isClass = names[i] == "java.lang.Class"
		j.klasses = append(j.klasses, k)
		j.classes = append(j.classes, heap.Class{Name: names[i], Super: heap.NoClass, Mirror: heap.None})
		j.byPlace[k.address] = k
		key := j.layout.klassKey(k.address)
		j.byKey[key] = k
		j.keys.add(key)
	}
	for _, k := range ks {
		if s, ok := j.byPlace[k.super]; ok {
			j.classes[k.id].Super = s.id
		}
	}
	return j.checkSupers()
}

// checkSupers makes sure that every chain of superclasses ends.
func (j *jvm) checkSupers() error {
	depth := make([]int, len(j.classes)) // 0: not known yet
	var chain []heap.ClassID
	for c := range j.classes {
		chain = chain[:0]
		at := heap.ClassID(c)
		for ; at != heap.NoClass && depth[at] == 0 && len(chain) <= maxSupers; at = j.classes[at].Super {
			chain = append(chain, at)
		}
		below := len(chain)
		if at != heap.NoClass {
			below += depth[at]
		}
		if below > maxSupers {
			return fmt.Errorf("%w: the class %s has more than %d superclasses", ErrUnsupported, j.classes[c].Name, maxSupers)
		}
		for i, at := range chain {
			depth[at] = below - i
		}
	}
	return nil
}

// readOopMaps reads where the references of instances are: behind the class's
// vtable and itable.
func (j *jvm) readOopMaps(ks []*klass) error {
	var spans []span
	raws := make([][]byte, len(ks))
	total := 0
	for i, k := range ks {
		if k.helper < 0 || k.mapSize == 0 {
			continue
		}
		if k.vtable < 0 || k.itable < 0 || k.mapSize < 0 || k.vtable > 1<<20 || k.itable > 1<<20 || k.mapSize > 1<<14 {
			return fmt.Errorf("%w: a class at 0x%x with odd tables", ErrUnsupported, k.address)
		}
		if total += 8 * int(k.mapSize); total > maxDescribed {
			return errTooMuch("oop maps")
		}
		raws[i] = make([]byte, 8*k.mapSize)
		spans = append(spans, span{k.address + j.layout.klass.size + 8*uint64(k.vtable) + 8*uint64(k.itable), raws[i]})
	}
	if err := j.r.read(spans); err != nil {
		return err
	}
	for i, k := range ks {
		for b := raws[i]; len(b) >= 8; b = b[8:] {
			m := oopMap{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
			if size := uint32(k.helper) &^ 7; !k.isClass && (m.count == 0 || m.offset > size || m.count > size/4 || m.offset+m.count*4 > size) {
				return fmt.Errorf("%w: a class at 0x%x with odd oop maps", ErrUnsupported, k.address)
			}
			k.maps = append(k.maps, m)
		}
	}
	return nil
}

// symbols reads the names that symbols of classes hold, in the Java form.
func (j *jvm) symbols(ks []*klass, of func(*klass) uint64) ([]string, error) {
	at := make([]uint64, len(ks))
	for i, k := range ks {
		at[i] = of(k)
	}
	texts, err := j.readSymbols(at)
	if err != nil {
		return nil, err
	}
	for i := range texts {
		texts[i] = javaName(texts[i])
	}
	return texts, nil
}

// readSymbols reads Symbol structures: a length and as many bytes.
func (j *jvm) readSymbols(at []uint64) ([]string, error) {
	index := map[uint64]int{}
	var unique []uint64
	for _, a := range at {
		if _, ok := index[a]; !ok && a != 0 {
			index[a] = len(unique)
			unique = append(unique, a)
		}
	}
	lengths := make([]byte, 2*len(unique))
	spans := make([]span, len(unique))
	for i, a := range unique {
		spans[i] = span{a + j.layout.symbolLength, lengths[2*i : 2*i+2]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, err
	}
	bodies := make([][]byte, len(unique))
	total := 0
	for i, a := range unique {
		if total += int(binary.LittleEndian.Uint16(lengths[2*i:])); total > maxDescribed {
			return nil, errTooMuch("names")
		}
		bodies[i] = make([]byte, binary.LittleEndian.Uint16(lengths[2*i:]))
		spans[i] = span{a + j.layout.symbolBody, bodies[i]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, err
	}
	out := make([]string, len(at))
	for i, a := range at {
		if a != 0 {
			out[i] = strings.ToValidUTF8(string(bodies[index[a]]), "?")
		}
	}
	return out, nil
}

var primitives = map[byte]string{
	'Z': "boolean", 'C': "char", 'F': "float", 'D': "double",
	'B': "byte", 'S': "short", 'I': "int", 'J': "long",
}

// javaName turns "java/lang/Thread", "[I" and "[Ljava/lang/Object;" into Java's
// own way to write them.
func javaName(name string) string {
	inner := strings.TrimLeft(name, "[")
	dimensions := len(name) - len(inner)
	if dimensions > 0 {
		if p, ok := primitives[append([]byte(inner), 0)[0]]; ok && len(inner) == 1 {
			inner = p
		} else {
			inner = strings.TrimSuffix(strings.TrimPrefix(inner, "L"), ";")
		}
	}
	return strings.ReplaceAll(inner, "/", ".") + strings.Repeat("[]", dimensions)
}
