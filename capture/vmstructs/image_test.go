package vmstructs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/heap"
)

// image is the memory of a JVM as it was read once: a memory that needs no
// process, and that faults can be put into.
type image struct {
	mappings []mapping
	pages    map[uint64][]byte // by address
	counted

	// fault is asked before each span is read, and may change what it gave.
	fault func(call int64, s span, read func() error) error
}

func (m *image) mapped(address uint64) (mapping, bool) { return findMapping(m.mappings, address) }

func (m *image) read(spans []span) error {
	call := m.calls.Add(1)
	for _, s := range spans {
		read := func() error { return m.copy(s) }
		var err error
		if m.fault != nil {
			err = m.fault(call, s, read)
		} else {
			err = read()
		}
		if err != nil {
			return err
		}
		m.bytes.Add(int64(len(s.into)))
	}
	return nil
}

// copy reads one span. As in a process, what is mapped and was never touched is
// zero unless it is of a file.
func (m *image) copy(s span) error {
	for into, at := s.into, s.address; len(into) > 0; {
		n := min(len(into), int(pageSize-at%pageSize))
		if page, ok := m.pages[at&^(pageSize-1)]; ok {
			copy(into[:n], page[at%pageSize:])
		} else if in, ok := m.mapped(at); ok && in.readable && in.path == "" {
			clear(into[:n])
		} else {
			return fmt.Errorf("0x%x: %w", at, unix.EFAULT)
		}
		into, at = into[n:], at+uint64(n)
	}
	return nil
}

func (m *image) residentPages(address uint64, n int, out []bool) error {
	for i := range n {
		_, out[i] = m.pages[address&^(pageSize-1)+uint64(i)*pageSize]
	}
	return nil
}

// open opens the JVM of an image.
func (m *image) open() (*Target, error) {
	j, err := openJVM(m, m.mappings)
	if err != nil {
		return nil, err
	}
	return &Target{j: j, refresh: func() error { return nil }, same: func() error { return nil }}, nil
}

// The file of an image is compressed by Zstandard. All numbers are unsigned
// varints. First the mappings: how many, and of each the start, the length, the
// offset, whether it may be read, and the length of the file's name and the
// name. Then the pages: how many, and of each the distance from the page before
// in pages, and its bytes.
const (
	maxImage         = 64 << 20 // bytes, decompressed
	maxImageMappings = 1 << 12
)

func (m *image) encode() []byte {
	var b []byte
	put := func(v uint64) { b = binary.AppendUvarint(b, v) }
	put(uint64(len(m.mappings)))
	for _, r := range m.mappings {
		put(r.start)
		put(r.end - r.start)
		put(r.offset)
		put(map[bool]uint64{true: 1}[r.readable])
		put(uint64(len(r.path)))
		b = append(b, r.path...)
	}
	put(uint64(len(m.pages)))
	last := uint64(0)
	for _, at := range slices.Sorted(maps.Keys(m.pages)) {
		put((at - last) / pageSize)
		b = append(b, m.pages[at]...)
		last = at
	}
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	return e.EncodeAll(b, nil)
}

func decodeImage(file []byte) (*image, error) {
	d, err := zstd.NewReader(bytes.NewReader(file), zstd.WithDecoderMaxMemory(maxImage))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := io.ReadAll(io.LimitReader(d, maxImage))
	if err != nil {
		return nil, err
	}
	b := bytes.NewReader(raw)
	var failed error
	get := func(limit uint64) uint64 {
		v, err := binary.ReadUvarint(b)
		if err == nil && v > limit {
			err = fmt.Errorf("%d is more than %d", v, limit)
		}
		if err != nil {
			failed = cmp.Or(failed, err)
			return 0
		}
		return v
	}
	text := func(n uint64) []byte {
		out := make([]byte, n)
		if _, err := io.ReadFull(b, out); err != nil {
			failed = cmp.Or(failed, err)
		}
		return out
	}
	const top = 1 << 48
	m := &image{pages: map[uint64][]byte{}}
	for n := get(maxImageMappings); n > 0 && failed == nil; n-- {
		var r mapping
		r.start = get(top)
		r.end = r.start + get(top)
		r.offset = get(top)
		r.readable = get(1) == 1
		r.path = string(text(get(255)))
		m.mappings = append(m.mappings, r)
	}
	last := uint64(0)
	for n := get(maxImage / pageSize); n > 0 && failed == nil; n-- {
		last += get(top/pageSize) * pageSize
		m.pages[last] = text(pageSize)
	}
	return m, failed
}

// images are the recorded JVMs, see testdata/README.md.
var images = []string{"jdk17-serial", "jdk25-g1-compact"}

func imageFile(name string) string { return path.Join("testdata", name+".image.zst") }

func truthFile(name string) string { return path.Join("testdata", name+".truth.json") }

func loadImage(t testing.TB, name string) *image {
	t.Helper()
	file, err := os.ReadFile(imageFile(name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := decodeImage(file)
	if err != nil {
		t.Fatalf("%s: %v", imageFile(name), err)
	}
	return m
}

func loadTruth(t testing.TB, name string) (rows []string) {
	t.Helper()
	file, err := os.ReadFile(truthFile(name))
	if err == nil {
		err = json.Unmarshal(file, &rows)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// rows writes all that a reading found of owners, one line each.
func rows(r *heap.Result) []string {
	var out []string
	for _, c := range r.Counters {
		out = append(out, fmt.Sprintf("counter %s %d %t", c.Name, c.Value, c.Known))
	}
	for _, c := range r.Checks {
		out = append(out, fmt.Sprintf("check %s %d %d %t", c.Name, c.Expected, c.Actual, c.OK))
	}
	for _, a := range r.Allocations {
		row := fmt.Sprintf("allocation 0x%x %d %s %s", a.Address, a.Bytes, a.Kind, a.Fate)
		if a.Holder >= 0 {
			row += fmt.Sprintf(" %q", r.Holders[a.Holder].Path)
		}
		if a.Connection >= 0 {
			c := r.Connections[a.Connection]
			row += fmt.Sprintf(" %s %s %s %s", c.Class, c.State, c.Local, c.Remote)
		}
		out = append(out, row)
	}
	return out
}
