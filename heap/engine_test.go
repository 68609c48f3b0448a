package heap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/heap/hprof"
)

// compare holds the engine, in every way it can read the heap written in a
// shape, against the walk over the plain model.
func compare(t *testing.T, m *model, s shape, r *rand.Rand) {
	t.Helper()
	reference, err := Attribute(newModelGraph(m))
	if err != nil {
		t.Fatal(err)
	}
	want := asText(t, reference)
	dump, segments := m.encode(s)
	workers := 1 + r.IntN(3)
	ways := map[string]func() (*Result, error){
		"stream": func() (*Result, error) {
			o := Options{Workers: workers}
			if s.split {
				o.Segments = []io.Reader{&trickle{data: segments, r: rand.New(rand.NewPCG(r.Uint64(), 3))}}
			}
			return ReadStream(t.Context(), &trickle{data: dump, r: rand.New(rand.NewPCG(r.Uint64(), 2))}, o)
		},
	}
	ways["stream, classes told"] = func() (*Result, error) {
		o := Options{Workers: workers, Describe: m.describe}
		if s.split {
			o.Segments = []io.Reader{&trickle{data: segments, r: rand.New(rand.NewPCG(r.Uint64(), 3))}}
		}
		return ReadStream(t.Context(), &trickle{data: dump, r: rand.New(rand.NewPCG(r.Uint64(), 2))}, o)
	}
	if s.cut {
		delete(ways, "stream, classes told")
		delete(ways, "stream") // needs one decoder from the start: the JVM never streams such a dump
	}
	if !s.split {
		z := zip(dump, 512+r.IntN(4000))
		for name, o := range map[string]Options{"": {Workers: workers}, ", little memory": {Workers: workers, MaxMemoryBytes: 1}} {
			ways["file"+name] = func() (*Result, error) { return ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), o) }
			ways["gzip"+name] = func() (*Result, error) { return ReadAt(t.Context(), bytes.NewReader(z), int64(len(z)), o) }
		}
	}
	for name, read := range ways {
		got, err := read()
		if err != nil {
			t.Fatalf("shape %+v, %s: %v", s, name, err)
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(asText(t, got), "\n")); diff != "" {
			t.Fatalf("shape %+v, %s: %s", s, name, diff)
		}
	}
}

// describe tells of all classes of the model.
func (m *model) describe() []KnownClass {
	var all []KnownClass
	for _, c := range m.classes {
		k := KnownClass{ID: c.id, Name: c.name, Fields: c.fields}
		if c.super >= 0 {
			k.Super = m.classes[c.super].id
		}
		all = append(all, k)
	}
	return all
}

// TestDescribe streams a dump whose classes come behind all objects, as the JVM
// writes it since 22: told of the classes, nothing is put aside. What was told
// wrongly is seen when the dump describes them itself.
func TestDescribe(t *testing.T) {
	b := newBuilder()
	channel := b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"state": 2})
	b.root(b.object("sun.nio.ch.SelectionKeyImpl", map[string]uint64{"channel": channel, "attachment": b.buffer(0x1000000, 100)}), 0x01)
	m := b.build()
	dump, _ := m.encode(shape{idSize: 8, segment: 1 << 20, classesLast: true})
	read := func(describe func() []KnownClass) (*Result, int) {
		calls := 0
		r, err := ReadStream(t.Context(), bytes.NewReader(dump), Options{Workers: 2, Describe: func() []KnownClass {
			calls++
			return describe()
		}})
		if err != nil {
			t.Fatal(err)
		}
		return r, calls
	}
	r, calls := read(m.describe)
	if !r.Complete || calls != 1 || len(r.Allocations) != 1 || r.Allocations[0].Fate != FateConnection {
		t.Errorf("%d calls, %+v", calls, r)
	}
	if r, _ := read(func() []KnownClass { return nil }); !r.Complete || len(r.Allocations) != 1 {
		t.Errorf("told nothing: %+v", r)
	}
	r, _ = read(func() []KnownClass {
		all := m.describe()
		for i := range all {
			if all[i].Name == "sun.nio.ch.SelectionKeyImpl" {
				all[i].Fields = slices.Clone(all[i].Fields)
				slices.Reverse(all[i].Fields)
			}
		}
		return all
	})
	if r.Complete || !strings.Contains(r.Reason, "sun.nio.ch.SelectionKeyImpl") {
		t.Errorf("told wrongly: complete %v, %s", r.Complete, r.Reason)
	}
}

func TestEngineAgainstReference(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := randomModel(r, 20+r.IntN(150))
		for _, s := range []shape{
			{idSize: 8, segment: 1 << 20},
			{idSize: 4, segment: 200, rootsFirst: r.IntN(2) == 0},
			{idSize: 8, segment: 64, zeroLength: true, rootsFirst: true},
			{idSize: 8, legacy: true},
			{idSize: 8, segment: 300, classesLast: true},
			{idSize: 8, segment: 300, shuffle: true, interleaved: r},
			{idSize: 8, segment: 300, split: true},
			{idSize: 8, segment: 1 + r.IntN(500), cut: true},
		} {
			compare(t, m, s, r)
		}
	}
}

// FuzzAgainstReference draws heaps and shapes of dumps.
func FuzzAgainstReference(f *testing.F) {
	f.Add(uint64(1), uint8(30), uint16(100), uint8(0))
	f.Add(uint64(2), uint8(60), uint16(40), uint8(0b1111))
	f.Add(uint64(3), uint8(20), uint16(7), uint8(0b100000))
	f.Fuzz(func(t *testing.T, seed uint64, size uint8, segment uint16, flags uint8) {
		r := rand.New(rand.NewPCG(seed, 8))
		m := randomModel(r, 1+int(size))
		flag := func(i int) bool { return flags>>i&1 != 0 }
		s := shape{
			idSize: 8, segment: 1 + int(segment), shuffle: flag(0), rootsFirst: flag(1), zeroLength: flag(2),
			legacy: flag(3) && !flag(4), split: flag(4), cut: flag(5) && !flag(4), interleaved: r,
		}
		if flag(6) {
			s.idSize = 4
		}
		compare(t, m, s, r)
	})
}

// TestWideAddresses moves a heap to where ZGC and heaps above 32 GB put theirs:
// what is found of it stays the same.
func TestWideAddresses(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 12))
		m := randomModel(r, 150)
		for name, place := range map[string]func(id uint64) uint64{
			"above 2^35":       func(id uint64) uint64 { return 1<<35 + id },
			"ZGC's colours":    func(id uint64) uint64 { return 1<<42 + id<<9 },
			"spread over 2^44": func(id uint64) uint64 { return id * 0x9e3779b9 << 3 & (1<<44 - 1) },
			"no multiple of 8": func(id uint64) uint64 { return 1<<43 + id*16 + 4 },
		} {
			moved := m.move(place)
			compare(t, moved, shape{idSize: 8, segment: 500}, r)
			here, err := Attribute(newModelGraph(m))
			if err != nil {
				t.Fatal(err)
			}
			dump, _ := moved.encode(shape{idSize: 8, segment: 500})
			there, err := ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			amounts := func(r *Result) (out []string) {
				for _, a := range r.Allocations {
					out = append(out, fmt.Sprintf("%x %d %s %s", a.Address, a.Bytes, a.Kind, a.Fate))
				}
				return out
			}
			if diff := cmp.Diff(amounts(here), amounts(there)); diff != "" && name != "spread over 2^44" {
				// Where objects change their order another of several equally
				// short paths may be shown, and shared memory told otherwise.
				t.Errorf("seed %d, %s: %s", seed, name, diff)
			}
			if here.Retainers.Bytes != there.Retainers.Bytes {
				t.Errorf("seed %d, %s: %d bytes are retained, %d there", seed, name, here.Retainers.Bytes, there.Retainers.Bytes)
			}
		}
	}
}

// TestMaxMemory holds that a limit which the references don't fit into has the
// dump read again rather than fail, and with the same result.
func TestMaxMemory(t *testing.T) {
	b := newBuilder()
	next := uint64(0)
	for i := range 150_000 {
		fields := map[string]uint64{"a": next}
		if i == 0 {
			fields["b"] = b.buffer(0x1000000, 100)
		}
		next = b.object("app.Node", fields)
	}
	b.static("app.Registry", "first", next)
	dump, _ := b.build().encode(shape{idSize: 8, segment: 1 << 20})
	read := func(limit int64) (string, int64) {
		in := &countingReaderAt{r: bytes.NewReader(dump)}
		r, err := ReadAt(t.Context(), in, int64(len(dump)), Options{Workers: 2, MaxMemoryBytes: limit})
		if err != nil {
			t.Fatal(err)
		}
		return asText(t, r), in.n.Load()
	}
	free, once := read(0)
	limited, again := read(1 << 20)
	if free != limited {
		t.Error(cmp.Diff(free, limited))
	}
	if size := int64(len(dump)); once > size+size/4 || again < 3*size {
		t.Errorf("of %d bytes %d were read without a limit, %d with one", size, once, again)
	}
}

type countingReaderAt struct {
	r io.ReaderAt
	n atomic.Int64
}

func (c *countingReaderAt) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.r.ReadAt(p, offset)
	c.n.Add(int64(n))
	return n, err
}

// TestWrappedLength reads a dump whose one record is longer than its 32-bit
// length can say: an array of 4.8 GB, most of which is never read.
func TestWrappedLength(t *testing.T) {
	b := newBuilder()
	b.static("app.Registry", "field", b.buffer(0x1000000, 100))
	small, _ := b.build().encode(shape{idSize: 8, legacy: true})
	at := bytes.LastIndex(small, []byte{hprof.TagHeapDumpEnd, 0, 0, 0, 0, 0, 0, 0, 0})
	start := 31 // after the header
	for small[start] != hprof.TagHeapDump {
		start += hprof.RecordHeaderSize + int(binary.BigEndian.Uint32(small[start+5:]))
	}
	array := []byte{0x23, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x23, 0xc3, 0x46, 0, hprof.TypeLong} // 600,000,000 longs
	hole := int64(0x23c34600) * 8
	head := slices.Concat(small[:at], array)
	length := int64(len(head)-start-hprof.RecordHeaderSize) + hole
	binary.BigEndian.PutUint32(head[start+5:], uint32(length))
	in := &holed{head: head, hole: hole, tail: small[at:]}
	for _, workers := range []int{1, 2} {
		in.n.Store(0)
		r, err := ReadAt(t.Context(), in, in.size(), Options{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Complete || len(r.Allocations) != 1 || r.Bytes < hole {
			t.Errorf("complete %v (%s), %d allocations, %d bytes", r.Complete, r.Reason, len(r.Allocations), r.Bytes)
		}
		if n := in.n.Load(); n > 4<<20 {
			t.Errorf("%d bytes were read", n)
		}
	}
}

// holed is a file with a hole of zeros.
type holed struct {
	head, tail []byte
	hole       int64
	n          atomic.Int64
}

func (h *holed) size() int64 { return int64(len(h.head)) + h.hole + int64(len(h.tail)) }

func (h *holed) ReadAt(p []byte, offset int64) (int, error) {
	n := int(min(int64(len(p)), h.size()-offset))
	if n <= 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	if offset < int64(len(h.head)) {
		copy(p[:n], h.head[offset:])
	}
	if tail := int64(len(h.head)) + h.hole; offset+int64(n) > tail {
		if offset >= tail {
			copy(p[:n], h.tail[offset-tail:])
		} else {
			copy(p[tail-offset:n], h.tail)
		}
	}
	h.n.Add(int64(n))
	return n, nil
}

// TestInnerLoopAllocatesNothing decodes and filters instances and arrays that
// can hold nothing of interest, and such as can, without a single allocation.
func TestInnerLoopAllocatesNothing(t *testing.T) {
	b := newBuilder()
	target := b.object("app.Node", nil)
	m := b.build()
	red := newReduction(8, 0)
	red.start(target)
	dump, _ := m.encode(shape{idSize: 8, segment: 1 << 20})
	w := red.newReducer()
	node := m.classes[b.byName["app.Node"]].id
	array := m.classes[b.byName["java.lang.Object[]"]].id
	f := &file{r: bytes.NewReader(dump), size: int64(len(dump)), header: hprof.Header{IDSize: 8, Size: 31}, red: red}
	if err := f.index(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.segment(&hprof.Decoder{IDSize: 8}, w, f.segments[0], make([]byte, 1<<16), nil, &f.report); err != nil {
		t.Fatal(err)
	}
	empty, full := make([]byte, 28), make([]byte, 28)
	binary.BigEndian.PutUint64(full, node)
	elements := slices.Concat(full[:8], full[:8])
	step := func() {
		for i := range uint64(1000) {
			w.Instance(target+8*i, node, empty)
			w.Instance(target+8*i, node, full)
			w.ObjectArray(target+8*i, array, elements, true, true)
			w.PrimitiveArray(target+8*i, hprof.TypeInt, 3, nil)
		}
		w.flush()
		w.out.srcs, w.out.kinds, w.out.masks, w.out.targets = w.out.srcs[:0], w.out.kinds[:0], w.out.masks[:0], w.out.targets[:0]
	}
	step()
	if n := testing.AllocsPerRun(20, step); n > 0 {
		t.Errorf("%v allocations for 4,000 records", n)
	}
}

// trickle hands out its bytes in small pieces, as a pipe does.
type trickle struct {
	data []byte
	r    *rand.Rand
}

func (t *trickle) Read(p []byte) (int, error) {
	if len(t.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, t.data[:min(len(t.data), 1+t.r.IntN(700))])
	t.data = t.data[n:]
	return n, nil
}

// TestFates is one heap with an allocation of each fate that plain buffers have.
func TestFates(t *testing.T) {
	b := newBuilder()
	channel := b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"fdVal": 9, "state": 2})
	attached := b.object("app.Node", map[string]uint64{"a": b.buffer(0x1000000, 100)})
	key := b.object("sun.nio.ch.SelectionKeyImpl", map[string]uint64{"channel": channel, "attachment": attached})
	b.root(key, 0x01)

	closed := b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"fdVal": 9, "state": 4, "closed": 1})
	entry := b.object("java.util.HashMap$Node", map[string]uint64{"key": closed, "value": b.buffer(0x2000000, 200)})
	named := b.object("java.util.HashMap$Node", map[string]uint64{"key": 0, "value": b.buffer(0x3000000, 300), "next": 0})
	b.static("app.Registry", "byChannel", b.object("java.util.HashMap", map[string]uint64{"table": b.array(entry)}))
	b.static("app.Registry", "byName", b.object("java.util.HashMap", map[string]uint64{"table": b.array(named)}))
	b.buffer(0x4000000, 400) // garbage: only its Cleaner knows it
	b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x1000010, "capacity": 16, "att": b.buffer(0x5000000, 500)})

	m := b.build()
	dump, _ := m.encode(shape{idSize: 8, segment: 1 << 20})
	r, err := ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range r.Allocations {
		line := fmt.Sprintf("%d %s", a.Bytes, a.Fate)
		if a.Holder >= 0 {
			line += " " + strings.Join(r.Holders[a.Holder].Path, " > ")
		}
		got = append(got, line)
	}
	want := []string{
		"100 connection sun.nio.ch.SelectionKeyImpl.attachment > app.Node.a",
		"200 connection app.Registry.byChannel > java.util.HashMap$Node.value",
		"300 application app.Registry.byName > java.util.HashMap$Node.value",
		"400 unreachable",
		"500 unreachable",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCutDumps cuts a dump at many places: what was read is kept, nothing
// fails, and only the whole one is complete.
func TestCutDumps(t *testing.T) {
	m := randomModel(rand.New(rand.NewPCG(1, 1)), 120)
	dump, _ := m.encode(shape{idSize: 8, segment: 256})
	whole, err := ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{})
	if err != nil || !whole.Complete {
		t.Fatal(err, whole.Reason)
	}
	for cut := 40; cut < len(dump); cut += 1 + cut/37 {
		for name, read := range map[string]func() (*Result, error){
			"file": func() (*Result, error) {
				return ReadAt(t.Context(), bytes.NewReader(dump[:cut]), int64(cut), Options{})
			},
			"stream": func() (*Result, error) {
				return ReadStream(t.Context(), bytes.NewReader(dump[:cut]), Options{})
			},
		} {
			r, err := read()
			if err != nil {
				t.Fatalf("%s cut at %d: %v", name, cut, err)
			}
			if r.Complete || !strings.Contains(r.Reason, "offset") {
				t.Errorf("%s cut at %d of %d: complete %v, reason %q", name, cut, len(dump), r.Complete, r.Reason)
			}
			if len(r.Allocations) > len(whole.Allocations) {
				t.Errorf("%s cut at %d: %d allocations, the whole dump has %d", name, cut, len(r.Allocations), len(whole.Allocations))
			}
		}
	}
}

func TestNoDump(t *testing.T) {
	for _, text := range []string{"", "hello, this is no heap dump at all, whatever its name says", "JAVA PROFILE 9.9.9\x00\x00\x00\x00\x08aaaaaaaabbbb"} {
		if _, err := ReadAt(t.Context(), strings.NewReader(text), int64(len(text)), Options{}); err == nil {
			t.Errorf("%q was read", text)
		}
		if _, err := ReadStream(t.Context(), strings.NewReader(text), Options{}); err == nil {
			t.Errorf("%q was read as a stream", text)
		}
	}
	if _, err := ReadFile(t.Context(), "testdata/none.hprof", Options{}); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestCancelled(t *testing.T) {
	m := randomModel(rand.New(rand.NewPCG(1, 1)), 100)
	dump, _ := m.encode(shape{idSize: 8, segment: 256})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadAt(ctx, bytes.NewReader(dump), int64(len(dump)), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// FuzzRead damages dumps: reading never panics, and never holds more than the
// input can explain.
func FuzzRead(f *testing.F) {
	for seed := range uint64(3) {
		m := randomModel(rand.New(rand.NewPCG(seed, 9)), 15)
		for _, s := range []shape{{idSize: 8, segment: 1 << 20}, {idSize: 4, segment: 128}, {idSize: 8, legacy: true}} {
			dump, _ := m.encode(s)
			f.Add(dump)
			f.Add(zip(dump, 600))
		}
	}
	f.Fuzz(func(t *testing.T, dump []byte) {
		r, err := ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{Workers: 2})
		if err == nil {
			for _, a := range r.Allocations {
				if int(a.Holder) >= len(r.Holders) || int(a.Connection) >= len(r.Connections) {
					t.Fatalf("allocation %+v points nowhere", a)
				}
			}
		}
		_, _ = ReadStream(t.Context(), bytes.NewReader(dump), Options{Workers: 2})
	})
}

// TestLongChain has a chain with a buffer at each of its links: paths are made
// in a time that grows with the chain, not with its square, and stay short.
func TestLongChain(t *testing.T) {
	b := newBuilder()
	b.class("app.Link", "java.lang.Object", "next", "buffer")
	b.class("app.Odd", "java.lang.Object", "link", "buffer")
	const links = 60_000
	next, far := uint64(0), uint64(0)
	for i := range links {
		buffer := b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x1000000 + uint64(i)<<8, "capacity": 8})
		next = b.object("app.Link", map[string]uint64{"next": next, "buffer": buffer})
		if i < links/10 {
			// Steps that don't repeat at once: the path gets as long as the chain.
			buffer = b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x90000000 + uint64(i)<<8, "capacity": 8})
			far = b.object("app.Node", map[string]uint64{"a": b.object("app.Odd", map[string]uint64{"link": far, "buffer": buffer})})
		}
	}
	b.static("app.Registry", "first", next)
	b.static("app.Registry", "far", far)
	r := b.read(t)
	if len(r.Allocations) != links+links/10 {
		t.Fatalf("%d allocations", len(r.Allocations))
	}
	seen := map[string]bool{}
	for _, h := range r.Holders {
		if len(h.Path) > maxSteps || h.Root != "static" {
			t.Fatalf("%d steps, root %q", len(h.Path), h.Root)
		}
		seen[strings.Join(h.Path, " > ")] = true
	}
	for _, want := range []string{
		"app.Registry.first > app.Link.buffer",
		"app.Registry.first > app.Link.next… > app.Link.buffer",
		"app.Registry.far > app.Node.a > app.Odd.buffer",
		"app.Registry.far > app.Node.a > app.Odd.link > app.Node.a > app.Odd.buffer",
		"app.Registry.far > " + strings.Repeat("app.Node.a > app.Odd.link > ", 9) + "app.Node.a > … > " +
			strings.Repeat("app.Odd.link > app.Node.a > ", 9) + "app.Odd.buffer",
	} {
		if !seen[want] {
			t.Errorf("no path %s", want)
		}
	}
}
