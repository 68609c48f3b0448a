package heap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEngineAgainstReference holds the engine, in every way it can read a heap,
// against the walk over the plain model.
func TestEngineAgainstReference(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := randomModel(r, 20+r.IntN(200))
		reference, err := Attribute(newModelGraph(m))
		if err != nil {
			t.Fatal(err)
		}
		want := asText(t, reference)
		shapes := []shape{
			{idSize: 8, segment: 1 << 20},
			{idSize: 4, segment: 200},
			{idSize: 8, segment: 64, zeroLength: true, rootsFirst: true},
			{idSize: 8, legacy: true},
			{idSize: 8, segment: 300, shuffle: true, interleaved: r},
			{idSize: 8, segment: 300, split: true},
		}
		for i, s := range shapes {
			if s.idSize == 4 && r.IntN(2) == 0 {
				s.rootsFirst = true
			}
			dump, segments := m.encode(s)
			ways := map[string]func() (*Result, error){}
			if !s.split {
				ways["file"] = func() (*Result, error) {
					return ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{Workers: 1 + i%3})
				}
				ways["gzip"] = func() (*Result, error) {
					z := zip(dump, 512+r.IntN(4000))
					return ReadAt(t.Context(), bytes.NewReader(z), int64(len(z)), Options{Workers: 2})
				}
				ways["little memory"] = func() (*Result, error) {
					return ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{Workers: 2, MaxMemoryBytes: 1})
				}
			}
			ways["stream"] = func() (*Result, error) {
				o := Options{Workers: 2}
				if s.split {
					o.Segments = []io.Reader{&trickle{data: segments, r: rand.New(rand.NewPCG(seed, 3))}}
				}
				return ReadStream(t.Context(), &trickle{data: dump, r: rand.New(rand.NewPCG(seed, 2))}, o)
			}
			for name, read := range ways {
				got, err := read()
				if err != nil {
					t.Fatalf("seed %d, shape %+v, %s: %v", seed, s, name, err)
				}
				if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(asText(t, got), "\n")); diff != "" {
					t.Fatalf("seed %d, shape %+v, %s: %s", seed, s, name, diff)
				}
			}
		}
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
