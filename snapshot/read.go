package snapshot

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// The limits of reading: a snapshot is hostile input like any other.
const (
	maxEntries       = 64
	maxDocumentBytes = 64 << 20 // of one JSON document
	maxRowsBytes     = 4 << 30  // of one NDJSON entry, inflated
	maxRatio         = 1 << 10  // of inflated to stored bytes; deflate cannot exceed 1032
)

// FormatError says that a file is no usable snapshot, and where.
type FormatError struct {
	Path  string // the file, "" when read from a reader
	Entry string // the entry in the archive, "" for the archive as a whole
	Row   int    // the line of an NDJSON entry, from 1; 0 otherwise
	Err   error
}

func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString("snapshot")
	if e.Path != "" {
		fmt.Fprintf(&b, " %q", e.Path)
	}
	if e.Entry != "" {
		b.WriteString(": " + e.Entry)
	}
	if e.Row > 0 {
		fmt.Fprintf(&b, " line %d", e.Row)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *FormatError) Unwrap() error { return e.Err }

// ErrVersion is wrapped when a snapshot has another major format version.
var ErrVersion = errors.New("unsupported format version")

// ReadFile reads the snapshot at path. Errors are [FormatError] where the file
// could be opened.
func ReadFile(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, &FormatError{Path: path, Err: errors.New("not a regular file")}
	}
	s, err := Read(f, info.Size())
	var format *FormatError
	if errors.As(err, &format) {
		format.Path = path
	}
	return s, err
}

// Read reads a snapshot of size bytes from r. It checks every entry against
// the manifest's digest, refuses an unknown major version and ignores unknown
// keys and entries.
func Read(r io.ReaderAt, size int64) (*Snapshot, error) {
	zr, err := zip.NewReader(r, size)
	if err != nil {
		return nil, &FormatError{Err: fmt.Errorf("not a complete snapshot archive (cut off, or another kind of file): %w", err)}
	}
	if len(zr.File) > maxEntries {
		return nil, &FormatError{Err: fmt.Errorf("%d entries, at most %d expected", len(zr.File), maxEntries)}
	}
	files := map[string]*zip.File{}
	for _, f := range zr.File {
		if files[f.Name] != nil {
			return nil, &FormatError{Entry: f.Name, Err: errors.New("entry occurs twice")}
		}
		files[f.Name] = f
	}
	in := reader{files: files}
	s := &Snapshot{}
	if files[entryManifest] == nil {
		return nil, &FormatError{Entry: entryManifest, Err: errors.New("entry is missing")}
	}
	in.document(entryManifest, &s.Manifest)
	if in.err != nil {
		return nil, in.err
	}
	if err := checkVersion(s.Manifest.FormatVersion); err != nil {
		return nil, &FormatError{Entry: entryManifest, Err: err}
	}
	in.expect(s.Manifest.Entries)
	if in.has(entryMemory) {
		s.Memory = new(Memory)
		in.document(entryMemory, s.Memory)
	}
	s.Mappings = readRows[Mapping](&in, entryMappings)
	s.FDs = readRows[FD](&in, entryFDs)
	s.Sockets = readRows[Socket](&in, entrySockets)
	if in.has(entryJVM) {
		s.JVM = new(JVM)
		in.document(entryJVM, s.JVM)
	}
	if in.has(entryHeap) {
		s.Heap = new(Heap)
		in.document(entryHeap, s.Heap)
		in.checkRetainers(s.Heap.Retainers)
		s.Heap.Holders = readRows[Holder](&in, entryHolders)
		s.Heap.Connections = readRows[HeapConnection](&in, entryHeapConns)
		s.Heap.Allocations = readRows[Allocation](&in, entryAllocations)
		in.checkIndexes(s.Heap)
	}
	in.verify(entryHeapProfile)
	in.verify(entryMmapProfile)
	in.verify(entryRetained)
	if in.err != nil {
		return nil, in.err
	}
	return s, nil
}

func checkVersion(version string) error {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return fmt.Errorf("format version %q: want major.minor", version)
	}
	if n != FormatMajor {
		return fmt.Errorf("%w %s: this leakscope reads %d.x", ErrVersion, version, FormatMajor)
	}
	return nil
}

// reader takes entries out of an archive and remembers the first error.
type reader struct {
	files   map[string]*zip.File
	digests map[string]string // nil before the manifest is read
	err     error
}

func (in *reader) has(name string) bool { return in.err == nil && in.files[name] != nil }

func (in *reader) fail(entry string, row int, err error) {
	if in.err == nil {
		in.err = &FormatError{Entry: entry, Row: row, Err: err}
	}
}

// expect takes the manifest's list of entries: each must be there.
func (in *reader) expect(entries []Entry) {
	in.digests = map[string]string{}
	for _, e := range entries {
		in.digests[e.Name] = e.SHA256
		if in.files[e.Name] == nil {
			in.fail(e.Name, 0, errors.New("entry is missing"))
		}
	}
}

// open gives fill the bytes of an entry, bounded by limit, and checks their
// digest when fill has read them all.
func (in *reader) open(name string, limit int64, fill func(io.Reader) error) {
	if in.err != nil {
		return
	}
	f := in.files[name]
	if size, stored := f.UncompressedSize64, f.CompressedSize64; size > uint64(limit) || size > (stored+1)*maxRatio*2 {
		in.fail(name, 0, fmt.Errorf("%d bytes from %d stored ones, more than a snapshot can have", size, stored))
		return
	}
	rc, err := f.Open()
	if err != nil {
		in.fail(name, 0, err)
		return
	}
	defer func() { _ = rc.Close() }()
	digest := sha256.New()
	bounded := io.LimitReader(io.TeeReader(rc, digest), limit+1)
	if err := fill(bounded); err != nil {
		in.fail(name, 0, err)
		return
	}
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		in.fail(name, 0, err)
		return
	}
	if in.digests == nil {
		return
	}
	want, listed := in.digests[name]
	if !listed {
		in.fail(name, 0, errors.New("entry is not in the manifest"))
	} else if got := hex.EncodeToString(digest.Sum(nil)); got != want {
		in.fail(name, 0, fmt.Errorf("digest %s, the manifest says %s: the file was changed", got, want))
	}
}

func (in *reader) document(name string, v any) {
	in.open(name, maxDocumentBytes, func(r io.Reader) error {
		return json.NewDecoder(r).Decode(v)
	})
}

func (in *reader) verify(name string) {
	if in.has(name) {
		in.open(name, maxRowsBytes, func(io.Reader) error { return nil })
	}
}

func readRows[T any](in *reader, name string) []T {
	if !in.has(name) {
		return nil
	}
	all := []T{}
	in.open(name, maxRowsBytes, func(r io.Reader) error {
		buffered := bufio.NewReaderSize(r, 64<<10)
		r = buffered
		if allocations, ok := any(&all).(*[]Allocation); ok {
			*allocations, r = readAllocations(buffered, *allocations)
		}
		dec := json.NewDecoder(r)
		for row := len(all) + 1; ; row++ {
			var v T
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				in.fail(name, row, err)
				return err
			}
			all = append(all, v)
		}
	})
	return all
}

// checkIndexes makes sure that every holder and connection index of an
// allocation can be followed, so that nobody after has to.
func (in *reader) checkIndexes(h *Heap) {
	for i, a := range h.Allocations {
		if a.Holder < -1 || int(a.Holder) >= len(h.Holders) {
			in.fail(entryAllocations, i+1, fmt.Errorf("holder %d of %d", a.Holder, len(h.Holders)))
		}
		if a.Connection < -1 || int(a.Connection) >= len(h.Connections) {
			in.fail(entryAllocations, i+1, fmt.Errorf("connection %d of %d", a.Connection, len(h.Connections)))
		}
		if a.Bytes < 0 {
			in.fail(entryAllocations, i+1, fmt.Errorf("negative size %d", a.Bytes))
		}
	}
}

// checkRetainers makes sure that the tree of retained sizes has no holes and
// no more in its branches than in its stem.
func (in *reader) checkRetainers(top *Retainer) {
	if top == nil {
		return
	}
	for work := []*Retainer{top}; len(work) > 0; {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		left, leftAllocations := r.Bytes, r.Allocations
		for _, child := range r.Children {
			if child == nil || child.Bytes < 0 || child.Bytes > left || child.Allocations < 0 || child.Allocations > leftAllocations {
				in.fail(entryHeap, 0, fmt.Errorf("retainers: what is below %q is not a part of it", r.Step))
				return
			}
			left -= child.Bytes
			leftAllocations -= child.Allocations
		}
		work = append(work, r.Children...)
	}
}
