package vmstructs

import (
	"encoding/binary"
	"errors"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// damage is one fault in an image, 12 bytes of a fuzz target's input.
type damage struct {
	kind   byte
	offset byte
	at     uint16 // which page, or which call
	value  uint64
}

const (
	flipBits  = iota // in a page
	setWord          // in a page
	losePage         // every read of it fails
	wrongWord        // in what one call reads, and in no other call
	failCall
	failFrom // this call and all after it
	damageKinds
	damageSize = 12
	maxDamages = 16
)

var readErrors = []error{unix.EFAULT, ErrNotResident, ErrGone, ErrDenied, errors.New("odd")}

func damages(input []byte) (all []damage) {
	for ; len(input) >= damageSize && len(all) < maxDamages; input = input[damageSize:] {
		all = append(all, damage{input[0] % damageKinds, input[1], binary.LittleEndian.Uint16(input[2:]), binary.LittleEndian.Uint64(input[4:])})
	}
	return all
}

func (d damage) bytes() []byte {
	b := append([]byte{d.kind, d.offset}, make([]byte, 10)...)
	binary.LittleEndian.PutUint16(b[2:], d.at)
	binary.LittleEndian.PutUint64(b[4:], d.value)
	return b
}

// with returns the image with faults. The low bits of a page fault's value
// choose the word.
func (m *image) with(all []damage) *image {
	c := &image{mappings: m.mappings, pages: maps.Clone(m.pages)}
	order := slices.Sorted(maps.Keys(m.pages))
	var calls []damage
	for _, d := range all {
		at := order[int(d.at)%len(order)]
		word := int(d.offset) * 2 % (pageSize / 8) * 8
		switch d.kind {
		case flipBits, setWord:
			page, there := c.pages[at]
			if !there {
				continue
			}
			page = slices.Clone(page)
			c.pages[at] = page
			if d.kind == flipBits {
				page[int(d.value>>8)%pageSize] ^= byte(d.value)
			} else {
				binary.LittleEndian.PutUint64(page[word:], d.value)
			}
		case losePage:
			delete(c.pages, at)
			c.mappings = slices.DeleteFunc(slices.Clone(c.mappings), func(r mapping) bool { return r.path == "" && r.start <= at && at < r.end && d.value&1 != 0 })
		default:
			calls = append(calls, d)
		}
	}
	c.fault = func(call int64, s span, read func() error) error {
		for _, d := range calls {
			hit := call%2048 == int64(d.at%2048)
			switch {
			case d.kind == failCall && hit, d.kind == failFrom && call >= int64(d.at%2048):
				return readErrors[d.value%uint64(len(readErrors))]
			case d.kind == wrongWord && hit:
				if err := read(); err != nil {
					return err
				}
				var b [8]byte
				binary.LittleEndian.PutUint64(b[:], d.value)
				copy(s.into[min(int(d.offset), max(0, len(s.into)-8)):], b[:])
				return nil
			}
		}
		return read()
	}
	return c
}

// survive reads a damaged image: with a result that is whole in itself or an
// error, in bounded time and memory.
func survive(t testing.TB, m *image) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	started := time.Now()
	tries := 1
	target, err := m.open()
	if err == nil {
		_ = target.Facts()
		var reading *Reading
		target.triesAtMost(3)
		reading, err = target.Read(t.Context(), Options{Budget: patience, Workers: 1})
		tries += reading.Tries
		switch {
		case (err == nil) != (reading.Heap != nil):
			t.Errorf("a heap: %t, with the error %v", reading.Heap != nil, err)
		case err == nil:
			consistent(t, reading)
		}
	}
	runtime.ReadMemStats(&after)
	if took := time.Since(started); took > time.Minute { // it takes 0.1 s
		t.Errorf("took %v: %v", took, err)
	}
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(tries)<<29; got > limit {
		t.Errorf("allocated %d MiB in %d tries: %v", got>>20, tries, err)
	}
}

// consistent holds what is accepted against itself.
func consistent(t testing.TB, r *Reading) {
	t.Helper()
	for _, c := range r.Heap.Checks {
		if !c.OK {
			t.Errorf("accepted with %+v", c)
		}
	}
	for _, a := range r.Heap.Allocations {
		if int(a.Holder) >= len(r.Heap.Holders) || int(a.Connection) >= len(r.Heap.Connections) || a.Bytes < 0 {
			t.Errorf("accepted with %+v", a)
		}
	}
}

func FuzzRead(f *testing.F) {
	var all []*image
	for _, name := range images {
		all = append(all, loadImage(f, name))
	}
	for kind := range byte(damageKinds) {
		f.Add(kind, damage{kind, 8, uint16(kind) * 97, 1}.bytes())
		f.Add(kind+1, damage{kind, 16, uint16(kind) * 31, 0xffff_ffff_ffff_fff8}.bytes())
	}
	f.Fuzz(func(t *testing.T, which byte, input []byte) {
		survive(t, all[int(which)%len(all)].with(damages(input)))
	})
}
