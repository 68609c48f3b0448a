package vmstructs

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/heap"
)

// settledImage is an image of a JVM, and one of its old regions.
type settledImage struct {
	*image
	layout  *layout
	region  space
	objects []object         // in the region
	buffer  object           // one of them: a direct buffer
	other   map[int32]uint64 // what the headers of instances of a size say that no scan looks for
}

func openSettled(t *testing.T, name string) settledImage {
	t.Helper()
	m := settledImage{image: loadImage(t, name), other: map[int32]uint64{}}
	target, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	j := target.j
	m.layout = j.layout
	if err := j.loadClasses(); err != nil {
		t.Fatal(err)
	}
	runs, err := j.extents()
	if err != nil {
		t.Fatal(err)
	}
	for key, k := range j.byKey {
		if k.helper > 0 && !k.isClass && heap.Wanted(j.classes, k.id) == nil {
			m.other[k.helper] = key
		}
	}
	regions := map[uint64][]object{}
	err = j.scan(t.Context(), runs, 1, visitor{visit: func(_ int, _ *scanner, o *object) (uint64, error) {
		in := spaceOf(j.spaces, o.address)
		if in.settled() {
			regions[in.start] = append(regions[in.start], *o)
			if _, ok := m.other[o.class.helper]; ok && j.classes[o.class.id].Name == "java.nio.DirectByteBuffer" {
				m.region, m.buffer = in, *o
			}
		}
		return o.address + o.size, nil
	}})
	if err != nil || m.buffer.class == nil {
		t.Fatalf("no direct buffer in an old region: %v", err)
	}
	m.objects = regions[m.region.start]
	return m
}

// tenuredTarget opens an image as a JVM whose old objects are told apart. Its
// first try ends with a collection, after which the image is another one.
func (m settledImage) tenuredTarget(t *testing.T, before, after *image) *Target {
	t.Helper()
	c := &image{mappings: m.mappings, pages: before.pages}
	target, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	ran, looks := uint32(0), 0
	c.fault = func(_ int64, s span, read func() error) error {
		if s.address != target.j.layout.collections {
			return read()
		}
		if looks++; looks > 30 { // the objects have been found by then
			ran = 1
		}
		binary.LittleEndian.PutUint32(s.into, ran)
		return nil
	}
	target.refresh = func() error {
		if !slices.ContainsFunc(target.j.tenured.stretches, func(s stretch) bool { return s.start <= m.buffer.address && m.buffer.address < s.end }) {
			t.Error("what was found in the region was not kept")
		}
		c.pages, ran, looks = after.pages, 1, 0
		return nil
	}
	// Nothing that an image has counts full collections: this never changes.
	target.j.tenured = &tenured{counter: target.j.layout.objectKlass, mixed: true, step: 4 << 10, seed: maphash.MakeSeed()}
	return target
}

// TestRefilled has a region of old objects be emptied and filled again between
// two tries: with other objects, one of which is a direct buffer, and up to the
// same address. Nothing but what the objects look like tells.
func TestRefilled(t *testing.T) {
	const name = "jdk25-g1-compact"
	m, truth := openSettled(t, name), loadTruth(t, name)
	const mark = 1 << 3 // a bit of an object's age
	old := m.image
	for _, o := range m.objects {
		old = old.set(t, o.address, m.word(o.address)^mark)
	}
	header := m.word(m.buffer.address)&(1<<42-1) | m.other[m.buffer.class.helper]<<42
	old = old.set(t, m.buffer.address, header)
	for what, before := range map[string]*image{"refilled": old, "left as it was": m.image} {
		t.Run(what, func(t *testing.T) {
			target := m.tenuredTarget(t, before, m.image)
			reading, err := target.Read(t.Context(), Options{Budget: patience, Workers: 1})
			if err != nil || reading.Tries < 2 {
				t.Fatalf("%d tries: %v, %q", reading.Tries, err, reading.Rejected)
			}
			if diff := cmp.Diff(truth, rows(reading.Heap)); diff != "" {
				t.Errorf("after %q accepted another result:\n%s", reading.Rejected, diff)
			}
			if kept := reading.Settled > 0; kept != (before == m.image) {
				t.Errorf("%d bytes were not scanned again", reading.Settled)
			}
		})
	}
}

func (m settledImage) word(address uint64) uint64 {
	return binary.LittleEndian.Uint64(m.pages[address&^(pageSize-1)][address%pageSize:])
}
