package vmstructs

import (
	"encoding/binary"
	"fmt"

	"github.com/leakscope/leakscope/heap"
)

const (
	maxFields  = 1 << 14 // of one class
	maxKept    = 1 << 22 // of all classes together, inherited ones counted again
	accStatic  = 0x0008
	ffInit     = 1 << 0 // flags of an entry of the field stream (21 on)
	ffInjected = 1 << 1
	ffGeneric  = 1 << 2
	ffGroup    = 1 << 4
)

// rawField is a field as the class file's constant pool names it.
type rawField struct {
	name, signature uint16 // slots of the constant pool
	offset          uint32
	static          bool
}

// loadFields reads the fields of classes and of their superclasses, where that
// has not been done yet.
func (j *jvm) loadFields(ks []*klass) error {
	var todo []*klass
	for _, k := range ks {
		for steps := 0; k != nil && !k.loaded && steps < maxSupers; steps++ {
			k.loaded = true
			switch {
			case k.helper < 0: // an array
			case k.fields == 0 || k.pool == 0:
				return fmt.Errorf("the class %s has no fields yet, or no more", j.classes[k.id].Name)
			default:
				todo = append(todo, k)
			}
			k = j.byPlace[k.super]
		}
	}
	if len(todo) == 0 {
		return nil
	}
	raws, err := j.rawFields(todo)
	if err != nil {
		return fmt.Errorf("fields: %w", err)
	}
	var slots []uint64
	for i, k := range todo {
		if err := j.keep(len(raws[i])); err != nil {
			return err
		}
		for _, f := range raws[i] {
			slots = append(slots, k.pool+j.layout.poolHeader+8*uint64(f.name), k.pool+j.layout.poolHeader+8*uint64(f.signature))
		}
	}
	words, err := j.words(slots)
	if err != nil {
		return fmt.Errorf("names of fields: %w", err)
	}
	texts, err := j.readSymbols(words)
	if err != nil {
		return fmt.Errorf("names of fields: %w", err)
	}
	at := 0
	for i, k := range todo {
		for _, f := range raws[i] {
			field := javaField{heap.Field{Name: texts[at], Type: fieldType(texts[at+1])}, f.offset}
			at += 2
			switch {
			case field.Type == 0:
				return fmt.Errorf("%w: field %s of %s has the type %q", ErrUnsupported, field.Name, j.classes[k.id].Name, texts[at-1])
			case f.static:
				k.statics = append(k.statics, field)
			default:
				k.own = append(k.own, field)
			}
		}
		j.classes[k.id].Fields, k.whole = k.instanceFields(), true
	}
	return nil
}

// keep counts fields that are kept.
func (j *jvm) keep(n int) error {
	if j.fieldsKept += n; j.fieldsKept > maxKept {
		return fmt.Errorf("%w: more than %d fields", ErrUnsupported, maxKept)
	}
	return nil
}

// words reads 8 bytes at each address.
func (j *jvm) words(at []uint64) ([]uint64, error) {
	raw := make([]byte, 8*len(at))
	spans := make([]span, len(at))
	for i, a := range at {
		spans[i] = span{a, raw[8*i : 8*i+8]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, err
	}
	out := make([]uint64, len(at))
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return out, nil
}

// rawFields reads the field tables: u2 six-tuples up to 17, a stream of
// variable-length numbers from 21 on.
func (j *jvm) rawFields(ks []*klass) ([][]rawField, error) {
	lengths := make([]byte, 4*len(ks))
	spans := make([]span, len(ks))
	for i, k := range ks {
		spans[i] = span{k.fields, lengths[4*i : 4*i+4]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, err
	}
	const data = 4 // offset of the elements of an Array<u1> and Array<u2>
	tables := make([][]byte, len(ks))
	total := 0
	for i, k := range ks {
		n := int(int32(binary.LittleEndian.Uint32(lengths[4*i:])))
		if n < 0 || n > 16*maxFields {
			return nil, fmt.Errorf("%w: a table of %d fields of %s", ErrUnsupported, n, j.classes[k.id].Name)
		}
		if !j.layout.klass.hasStream {
			n *= 2
		}
		if total += n; total > maxDescribed {
			return nil, errTooMuch("tables of fields")
		}
		tables[i] = make([]byte, n)
		spans[i] = span{k.fields + data, tables[i]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, err
	}
	out := make([][]rawField, len(ks))
	for i, k := range ks {
		var err error
		if j.layout.klass.hasStream {
			out[i], err = decodeFieldStream(tables[i])
		} else {
			out[i], err = decodeFieldTuples(tables[i], k.count)
		}
		if err != nil {
			return nil, fmt.Errorf("fields of %s: %w", j.classes[k.id].Name, err)
		}
	}
	return out, nil
}

// decodeFieldTuples decodes FieldInfo::field_slots (6) u2 for each field: access
// flags, name, signature, initial value, and the offset in two halves whose
// lowest two bits are a tag.
func decodeFieldTuples(b []byte, n int) ([]rawField, error) {
	const slots = 6
	if len(b) < n*slots*2 {
		return nil, fmt.Errorf("%w: %d bytes for %d fields", ErrUnsupported, len(b), n)
	}
	out := make([]rawField, 0, n)
	for ; n > 0; n-- {
		u2 := func(i int) uint16 { return binary.LittleEndian.Uint16(b[2*i:]) }
		out = append(out, rawField{
			static: u2(0)&accStatic != 0, name: u2(1), signature: u2(2),
			offset: (uint32(u2(5))<<16 | uint32(u2(4))) >> 2,
		})
		b = b[slots*2:]
	}
	return out, nil
}

// decodeFieldStream decodes UNSIGNED5 numbers: how many fields, how many
// injected ones, then for each the name, signature, offset, access flags and
// flags, and up to three more that the flags announce. Injected fields have no
// names in the constant pool and are left out.
func decodeFieldStream(b []byte) ([]rawField, error) {
	bad := false
	next := func() uint32 {
		v, n := unsigned5(b)
		if n == 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	java, injected := next(), next()
	if java > maxFields || injected > maxFields {
		return nil, fmt.Errorf("%w: %d fields", ErrUnsupported, java)
	}
	out := make([]rawField, 0, java)
	for range java + injected {
		f := rawField{name: uint16(next()), signature: uint16(next()), offset: next()}
		access, flags := next(), next()
		for _, extra := range []uint32{ffInit, ffGeneric, ffGroup} {
			if flags&extra != 0 {
				next()
			}
		}
		f.static = access&accStatic != 0
		if flags&ffInjected == 0 {
			out = append(out, f)
		}
	}
	if bad {
		return nil, fmt.Errorf("%w: the stream of fields ends early", ErrUnsupported)
	}
	return out, nil
}

// unsigned5 decodes one number and returns how many bytes it takes, 0 for none:
// 1 to 5 bytes, none of them 0, the last one below 192 or the fifth.
func unsigned5(b []byte) (value uint32, n int) {
	for n < len(b) && n < 5 {
		c := b[n]
		if c == 0 {
			return 0, 0
		}
		value += uint32(c-1) << (6 * n)
		n++
		if c < 192 || n == 5 {
			return value, n
		}
	}
	return 0, 0
}

// fieldType tells a field's type by its signature, 0 for none.
func fieldType(signature string) heap.Type {
	if signature == "" {
		return 0
	}
	switch signature[0] {
	case 'L', '[':
		return heap.Object
	case 'Z':
		return heap.Boolean
	case 'C':
		return heap.Char
	case 'F':
		return heap.Float
	case 'D':
		return heap.Double
	case 'B':
		return heap.Byte
	case 'S':
		return heap.Short
	case 'I':
		return heap.Int
	case 'J':
		return heap.Long
	}
	return 0
}

// width is how many bytes a field of a type takes.
func (l *layout) width(t heap.Type) int {
	switch t {
	case heap.Object:
		return l.oopSize()
	case heap.Boolean, heap.Byte:
		return 1
	case heap.Char, heap.Short:
		return 2
	case heap.Int, heap.Float:
		return 4
	}
	return 8
}

func (l *layout) oopSize() int {
	if l.narrowOops {
		return 4
	}
	return 8
}

// value reads a field of an object's bytes, sign-extended. A reference is
// decoded to its address.
func (l *layout) value(object []byte, f javaField) (uint64, bool) {
	if int(f.offset)+l.width(f.Type) > len(object) {
		return 0, false
	}
	b := object[f.offset:]
	switch f.Type {
	case heap.Object:
		if l.narrowOops {
			return l.decode(uint64(binary.LittleEndian.Uint32(b))), true
		}
		return l.decode(binary.LittleEndian.Uint64(b)), true
	case heap.Boolean:
		return uint64(b[0] & 1), true
	case heap.Byte:
		return uint64(int8(b[0])), true
	case heap.Char:
		return uint64(binary.LittleEndian.Uint16(b)), true
	case heap.Short:
		return uint64(int16(binary.LittleEndian.Uint16(b))), true
	case heap.Int:
		return uint64(int32(binary.LittleEndian.Uint32(b))), true
	case heap.Float:
		return uint64(binary.LittleEndian.Uint32(b)), true
	}
	return binary.LittleEndian.Uint64(b), true
}

// fieldsOf returns all fields of a class's objects: its own first, then its
// superclass's, and so on up, as heap.Layout numbers them.
func (j *jvm) fieldsOf(k *klass) ([]javaField, error) {
	if !k.allRead {
		if err := j.loadFields([]*klass{k}); err != nil {
			return nil, err
		}
		k.all = nil
		for c, steps := k, 0; c != nil && steps < maxSupers; c, steps = j.byPlace[c.super], steps+1 {
			if err := j.keep(len(c.own)); err != nil {
				return nil, err
			}
			k.all = append(k.all, c.own...)
		}
		k.allRead = true
	}
	return k.all, nil
}
