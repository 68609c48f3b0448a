package heap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap/hprof"
)

// windowBytes is how much of a segment a worker reads at a time. It fits into
// a core's second-level cache together with what the rows of it take.
const windowBytes = 256 << 10

// maxWindow bounds the window where a single record is larger than it.
const maxWindow = 8 << 20

// ReadFile reads a heap dump file and attributes what it holds. A file of
// gzip members is recognised by its content. An error is returned only when
// nothing could be read; a damaged or truncated dump gives a Result that is
// not Complete.
func ReadFile(ctx context.Context, path string, o Options) (*Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("heap dump: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("heap dump: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("heap dump %q: not a regular file", filepath.Base(path))
	}
	r, err := ReadAt(ctx, f, info.Size(), o)
	if err != nil {
		return nil, fmt.Errorf("heap dump %q: %w", filepath.Base(path), err)
	}
	return r, nil
}

// ReadAt is ReadFile for a dump of size bytes that is already open. It reads
// from several goroutines at once.
func ReadAt(ctx context.Context, r io.ReaderAt, size int64, o Options) (*Result, error) {
	head := make([]byte, hprof.MaxHeaderSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	if hprof.IsGzip(head) {
		return readGzip(ctx, r, size, o)
	}
	return readPlain(ctx, r, size, head, o)
}

func readPlain(ctx context.Context, r io.ReaderAt, size int64, head []byte, o Options) (*Result, error) {
	h, err := hprof.ParseHeader(head)
	if err != nil {
		return nil, err
	}
	f := &file{r: r, size: size, options: o, header: h}
	for _, serial := range []bool{false, true} {
		f.serial = serial
		f.begin()
		if err := f.index(); err != nil {
			return nil, err
		}
		if err := f.pass(ctx); err != nil {
			return nil, err
		}
		if !f.carried.Load() {
			break
		}
		// A record goes on in the next segment: only one goroutine can tell
		// where records start.
	}
	return f.red.result(ctx, f, &f.report)
}

// file is a dump in a file, read by preads.
type file struct {
	r       io.ReaderAt
	size    int64
	options Options
	header  hprof.Header
	serial  bool

	red      *reduction
	segments []segment
	report   report
	carried  atomic.Bool
}

// segment is the payload of a heap dump record.
type segment struct {
	offset, length int64
}

// report gathers what went wrong in a pass, and how far it came.
type report struct {
	mu       sync.Mutex
	damage   *hprof.SyntaxError // the first by offset
	warnings []string
	read     int64
	progress func(int64)
	// truncatedAt is where the input ends too early; -1 when it does not.
	truncatedAt int64
}

func (r *report) damaged(err error) {
	var s *hprof.SyntaxError
	if !errors.As(err, &s) {
		s = &hprof.SyntaxError{Offset: 0, What: err.Error()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.damage == nil || s.Offset < r.damage.Offset {
		r.damage = s
	}
}

func (r *report) advance(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += n
	if r.progress != nil {
		r.progress(r.read)
	}
}

func (f *file) begin() {
	f.red = newReduction(f.header.IDSize, f.options.rowBudget())
	f.segments = nil
	f.report = report{progress: f.options.Progress, truncatedAt: -1}
	f.carried.Store(false)
}

// index walks the top-level records: it keeps names, and notes where the
// segments are.
func (f *file) index() error {
	w := &topWalk{r: f.r, size: f.size}
	offset := int64(f.header.Size)
	id := f.header.IDSize
	ended, legacy := false, false // a dump in one legacy record may have no end record
	for offset < f.size && !ended {
		b := w.at(offset, hprof.RecordHeaderSize)
		if len(b) < hprof.RecordHeaderSize {
			f.report.truncatedAt = f.size
			break
		}
		tag := b[0]
		length := int64(binary.BigEndian.Uint32(b[5:]))
		body := offset + hprof.RecordHeaderSize
		switch tag {
		case hprof.TagHeapDump, hprof.TagHeapDumpSegment:
			legacy = legacy || tag == hprof.TagHeapDump
			length = f.segmentLength(w, tag, body, length)
			if body+length > f.size {
				length = f.size - body
				f.report.truncatedAt = f.size
			}
			if length > 0 {
				f.segments = append(f.segments, segment{body, length})
			}
		case hprof.TagHeapDumpEnd:
			ended = true
		case hprof.TagString, hprof.TagLoadClass:
			if length > maxTopRecord {
				f.report.damaged(&hprof.SyntaxError{Offset: offset, What: fmt.Sprintf("record 0x%02X of %d bytes: too long", tag, length)})
				ended = true
				break
			}
			if b = w.at(body, int(length)); int64(len(b)) < length {
				f.report.truncatedAt = f.size
				break
			}
			f.red.top(tag, b, id)
		default:
			if !hprof.PlausibleRecord(b, f.size-offset) {
				f.report.damaged(&hprof.SyntaxError{Offset: offset, What: fmt.Sprintf("no record can start here (tag 0x%02X, length %d)", tag, length)})
				ended = true
			}
		}
		offset = body + length
		if w.err != nil {
			return w.err
		}
	}
	if !legacy && !ended && f.report.truncatedAt < 0 {
		f.report.truncatedAt = f.size
	}
	if len(f.segments) > 0 {
		if b := w.at(f.segments[0].offset, 1+id); len(b) == 1+id {
			f.red.start(hprof.ReadID(b[1:], id))
		}
	}
	f.red.start(0)
	return w.err
}

// maxTopRecord bounds the top-level records that are kept: a name is at most
// 65,535 bytes in the JVM.
const maxTopRecord = 1 << 20

// segmentLength corrects the length of a heap dump record that is longer than
// its 32-bit length can say: it wrapped around, and what follows the stated
// end is no record.
func (f *file) segmentLength(w *topWalk, tag byte, body, length int64) int64 {
	if tag != hprof.TagHeapDump {
		return length
	}
	for end := body + length; ; end += 1 << 32 {
		if end >= f.size {
			return f.size - body
		}
		if hprof.PlausibleRecord(w.at(end, hprof.RecordHeaderSize), f.size-end) {
			return end - body
		}
	}
}

// top handles a top-level record that holds a name.
func (red *reduction) top(tag byte, b []byte, id int) {
	switch {
	case tag == hprof.TagString && len(b) >= id:
		red.reg.addString(hprof.ReadID(b, id), b[id:])
	case tag == hprof.TagLoadClass && len(b) >= 8+2*id:
		red.reg.addName(hprof.ReadID(b[4:], id), hprof.ReadID(b[8+id:], id))
	}
}

// topWalk reads top-level records through a window: names are many and small,
// segments are passed over.
type topWalk struct {
	r      io.ReaderAt
	size   int64
	buf    []byte
	start  int64
	err    error
	filled int
}

func (w *topWalk) at(offset int64, n int) []byte {
	if offset >= w.start && offset+int64(n) <= w.start+int64(w.filled) {
		return w.buf[offset-w.start:][:n]
	}
	// A short window where segments follow one another, a long one among names.
	want := max(n, 512)
	if w.filled > 0 && offset >= w.start && offset <= w.start+int64(w.filled) {
		want = max(n, 64<<10)
	}
	if len(w.buf) < want {
		w.buf = make([]byte, want)
	}
	k, err := w.r.ReadAt(w.buf[:want], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	w.start, w.filled = offset, k
	return w.buf[:min(n, k)]
}

// pass decodes all segments.
func (f *file) pass(ctx context.Context) error {
	return f.decode(ctx, func() *reducer { return f.red.newReducer() }, &f.report)
}

// decode runs the segments through reducers, one for each goroutine.
func (f *file) decode(ctx context.Context, reducer func() *reducer, rep *report) error {
	var next atomic.Int64
	workers := min(f.options.workers(), max(len(f.segments), 1))
	if f.serial {
		workers = 1
	}
	errs := make([]error, workers)
	var group sync.WaitGroup
	for i := range workers {
		w := reducer()
		group.Go(func() {
			window := make([]byte, windowBytes)
			d := hprof.Decoder{IDSize: f.header.IDSize}
			var left []byte
			for {
				s := int(next.Add(1)) - 1
				if s >= len(f.segments) || errs[i] != nil {
					break
				}
				if errs[i] = ctx.Err(); errs[i] != nil {
					break
				}
				if !f.serial {
					d = hprof.Decoder{IDSize: f.header.IDSize}
				}
				window, left, errs[i] = f.segment(&d, w, f.segments[s], window, left, rep)
				w.flush()
				if f.serial {
					continue
				}
				if (len(left) > 0 || !d.Idle()) && f.segments[s].offset+f.segments[s].length < f.size {
					f.carried.Store(true)
				}
				left = nil
			}
			if (len(left) > 0 || !d.Idle()) && f.serial && rep.truncatedAt < 0 {
				rep.damaged(&hprof.SyntaxError{Offset: d.Offset, What: "the last record is cut off"})
			}
			w.closeChunk()
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// segment decodes one segment. left is the start of a record that the segment
// before it ended in; what is returned as left is the same for the next.
func (f *file) segment(d *hprof.Decoder, v hprof.Visitor, s segment, window, left []byte, rep *report) (grown, rest []byte, err error) {
	at, end := s.offset, s.offset+s.length
	have := copy(window, left)
	d.Offset = at - int64(have)
	for at < end || have > 0 {
		if skip := d.Skip(); skip > 0 && have == 0 {
			n := min(int64(min(skip, 1<<62)), end-at)
			d.Skipped(uint64(n))
			at += n
			rep.advance(n)
			if at == end {
				break
			}
		}
		n := int(min(int64(len(window)-have), end-at))
		if n > 0 {
			k, err := f.r.ReadAt(window[have:have+n], at)
			if k < n {
				if err == nil || errors.Is(err, io.EOF) {
					err = &hprof.SyntaxError{Offset: at + int64(k), What: "the file became shorter while it was read"}
				}
				rep.damaged(err)
				return window, nil, nil
			}
			have += n
			at += int64(n)
			rep.advance(int64(n))
		}
		used, err := d.Feed(window[:have], v)
		if err != nil {
			rep.damaged(err)
			return window, nil, nil
		}
		have = copy(window, window[used:have])
		if n == 0 && used == 0 {
			break
		}
		if used == 0 && have == len(window) {
			if len(window) >= maxWindow {
				rep.damaged(&hprof.SyntaxError{Offset: d.Offset, What: "record longer than any JVM makes"})
				return window, nil, nil
			}
			window = append(window, make([]byte, len(window))...)
		}
	}
	if have > 0 {
		rest = append([]byte(nil), window[:have]...)
	}
	return window, rest, nil
}

// each implements rowSource by reading the file again.
func (f *file) each(ctx context.Context, _ bool, visit func(c *chunk)) error {
	quiet := &report{truncatedAt: 0}
	for _, c := range f.red.statics.chunks {
		visit(c)
	}
	return f.decode(ctx, func() *reducer { return f.red.rereader(visit) }, quiet)
}

func (f *file) stored() bool { return false }
