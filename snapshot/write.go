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
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/google/pprof/profile"
	"github.com/klauspost/compress/flate"
)

// Schema and the format version this package writes.
const (
	Schema        = "urn:leakscope:schema:snapshot:1"
	FormatMajor   = 1
	FormatVersion = "1.0"
)

// The entries of an archive.
const (
	entryManifest    = "manifest.json"
	entryMemory      = "memory.json"
	entryMappings    = "mappings.ndjson"
	entryFDs         = "fds.ndjson"
	entrySockets     = "sockets.ndjson"
	entryJVM         = "jvm.json"
	entryHeap        = "heap.json"
	entryHolders     = "holders.ndjson"
	entryHeapConns   = "heap-connections.ndjson"
	entryAllocations = "allocations.ndjson"
	entryHeapProfile = "heap.pb.gz"
	entryMmapProfile = "mmap.pb.gz"
	entryRetained    = "retained.pb.gz"
)

// flateLevel of klauspost/compress makes files as small as the standard library's
// default does, in a third of the time.
const flateLevel = 4

// Write writes s as an archive to w. It fills in the manifest's schema, format
// version and entries; s itself is not changed. The same snapshot gives the
// same bytes.
func Write(w io.Writer, s *Snapshot) error {
	a := archive{zip: zip.NewWriter(w)}
	a.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flateLevel) })
	if s.Memory != nil {
		a.json(entryMemory, s.Memory)
	}
	if s.Mappings != nil {
		rows(&a, entryMappings, s.Mappings)
		a.profile(entryMmapProfile, s.MmapProfile())
	}
	if s.FDs != nil {
		rows(&a, entryFDs, s.FDs)
	}
	if s.Sockets != nil {
		rows(&a, entrySockets, s.Sockets)
	}
	if s.JVM != nil {
		a.json(entryJVM, s.JVM)
	}
	if s.Heap != nil {
		a.json(entryHeap, s.Heap)
		rows(&a, entryHolders, s.Heap.Holders)
		rows(&a, entryHeapConns, s.Heap.Connections)
		a.entry(entryAllocations, zip.Deflate, func(w io.Writer) error { return writeAllocations(w, s.Heap.Allocations) })
		a.profile(entryHeapProfile, s.HeapProfile())
		if s.Heap.Retainers != nil {
			a.profile(entryRetained, s.RetainedProfile())
		}
	}
	m := s.Manifest
	m.Schema, m.FormatVersion = Schema, FormatVersion
	sort.Slice(a.entries, func(i, j int) bool { return a.entries[i].Name < a.entries[j].Name })
	m.Entries = a.entries
	if m.Sources == nil {
		m.Sources = []Source{}
	}
	a.json(entryManifest, m) // last: it holds the digests of the others
	if a.err == nil {
		a.err = a.zip.Close()
	}
	if a.err != nil {
		return fmt.Errorf("write snapshot: %w", a.err)
	}
	return nil
}

// archive writes entries one after another and remembers the first error.
type archive struct {
	zip     *zip.Writer
	entries []Entry
	err     error
}

func (a *archive) entry(name string, method uint16, fill func(io.Writer) error) {
	if a.err != nil {
		return
	}
	w, err := a.zip.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err != nil {
		a.err = fmt.Errorf("%s: %w", name, err)
		return
	}
	digest := sha256.New()
	counted := &countingWriter{w: io.MultiWriter(w, digest)}
	buffered := bufio.NewWriterSize(counted, 64<<10)
	err = fill(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		a.err = fmt.Errorf("%s: %w", name, err)
		return
	}
	a.entries = append(a.entries, Entry{Name: name, Bytes: counted.n, SHA256: hex.EncodeToString(digest.Sum(nil))})
}

func (a *archive) json(name string, v any) {
	a.entry(name, zip.Deflate, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}

func (a *archive) profile(name string, p *profile.Profile) {
	a.entry(name, zip.Store, p.Write) // gzip already
}

func rows[T any](a *archive, name string, all []T) {
	a.entry(name, zip.Deflate, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for i := range all {
			if err := enc.Encode(&all[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ExistsError says that a snapshot would overwrite a file.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string { return fmt.Sprintf("file %q exists", e.Path) }

// WriteFile writes s to path: to a temporary name in the same directory first,
// synced, then renamed, so that path never holds half a snapshot. An existing
// file is an [ExistsError] unless overwrite is set.
func WriteFile(path string, s *Snapshot, overwrite bool) error {
	return WriteFileAtomically(path, overwrite, func(w io.Writer) error { return Write(w, s) })
}

// WriteFileAtomically gives fill a temporary file beside path and renames it to
// path once fill has succeeded and the bytes are on disk. On any error nothing
// is left behind. An existing file is an [ExistsError] unless overwrite is set.
func WriteFileAtomically(path string, overwrite bool, fill func(io.Writer) error) (err error) {
	if !overwrite {
		if _, err := os.Lstat(path); err == nil {
			return &ExistsError{Path: path}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		// A device or pipe (/dev/stdout, a process substitution) cannot be renamed over.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		return fill(f)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !overwrite {
		// link fails when the name was taken meanwhile; rename would replace it.
		err := os.Link(f.Name(), path)
		switch {
		case err == nil:
			return os.Remove(f.Name())
		case errors.Is(err, fs.ErrExist):
			return &ExistsError{Path: path}
		}
		// A file system without hard links: fall through to rename.
	}
	return os.Rename(f.Name(), path)
}
