package hprof

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dump writes records as the format lays them out.
type dump struct {
	bytes.Buffer
	id int
}

func (d *dump) u1(v ...byte) { d.Write(v) }
func (d *dump) u2(v uint16)  { _ = binary.Write(d, binary.BigEndian, v) }
func (d *dump) u4(v uint32)  { _ = binary.Write(d, binary.BigEndian, v) }
func (d *dump) u8(v uint64)  { _ = binary.Write(d, binary.BigEndian, v) }
func (d *dump) ref(v uint64) {
	if d.id == 4 {
		d.u4(uint32(v))
	} else {
		d.u8(v)
	}
}

// record is one record of every kind, with what a Visitor must be told of it.
type record struct {
	name  string
	write func(d *dump)
	want  string
}

func root(name string, tag byte, extra func(d *dump)) record {
	return record{name, func(d *dump) {
		d.u1(tag)
		d.ref(0x1230)
		if extra != nil {
			extra(d)
		}
	}, fmt.Sprintf("root %#x 0x1230", tag)}
}

func records() []record {
	two := func(d *dump) { d.u4(1); d.u4(2) }
	one := func(d *dump) { d.u4(1) }
	object := func(d *dump) { d.ref(9) }
	return []record{
		root("unknown root", RootUnknown, nil),
		root("JNI global", RootJNIGlobal, object),
		root("JNI local", RootJNILocal, two),
		root("Java frame", RootJavaFrame, two),
		root("native stack", RootNativeStack, one),
		root("sticky class", RootStickyClass, nil),
		root("thread block", RootThreadBlock, one),
		root("monitor used", RootMonitorUsed, nil),
		root("thread object", RootThreadObject, two),
		root("interned string", rootInternedString, nil),
		root("finalizing", rootFinalizing, nil),
		root("debugger", rootDebugger, nil),
		root("reference cleanup", rootRefCleanup, nil),
		root("VM internal", rootVMInternal, nil),
		root("JNI monitor", rootJNIMonitor, two),
		root("unreachable", subUnreachable, nil),
		{"heap info", func(d *dump) { d.u1(subHeapInfo); d.u4(1); d.ref(5) }, ""},
		{"primitive array without data", func(d *dump) {
			d.u1(subArrayNoData)
			d.ref(0x50)
			d.u4(0)
			d.u4(7)
			d.u1(TypeInt)
		}, "primitives 0x50 of 10: 7 []"},
		{"class", func(d *dump) {
			d.u1(subClass)
			d.ref(0x100)
			d.u4(0)
			d.ref(0x80)
			d.ref(0x90)
			for range 4 {
				d.ref(0)
			}
			d.u4(24)
			d.u2(2) // constants
			d.u2(1)
			d.u1(TypeLong)
			d.u8(1)
			d.u2(2)
			d.u1(TypeObject)
			d.ref(3)
			statics := []struct {
				typ   uint8
				write func()
			}{
				{TypeObject, func() { d.ref(0x77) }},
				{TypeBoolean, func() { d.u1(1) }},
				{TypeByte, func() { d.u1(0xfe) }},
				{TypeChar, func() { d.u2(0xfffe) }},
				{TypeShort, func() { d.u2(0xfffe) }},
				{TypeInt, func() { d.u4(0xfffffffe) }},
				{TypeLong, func() { d.u8(1 << 40) }},
				{TypeFloat, func() { d.u4(math.Float32bits(1.5)) }},
				{TypeDouble, func() { d.u8(math.Float64bits(2.5)) }},
			}
			d.u2(uint16(len(statics)))
			for i, s := range statics {
				d.ref(uint64(i))
				d.u1(s.typ)
				s.write()
			}
			d.u2(2)
			d.ref(0x20)
			d.u1(TypeObject)
			d.ref(0x21)
			d.u1(TypeInt)
		}, fmt.Sprintf("class 0x100 super 0x80 loader 0x90 size 24 statics [{0 2 119} {1 4 1} {2 8 %d} {3 5 65534} {4 9 %d} {5 10 %d} {6 11 %d} {7 6 %d} {8 7 %d}] fields [{32 2} {33 10}]",
			^uint64(1), ^uint64(1), ^uint64(1), uint64(1)<<40, math.Float32bits(1.5), math.Float64bits(2.5))},
		{"class without anything", func(d *dump) {
			d.u1(subClass)
			d.ref(0x101)
			d.u4(0)
			for range 6 {
				d.ref(0)
			}
			d.u4(0)
			d.u2(0)
			d.u2(0)
			d.u2(0)
		}, "class 0x101 super 0x0 loader 0x0 size 0 statics [] fields []"},
		{"instance", func(d *dump) {
			d.u1(subInstance)
			d.ref(0x200)
			d.u4(0)
			d.ref(0x100)
			d.u4(5)
			d.u1(1, 2, 3, 4, 5)
		}, "instance 0x200 of 0x100: [1 2 3 4 5]"},
		{"instance without fields", func(d *dump) {
			d.u1(subInstance)
			d.ref(0x208)
			d.u4(0)
			d.ref(0x100)
			d.u4(0)
		}, "instance 0x208 of 0x100: []"},
		{"object array", func(d *dump) {
			d.u1(subObjectArray)
			d.ref(0x300)
			d.u4(0)
			d.u4(3)
			d.ref(0x102)
			d.ref(1)
			d.ref(0)
			d.ref(2)
		}, "array 0x300 of 0x102: [1 0 2]"},
		{"empty object array", func(d *dump) {
			d.u1(subObjectArray)
			d.ref(0x308)
			d.u4(0)
			d.u4(0)
			d.ref(0x102)
		}, "array 0x308 of 0x102: []"},
		{"small primitive array", func(d *dump) {
			d.u1(subPrimitiveArray)
			d.ref(0x400)
			d.u4(0)
			d.u4(16)
			d.u1(TypeByte)
			d.Write(bytes.Repeat([]byte{7}, 16))
		}, "primitives 0x400 of 8: 16 [7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7]"},
		{"primitive array", func(d *dump) {
			d.u1(subPrimitiveArray)
			d.ref(0x408)
			d.u4(0)
			d.u4(40)
			d.u1(TypeLong)
			d.Write(make([]byte, 320))
		}, "primitives 0x408 of 11: 40 []"},
	}
}

// told writes down what a Decoder tells.
type told struct {
	id    int
	lines []string
	array []uint64
}

func (v *told) Root(tag byte, id uint64) {
	v.lines = append(v.lines, fmt.Sprintf("root %#x %#x", tag, id))
}

func (v *told) Class(c *ClassDump) {
	v.lines = append(v.lines, fmt.Sprintf("class %#x super %#x loader %#x size %d statics %v fields %v", c.ID, c.Super, c.Loader, c.InstanceSize, c.Statics, c.Fields))
}

func (v *told) Instance(id, class uint64, body []byte) {
	v.lines = append(v.lines, fmt.Sprintf("instance %#x of %#x: %v", id, class, body))
}

func (v *told) ObjectArray(id, class uint64, elements []byte, first, last bool) {
	if first {
		v.array = nil
	}
	for ; len(elements) > 0; elements = elements[v.id:] {
		v.array = append(v.array, ReadID(elements, v.id))
	}
	if last {
		v.lines = append(v.lines, fmt.Sprintf("array %#x of %#x: %v", id, class, v.array))
	}
}

func (v *told) PrimitiveArray(id uint64, elem uint8, length uint32, contents []byte) {
	v.lines = append(v.lines, fmt.Sprintf("primitives %#x of %d: %d %v", id, elem, length, contents))
}

func every(id int) (payload []byte, want []string) {
	d := &dump{id: id}
	for _, r := range records() {
		r.write(d)
		if r.want != "" {
			want = append(want, r.want)
		}
	}
	return d.Bytes(), want
}

// feed gives a decoder bytes in pieces of a size, as a segment that is cut.
func feed(d *Decoder, payload []byte, piece int, v Visitor) (left int, err error) {
	var held []byte
	for len(payload) > 0 {
		n := min(piece, len(payload))
		held = append(held, payload[:n]...)
		payload = payload[n:]
		used, err := d.Feed(held, v)
		if err != nil {
			return len(held), err
		}
		held = held[used:]
	}
	return len(held), nil
}

// TestEveryRecord decodes a record of every kind, whole and cut into pieces of
// every size up to a record's.
func TestEveryRecord(t *testing.T) {
	for _, id := range []int{4, 8} {
		payload, want := every(id)
		for _, piece := range []int{1, 2, 3, 5, 7, 11, 64, 100, 333, len(payload)} {
			v := &told{id: id}
			d := &Decoder{IDSize: id, Offset: 1000}
			left, err := feed(d, payload, piece, v)
			if err != nil || left > 0 || !d.Idle() {
				t.Fatalf("id %d, pieces of %d: %v, %d bytes left", id, piece, err, left)
			}
			if d.Offset != 1000+int64(len(payload)) {
				t.Errorf("id %d, pieces of %d: offset %d", id, piece, d.Offset)
			}
			if diff := cmp.Diff(want, v.lines); diff != "" {
				t.Fatalf("id %d, pieces of %d: %s", id, piece, diff)
			}
		}
	}
}

// TestCutPayload ends the payload at every byte: the records before the cut
// come, nothing after it does, and that is no error of syntax.
func TestCutPayload(t *testing.T) {
	for _, id := range []int{4, 8} {
		payload, want := every(id)
		for cut := range len(payload) {
			v := &told{id: id}
			d := &Decoder{IDSize: id}
			left, err := feed(d, payload[:cut], cut+1, v)
			if err != nil {
				t.Fatalf("id %d cut at %d: %v", id, cut, err)
			}
			if len(v.lines) > len(want) || !slices.Equal(want[:len(v.lines)], v.lines) {
				t.Fatalf("id %d cut at %d: got %q", id, cut, v.lines)
			}
			if d.Offset+int64(left) != int64(cut) {
				t.Errorf("id %d cut at %d: offset %d and %d left", id, cut, d.Offset, left)
			}
		}
	}
}

// TestSkip passes over the contents of a long array without feeding them.
func TestSkip(t *testing.T) {
	d := &dump{id: 8}
	d.u1(subPrimitiveArray)
	d.ref(0x408)
	d.u4(0)
	d.u4(math.MaxUint32)
	d.u1(TypeLong)
	v := &told{id: 8}
	dec := &Decoder{IDSize: 8}
	if _, err := dec.Feed(d.Bytes(), v); err != nil {
		t.Fatal(err)
	}
	if want := uint64(math.MaxUint32) * 8; dec.Skip() != want || dec.Idle() {
		t.Fatalf("skip %d, want %d: the length does not fit 32 bits", dec.Skip(), want)
	}
	dec.Skipped(dec.Skip())
	if !dec.Idle() || dec.Offset != int64(d.Len())+math.MaxUint32*8 {
		t.Errorf("offset %d", dec.Offset)
	}
}

// TestRefused has a record of each kind that can be wrong: the error says where.
func TestRefused(t *testing.T) {
	head := func(d *dump) { records()[0].write(d) } // a root before it
	for name, test := range map[string]struct {
		write func(d *dump)
		want  string
	}{
		"tag":              {func(d *dump) { d.u1(0x99) }, "unknown tag 0x99"},
		"instance":         {func(d *dump) { d.u1(subInstance); d.ref(1); d.u4(0); d.ref(2); d.u4(1 << 31) }, "instance of 2147483648 bytes"},
		"elements of none": {func(d *dump) { d.u1(subPrimitiveArray); d.ref(1); d.u4(0); d.u4(1); d.u1(3) }, "unknown type 3"},
		"elements of objects": {func(d *dump) {
			d.u1(subPrimitiveArray)
			d.ref(1)
			d.u4(0)
			d.u4(1)
			d.u1(TypeObject)
		}, "unknown type 2"},
		"constant": {func(d *dump) {
			d.u1(subClass)
			d.Write(make([]byte, 7*d.id+8))
			d.u2(1)
			d.u2(0)
			d.u1(200)
		}, "unknown type of a constant"},
		"static": {func(d *dump) {
			d.u1(subClass)
			d.Write(make([]byte, 7*d.id+8))
			d.u2(0)
			d.u2(1)
			d.ref(1)
			d.u1(99)
		}, "unknown type of a static"},
		"field": {func(d *dump) {
			d.u1(subClass)
			d.Write(make([]byte, 7*d.id+8))
			d.u2(0)
			d.u2(0)
			d.u2(1)
			d.ref(1)
			d.u1(1)
		}, "unknown type of a field"},
	} {
		for _, id := range []int{4, 8} {
			d := &dump{id: id}
			head(d)
			at := int64(500 + d.Len())
			test.write(d)
			d.Write(make([]byte, 64))
			_, err := (&Decoder{IDSize: id, Offset: 500}).Feed(d.Bytes(), &told{id: id})
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset != at || !strings.Contains(syntax.What, test.want) {
				t.Errorf("%s, id %d: %v; want %q at offset %d", name, id, err, test.want, at)
			}
		}
	}
}

func TestHeader(t *testing.T) {
	good := "JAVA PROFILE 1.0.2\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00"
	h, err := ParseHeader([]byte(good + "more than is needed"))
	if err != nil || h != (Header{"1.0.2", 8, len(good)}) {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err := ParseHeader([]byte(strings.Replace(good, "2\x00\x00\x00\x00\x08", "1\x00\x00\x00\x00\x04", 1))); err != nil || h.IDSize != 4 || h.Version != "1.0.1" {
		t.Errorf("%+v, %v", h, err)
	}
	for text, want := range map[string]string{
		"":                                       "not an HPROF",
		"PK\x03\x04":                             "not an HPROF",
		"JAVA PROFILE 1.0.2":                     "not an HPROF",
		good[:len(good)-1]:                       "cut off",
		"JAVA PROFILE 2.0\x00":                   "unknown HPROF version",
		strings.Replace(good, "\x08", "\x02", 1): "identifier size 2",
	} {
		var syntax *SyntaxError
		if _, err := ParseHeader([]byte(text)); !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// counter counts, and keeps nothing.
type counter struct{ n, bytes int }

func (c *counter) Root(byte, uint64)                 { c.n++ }
func (c *counter) Class(d *ClassDump)                { c.n++; c.bytes += len(d.Fields) + len(d.Statics) }
func (c *counter) Instance(_, _ uint64, body []byte) { c.n++; c.bytes += len(body) }
func (c *counter) ObjectArray(_, _ uint64, elements []byte, _, _ bool) {
	c.n++
	c.bytes += len(elements)
}

func (c *counter) PrimitiveArray(_ uint64, _ uint8, _ uint32, contents []byte) {
	c.n++
	c.bytes += len(contents)
}

// TestDecoderAllocatesNothing holds the inner loop: only classes, of which
// there are few, take memory.
func TestDecoderAllocatesNothing(t *testing.T) {
	d := &dump{id: 8}
	for _, r := range records() {
		if !strings.HasPrefix(r.name, "class") {
			r.write(d)
		}
	}
	payload := bytes.Repeat(d.Bytes(), 50)
	v := &counter{}
	dec := &Decoder{IDSize: 8}
	if n := testing.AllocsPerRun(20, func() {
		if _, err := dec.Feed(payload, v); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for %d records", n, v.n)
	}
}

// FuzzDecoder feeds the same bytes whole and in pieces: the same is told of
// them, no more of it than there are bytes, and nothing panics.
func FuzzDecoder(f *testing.F) {
	for _, id := range []int{4, 8} {
		payload, _ := every(id)
		f.Add(payload, id == 8, uint8(9))
	}
	f.Fuzz(func(t *testing.T, payload []byte, wide bool, piece uint8) {
		id := 4
		if wide {
			id = 8
		}
		whole, cut := &told{id: id}, &told{id: id}
		_, err := feed(&Decoder{IDSize: id}, payload, len(payload)+1, whole)
		_, err2 := feed(&Decoder{IDSize: id}, payload, int(piece)+1, cut)
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("whole %v, in pieces %v", err, err2)
		}
		if len(whole.lines) > len(payload) {
			t.Fatalf("%d records of %d bytes", len(whole.lines), len(payload))
		}
		if diff := cmp.Diff(whole.lines, cut.lines); diff != "" {
			t.Fatal(diff)
		}
	})
}
