package hprof

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// IsGzip reports whether b is the start of a gzip file.
func IsGzip(b []byte) bool { return len(b) >= 3 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8 }

// blockComment starts the comment of the first member of a dump that HotSpot
// compressed (src/hotspot/share/services/heapDumperCompression.cpp): each
// member then inflates to at most that many bytes. The figure is not trusted.
const blockComment = "HPROF BLOCKSIZE="

// maxMember bounds what one member of such a dump may inflate to.
const maxMember = 16 << 20

// NewGzipReader inflates a file of gzip members. The members of a dump that
// HotSpot compressed are inflated by several goroutines at once; other files
// by one. progress is told the bytes of the file used up so far. The reader
// must be closed.
func NewGzipReader(ctx context.Context, r io.ReaderAt, size int64, workers int, progress func(int64)) (io.ReadCloser, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	in := newCompressed(r, size, 256<<10)
	z, err := gzip.NewReader(in.buffer)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if !strings.HasPrefix(z.Comment, blockComment) {
		return &inOrder{z: z, in: in, progress: progress}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &members{size: size, cancel: cancel, queue: make(chan *member, 2*workers+2), progress: progress, free: make(chan []byte, 2*workers+4)}
	work := make(chan *member, 2*workers+2)
	m.group.Go(func() { m.find(ctx, r, size, work) })
	for range max(1, workers) {
		m.group.Go(func() { m.inflate(ctx, r, size, work) })
	}
	return m, nil
}

// compressed reads a file from some place on and knows how far what inflates it
// has come. The inflater is given the buffer itself: it takes single bytes of
// that kind of reader without a call, and no byte behind the end of a member.
type compressed struct {
	r      io.ReaderAt
	size   int64
	at     int64 // what is read next
	buffer *bufio.Reader
}

func newCompressed(r io.ReaderAt, size int64, buffer int) *compressed {
	c := &compressed{r: r, size: size}
	c.buffer = bufio.NewReaderSize(c, buffer)
	return c
}

// seek goes to a place in the file.
func (c *compressed) seek(offset int64) {
	c.at = offset
	c.buffer.Reset(c)
}

// offset is the place of the next byte to be inflated.
func (c *compressed) offset() int64 { return c.at - int64(c.buffer.Buffered()) }

// Read fills the buffer.
func (c *compressed) Read(p []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	n, err := c.r.ReadAt(p[:min(int64(len(p)), c.size-c.at)], c.at)
	c.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// inOrder inflates one member after another.
type inOrder struct {
	z        *gzip.Reader
	in       *compressed
	progress func(int64)
}

func (s *inOrder) Read(p []byte) (int, error) {
	n, err := s.z.Read(p)
	s.progress(s.in.offset())
	return n, err
}

func (s *inOrder) Close() error { return s.z.Close() }

// members delivers inflated members in the order of the file. A place that
// looks like the start of a member may be none: it is inflated for nothing,
// and passed over because the member before it ends elsewhere.
type members struct {
	size     int64 // of the file
	cancel   context.CancelFunc
	group    sync.WaitGroup
	queue    chan *member // in the order of the file
	free     chan []byte
	progress func(int64)

	at      int64 // where the next member must start
	current []byte
	rest    []byte
	err     error
}

type member struct {
	start int64
	done  chan struct{}
	end   int64
	data  []byte
	err   error
}

// find looks for the starts of members.
func (m *members) find(ctx context.Context, r io.ReaderAt, size int64, work chan<- *member) {
	defer close(m.queue)
	defer close(work)
	const overlap = 4
	buf := make([]byte, 256<<10)
	for offset := int64(0); offset < size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-offset)], offset)
		if n == 0 && err != nil {
			return
		}
		b := buf[:n]
		for p := 0; ; {
			i := bytes.Index(b[p:], []byte{0x1f, 0x8b, 8})
			if i < 0 {
				break
			}
			p += i
			if p+overlap <= len(b) && b[p+3] < 0x20 {
				c := &member{start: offset + int64(p), done: make(chan struct{})}
				select {
				case m.queue <- c:
				case <-ctx.Done():
					return
				}
				select {
				case work <- c:
				case <-ctx.Done():
					return
				}
			}
			p++
		}
		if n <= overlap {
			return
		}
		offset += int64(n - overlap + 1)
	}
}

func (m *members) inflate(ctx context.Context, r io.ReaderAt, size int64, work <-chan *member) {
	in := newCompressed(r, size, 64<<10)
	var z *gzip.Reader
	for c := range work {
		if ctx.Err() != nil {
			c.err = ctx.Err()
			close(c.done)
			continue
		}
		in.seek(c.start)
		if z == nil {
			z, c.err = gzip.NewReader(in.buffer)
		} else {
			c.err = z.Reset(in.buffer)
		}
		if c.err == nil {
			z.Multistream(false)
			select {
			case c.data = <-m.free:
			default:
				c.data = make([]byte, 0, 1<<20+1)
			}
			c.data, c.err = readAll(z, c.data[:0])
		}
		c.end = in.offset()
		close(c.done)
	}
}

// readAll reads to the end of a member, into buf where it fits.
func readAll(z io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= maxMember {
				return buf, fmt.Errorf("member inflates to more than %d bytes", maxMember)
			}
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := z.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

func (m *members) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		if m.err != nil {
			return 0, m.err
		}
		if m.current != nil {
			select {
			case m.free <- m.current:
			default:
			}
			m.current = nil
		}
		c, ok := <-m.queue
		if !ok {
			m.err = io.EOF
			if m.at < m.size {
				m.err = fmt.Errorf("gzip: no member starts at offset %d of the file: %w", m.at, io.ErrUnexpectedEOF)
			}
			return 0, m.err
		}
		if c.start < m.at {
			continue // inside the member before: not a start
		}
		<-c.done
		switch {
		case c.start > m.at:
			m.err = fmt.Errorf("gzip: no member starts at offset %d of the file", m.at)
			return 0, m.err
		case c.err != nil:
			// What was inflated is good up to there.
			m.err = fmt.Errorf("gzip member at offset %d of the file: %w", c.start, c.err)
		}
		m.at = c.end
		m.current, m.rest = c.data, c.data
		m.progress(m.at)
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// Close stops the goroutines.
func (m *members) Close() error {
	m.cancel()
	m.group.Wait()
	return nil
}
