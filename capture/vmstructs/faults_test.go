package vmstructs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// set returns the image with a word, or what fits of it into its page, changed.
func (m *image) set(t testing.TB, address, value uint64) *image {
	t.Helper()
	at := address &^ (pageSize - 1)
	page, ok := m.pages[at]
	if !ok {
		t.Fatalf("0x%x is not in the image", address)
	}
	c := &image{mappings: m.mappings, pages: maps.Clone(m.pages), fault: m.fault}
	c.pages[at] = slices.Clone(page)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], value)
	copy(c.pages[at][address%pageSize:], b[:])
	return c
}

// patience is a budget that no reading of an image needs.
const patience = 5 * time.Minute

// errEnough ends a reading that was tried often enough.
var errEnough = errors.New("tried often enough")

// triesAtMost ends a reading after some tries, whatever time they take.
func (t *Target) triesAtMost(n int) {
	t.refresh = func() error {
		if n--; n == 0 {
			return errEnough
		}
		return nil
	}
}

// stride is how many faults a test leaves out after each. LEAKSCOPE_TEST_FAULTS
// in the environment has none left out.
func stride(n int64) int64 {
	if os.Getenv("LEAKSCOPE_TEST_FAULTS") != "" {
		return 1
	}
	return max(n, 1)
}

// opened returns an image, what a reading of it says, and the JVM in it.
func opened(t testing.TB, name string) (m *image, truth []string, target *Target) {
	t.Helper()
	m, truth = loadImage(t, name), loadTruth(t, name)
	target, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	return m, truth, target
}

// exactOrError reads an image and accepts what the undamaged one gives, and any
// error, but no other result.
func exactOrError(t testing.TB, m *image, truth []string) error {
	t.Helper()
	target, err := m.open()
	if err != nil {
		return err
	}
	target.triesAtMost(3)
	reading, err := target.Read(t.Context(), Options{Budget: patience, Workers: 1})
	if (err == nil) != (reading.Heap != nil) {
		t.Errorf("a heap: %t, with the error %v", reading.Heap != nil, err)
	}
	if errors.Is(err, errEnough) {
		err = fmt.Errorf("%w: %s", err, reading.Rejected[0])
	}
	if err == nil {
		if diff := cmp.Diff(truth, rows(reading.Heap)); diff != "" {
			t.Errorf("accepted another result:\n%.500s", diff)
		}
	}
	return err
}

// TestReadsFail has one read after another fail once: the try is thrown away
// and the next one is exact. An error that got lost on the way would shorten
// the result.
func TestReadsFail(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			m, truth := loadImage(t, name), loadTruth(t, name)
			if err := exactOrError(t, m, truth); err != nil {
				t.Fatal(err)
			}
			calls := m.cost().Calls
			again, failed := 0, 0
			for n := int64(1); n <= calls; n += stride(calls / 20) {
				c := &image{mappings: m.mappings, pages: m.pages}
				c.fault = func(call int64, _ span, read func() error) error {
					if call == n {
						return io.ErrUnexpectedEOF
					}
					return read()
				}
				if err := exactOrError(t, c, truth); err == nil {
					again++
				} else {
					failed++
				}
				if t.Failed() {
					t.Fatalf("call %d of %d failed", n, calls)
				}
			}
			t.Logf("%d calls, %d tried again, %d failed", calls, again, failed)
			if again < failed {
				t.Errorf("%d were tried again, %d failed", again, failed)
			}
		})
	}
}

// TestCollections has collections run while an image is read.
func TestCollections(t *testing.T) {
	name := images[0]
	m, truth := loadImage(t, name), loadTruth(t, name)
	target, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	l := target.j.layout
	const running, ran = "a collection was running", "a collection ran meanwhile"
	// read reads the image; active and count say what the n-th look at the flag
	// and at the counter finds.
	read := func(t *testing.T, active func(n int) bool, count func(n int) uint32) (reading *Reading, flags, counts int, err error) {
		c := &image{mappings: m.mappings, pages: m.pages}
		target, err := c.open()
		if err != nil {
			t.Fatal(err)
		}
		c.fault = func(_ int64, s span, read func() error) error {
			switch s.address {
			case l.gcActive:
				clear(s.into)
				if active(flags) {
					s.into[0] = 1
				}
				flags++
			case l.collections:
				binary.LittleEndian.PutUint32(s.into, count(counts))
				counts++
			default:
				return read()
			}
			return nil
		}
		target.triesAtMost(4)
		reading, err = target.Read(t.Context(), Options{Budget: patience, Workers: 1})
		return reading, flags, counts, err
	}
	never, once := func(int) bool { return false }, func(int) uint32 { return 1 }
	exact := func(t *testing.T, tries int, active func(n int) bool, count func(n int) uint32) (flags, counts int) {
		t.Helper()
		reading, flags, counts, err := read(t, active, count)
		if err != nil || reading.Tries != tries {
			t.Fatalf("%d tries, want %d: %v, %q", reading.Tries, tries, err, reading.Rejected)
		}
		if diff := cmp.Diff(truth, rows(reading.Heap)); diff != "" {
			t.Error(diff)
		}
		for _, reason := range reading.Rejected {
			if reason != running && reason != ran {
				t.Errorf("rejected for %q", reason)
			}
		}
		return flags, counts
	}
	flags, counts := exact(t, 1, never, once)
	t.Logf("%d looks at the flag, %d at the counter", flags, counts)
	if flags < 5 || counts < 5 {
		t.Fatal("too few to see anything")
	}
	// One collection, seen at one look after another: at the first, in the
	// middle, at the last.
	for n := flags - 1; n >= 0; n -= int(stride(15)) {
		exact(t, 2, func(at int) bool { return at == n }, once)
	}
	for n := counts - 1; n > 0; n -= int(stride(15)) { // all of it was before the first look
		exact(t, 2, never, func(at int) uint32 { return uint32(min(at/n, 1)) })
	}
	for what, always := range map[string]struct {
		active func(int) bool
		count  func(int) uint32
	}{
		"one that goes on": {func(int) bool { return true }, once},
		"ever more":        {never, func(n int) uint32 { return uint32(n) }},
		"one in each try":  {never, func(n int) uint32 { return uint32(n / 2) }},
	} {
		reading, _, _, err := read(t, always.active, always.count)
		if !errors.Is(err, errEnough) || reading.Heap != nil {
			t.Errorf("%s: %d tries, %v", what, reading.Tries, err)
		}
	}
}

// TestUnstable has a budget end before a reading can be accepted.
func TestUnstable(t *testing.T) {
	m := loadImage(t, images[0])
	target, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	target, err = m.set(t, target.j.layout.gcActive, 1).open()
	if err != nil {
		t.Fatal(err)
	}
	reading, err := target.Read(t.Context(), Options{Budget: 50 * time.Millisecond})
	if !errors.Is(err, ErrUnstable) || reading.Heap != nil || !strings.Contains(err.Error(), "a collection was running") {
		t.Errorf("%d tries, %v", reading.Tries, err)
	}
}

// TestTables damages what libjvm.so says of itself.
func TestTables(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			m, truth, target := opened(t, name)
			for _, table := range []string{"Structs", "Types", "IntConstants", "LongConstants"} {
				entry := map[string]string{"Structs": "StructEntry", "Types": "TypeEntry", "IntConstants": "IntConstantEntry", "LongConstants": "LongConstantEntry"}[table]
				variables := map[string][]uint64{
					"gHotSpotVM" + table:                 {0, 8, 0xffff_ffff_ffff_ff00, 1 << 46, target.j.lib.base},
					"gHotSpotVM" + entry + "ArrayStride": {0, 1, 7, 1 << 40, 0xffff_ffff_ffff_ffff},
				}
				if table != "IntConstants" && table != "LongConstants" {
					variables["gHotSpotVM"+entry+"TypeNameOffset"] = []uint64{1 << 20, 0xffff_ffff_ffff_ffff}
				}
				for symbol, values := range variables {
					at, ok := target.j.lib.symbol(symbol)
					if !ok {
						t.Fatalf("no symbol %s", symbol)
					}
					for _, value := range values {
						if err := exactOrError(t, m.set(t, at, value), truth); err == nil {
							t.Errorf("read with %s = 0x%x", symbol, value)
						}
					}
				}
			}
		})
	}
}

// TestNamesMissing takes the name of one field of the tables after another away.
func TestNamesMissing(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			m, truth, target := opened(t, name)
			missed := 0
			fields := slices.DeleteFunc(slices.Sorted(maps.Keys(target.j.tables.fields)), func(full string) bool {
				typ, _, _ := strings.Cut(full, "::")
				return !needed[typ]
			})
			for i := int64(0); i < int64(len(fields)); i += stride(7) {
				full := fields[i]
				_, field, _ := strings.Cut(full, "::")
				c := m.without(t, field)
				if err := exactOrError(t, c, truth); err != nil {
					missed++
					if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNotHotSpot) && !errors.Is(err, errEnough) {
						t.Errorf("without %s: %v", full, err)
					}
				}
				if t.Failed() {
					t.Fatalf("without %s", full)
				}
			}
			if missed < 3 {
				t.Errorf("%d of %d fields are needed", missed, len(fields)/int(stride(7)))
			}
		})
	}
}

// TestHandlesDamaged damages where JNI global references are.
func TestHandlesDamaged(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			m, truth, target := opened(t, name)
			j := target.j
			global := j.tables.fields["JNIHandles::_global_handles"].at
			storage := j.r.u64(global)
			const inStorage = 8 // oopStorage.hpp: behind its name
			array := j.r.u64(storage + inStorage)
			block := j.r.u64(array + arrayHeader)
			if found, err := j.handles(); err != nil || len(found) == 0 || block == 0 {
				t.Fatalf("%d handles, a block at 0x%x: %v", len(found), block, err)
			}
			for _, damage := range []struct{ at, value uint64 }{
				{global, 0x10},
				{global, storage + 8},
				{global, 1 << 46},
				{storage + inStorage, 0},
				{storage + inStorage, 1},
				{storage + inStorage, storage},
				{array, 0},
				{array + 8, 0},
				{array + 8, 1 << 40},
				{array, 1 << 40},
				{array + arrayHeader, 0},
				{array + arrayHeader, 4},
				{array + arrayHeader, storage},
				{block + 8*(placesInBlock+1), 0},
			} {
				err := exactOrError(t, m.set(t, damage.at, damage.value), truth)
				if (damage != struct{ at, value uint64 }{array, 1 << 40}) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, errEnough) {
					t.Errorf("0x%x set to 0x%x: %v", damage.at, damage.value, err)
				}
			}
			// Places that are free lead nowhere, or to what was held once.
			_ = exactOrError(t, m.set(t, block+8*placesInBlock, 1<<64-1), truth)
		})
	}
}

// needed are types whose fields a reading asks for.
var needed = map[string]bool{}

func init() {
	for _, t := range strings.Fields("JNIHandles Klass InstanceKlass ArrayKlass Symbol ConstantPool CollectedHeap Universe CompressedOops CompressedKlassPointers JVMFlag " +
		"Thread JavaThread ThreadLocalAllocBuffer ThreadsSMRSupport ThreadsList JavaFrameAnchor java_lang_Class vmClasses Generation DefNewGeneration TenuredGeneration " +
		"ContiguousSpace Space SerialHeap GenCollectedHeap G1CollectedHeap G1HeapRegion HeapRegion G1HeapRegionManager HeapRegionManager G1HeapRegionTable G1HeapRegionType") {
		needed[t] = true
	}
}

// without returns the image with a C string changed wherever it stands.
func (m *image) without(t testing.TB, text string) *image {
	t.Helper()
	c := &image{mappings: m.mappings, pages: maps.Clone(m.pages)}
	word := "\x00" + text + "\x00"
	for at, page := range m.pages {
		if in, ok := m.mapped(at); !ok || in.path == "" {
			continue
		}
		for i := strings.Index(string(page), word); i >= 0; {
			page = slices.Clone(page)
			page[i+1] ^= 1
			c.pages[at] = page
			i = strings.Index(string(page), word)
		}
	}
	return c
}

// TestStructures damages what the JVM keeps of classes, threads and the heap.
func TestStructures(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			m, truth, target := opened(t, name)
			if _, err := target.Read(t.Context(), Options{}); err != nil {
				t.Fatal(err)
			}
			j := target.j
			k := &j.layout.klass
			class := map[string]uint64{}
			for _, c := range j.klasses {
				class[j.classes[c.id].Name] = c.address
			}
			runs, err := j.extents()
			if err != nil {
				t.Fatal(err)
			}
			object, buffer, session := class["java.lang.Object"], class["java.nio.DirectByteBuffer"], class["Owners$Session"]
			list := j.layout.threads
			array := j.r.u64(list.list)
			header := uint64(8)
			if j.layout.compactHeaders {
				header = 0
			}
			damaged := map[string][2]uint64{
				"an odd class":                     {object + k.subklass, object + 3},
				"a class in the heap":              {object + k.subklass, runs[0].start},
				"a class nowhere":                  {object + k.subklass, 8},
				"a class list with a ring":         {object + k.sibling, session},
				"a superclass of itself":           {buffer + k.super, buffer},
				"superclasses in a ring":           {object + k.super, buffer},
				"objects of no size":               {buffer + k.layoutHelper, 1},
				"objects of 2 GB":                  {buffer + k.layoutHelper, 0x7fff_fff8},
				"objects of 8 bytes":               {buffer + k.layoutHelper, 8},
				"arrays of 2^63 bytes an element":  {class["byte[]"] + k.layoutHelper, 0xc010_003f},
				"arrays without a header":          {class["byte[]"] + k.layoutHelper, 0xc000_0000},
				"references of 1 byte":             {class["java.lang.Object[]"] + k.layoutHelper, 0x8010_0000},
				"a vtable of 2^31 words":           {buffer + k.vtableLen, 0x7fff_ffff},
				"a table of fields nowhere":        {buffer + k.javaFields + k.fieldStream, 1 << 46},
				"no constants":                     {buffer + k.constants, 0},
				"a constant pool in the heap":      {buffer + k.constants, runs[0].start},
				"a name nowhere":                   {session + k.name, 16},
				"a class without a mirror":         {session + k.mirror, 1 << 45},
				"a million threads":                {array + list.length, 1 << 20},
				"no threads":                       {array + list.array, 0},
				"a list of threads nowhere":        {list.list, 1 << 45},
				"a class of a heap object nowhere": {runs[0].start + header, 0xffff_ffff_ffff_ffff},
			}
			for _, what := range slices.Sorted(maps.Keys(damaged)) {
				place := damaged[what]
				err := exactOrError(t, m.set(t, place[0], place[1]), truth)
				if err == nil && what != "a class list with a ring" {
					t.Errorf("%s: accepted", what)
				}
				t.Logf("%s: %v", what, err)
			}
		})
	}
}
