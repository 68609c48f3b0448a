package heap

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/leakscope/leakscope/heap/hprof"
)

// blockBytes is the unit in which a stream is read and handed to a decoder:
// the size of a wide pipe, and of a segment as HotSpot writes them.
const blockBytes = 1 << 20

// streamBlocks is how many blocks a stream may be ahead of its decoders. They are
// made when they are needed: a JVM that writes faster than its dump can be decoded
// on what processors are left stands still for less.
const streamBlocks = 64

// ReadStream reads a heap dump from a stream in one pass and attributes what
// it holds: a pipe, or a file that is still being written whose reader waits
// for more. Each stream has a goroutine that does nothing but read and
// decoders of its own, so none ever waits for another, and a JVM that writes
// to several is never held up by the order it does so. Streams are read until
// their ends. A read error counts as truncation.
func ReadStream(ctx context.Context, main io.Reader, o Options) (*Result, error) {
	br := bufio.NewReaderSize(main, 64<<10)
	head, err := br.Peek(hprof.MaxHeaderSize)
	if len(head) == 0 && err != nil {
		return nil, fmt.Errorf("heap dump: %w", err)
	}
	h, err := hprof.ParseHeader(head)
	if err != nil {
		return nil, err
	}
	if _, err := br.Discard(h.Size); err != nil {
		return nil, err
	}
	rep := &report{progress: o.Progress, truncatedAt: -1}
	rep.advance(int64(h.Size))
	// One processor is left to whoever writes.
	p := &streamPass{ctx: ctx, red: newReduction(h.IDSize, 0), report: rep, workers: max(1, min(o.workers()-1, 4))}
	p.red.reg.describe = o.Describe
	var group sync.WaitGroup
	group.Go(func() { p.read(br, int64(h.Size), true) })
	for _, s := range o.Segments {
		group.Go(func() { p.read(bufio.NewReaderSize(s, 64<<10), 0, false) })
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.red.pages == nil {
		p.red.start(0)
	}
	if budget := o.rowBudget(); budget > 0 && p.red.rowBytes.Load() > budget {
		rep.warnings = append(rep.warnings, "the references of the dump took more than the memory limit: a stream cannot be read again")
	}
	return p.red.result(ctx, nil, rep)
}

// streamPass is one pass over the streams of a dump.
type streamPass struct {
	ctx     context.Context
	red     *reduction
	report  *report
	workers int          // decoders for each stream
	serial  bool         // one decoder for all segments: records go on from one to the next
	visit   func(*chunk) // the dump is read again for its rows alone

	carried sync.Once
	carry   bool
}

// job is the payload of one segment, in blocks.
type job struct {
	offset int64
	blocks chan block
}

type block struct {
	buf []byte
	n   int
}

// read takes a stream apart: names are kept, segments are handed to decoders
// as blocks. Blocks are few and go round, so a stream that is faster than its
// decoders waits; decoders only ever wait for their own stream.
func (p *streamPass) read(br *bufio.Reader, offset int64, isMain bool) {
	free := make(chan []byte, streamBlocks)
	made := 0
	take := func() []byte {
		select {
		case b := <-free:
			return b
		default:
		}
		if made < streamBlocks {
			made++
			return make([]byte, blockBytes)
		}
		return <-free
	}
	jobs := make(chan *job, 1024)
	workers := p.workers
	if p.serial {
		workers = 1
	}
	var group sync.WaitGroup
	for range workers {
		w := p.reducer()
		group.Go(func() { p.decode(w, jobs, free) })
	}
	err := p.split(br, offset, isMain, jobs, take)
	close(jobs)
	group.Wait()
	if err == nil {
		return
	}
	if s := (*hprof.SyntaxError)(nil); errors.As(err, &s) {
		p.report.damaged(s)
	}
	// Whoever writes must never be held up: what cannot be used is drained.
	buf := make([]byte, blockBytes)
	for p.ctx.Err() == nil {
		if _, err := br.Read(buf); err != nil {
			return
		}
	}
}

func (p *streamPass) reducer() *reducer {
	if p.visit != nil {
		return p.red.rereader(p.visit)
	}
	return p.red.newReducer()
}

func (p *streamPass) truncated(at int64) error {
	p.report.mu.Lock()
	defer p.report.mu.Unlock()
	if p.report.truncatedAt < 0 {
		p.report.truncatedAt = at
	}
	return nil
}

// split reads top-level records until the stream ends.
func (p *streamPass) split(br *bufio.Reader, offset int64, isMain bool, jobs chan<- *job, take func() []byte) error {
	id := p.red.idSize
	ended, legacy := false, false // a dump in one legacy record may have no end record
	var small []byte
	var open *job // the segment that all others continue, in serial reading
	defer func() {
		if open != nil {
			close(open.blocks)
		}
	}()
	var head [hprof.RecordHeaderSize]byte
	for p.ctx.Err() == nil {
		n, err := io.ReadFull(br, head[:])
		if err != nil {
			if n == 0 && errors.Is(err, io.EOF) && (ended || !isMain || legacy) {
				return nil
			}
			return p.truncated(offset + int64(n))
		}
		p.report.advance(hprof.RecordHeaderSize)
		tag, length := head[0], int64(binary.BigEndian.Uint32(head[5:]))
		body := offset + hprof.RecordHeaderSize
		switch tag {
		case hprof.TagHeapDump, hprof.TagHeapDumpSegment:
			legacy = legacy || tag == hprof.TagHeapDump
			if first, err := br.Peek(int(min(length, int64(1+id)))); err == nil && len(first) == 1+id {
				p.red.start(hprof.ReadID(first[1:], id))
			}
			if length == 0 {
				break
			}
			p.red.start(0) // where the first record is cut
			j := open
			if j == nil {
				j = &job{offset: body, blocks: make(chan block, streamBlocks)}
				jobs <- j
			}
			if p.serial {
				open = j
			}
			for left := length; left > 0; {
				b := take()
				want := int(min(left, int64(len(b))))
				n, err := io.ReadFull(br, b[:want])
				j.blocks <- block{b, n}
				p.report.advance(int64(n))
				left -= int64(n)
				if err != nil {
					if open == nil {
						close(j.blocks)
					}
					return p.truncated(body + length - left)
				}
			}
			if open == nil {
				close(j.blocks)
			}
		case hprof.TagHeapDumpEnd:
			ended = true
		default:
			if !hprof.PlausibleRecord(head[:], 1<<62) {
				return &hprof.SyntaxError{Offset: offset, What: fmt.Sprintf("no record can start here (tag 0x%02X, length %d)", tag, length)}
			}
			if tag != hprof.TagString && tag != hprof.TagLoadClass {
				if _, err := io.CopyN(io.Discard, br, length); err != nil {
					return p.truncated(body)
				}
				p.report.advance(length)
				break
			}
			if length > maxTopRecord {
				return &hprof.SyntaxError{Offset: offset, What: fmt.Sprintf("record 0x%02X of %d bytes: too long", tag, length)}
			}
			if int64(cap(small)) < length {
				small = make([]byte, 2*length)
			}
			small = small[:length]
			if _, err := io.ReadFull(br, small); err != nil {
				return p.truncated(body)
			}
			p.report.advance(length)
			if p.visit == nil {
				p.red.top(tag, small, id)
			}
		}
		offset = body + length
	}
	return p.ctx.Err()
}

// decode decodes segments until there are no more.
func (p *streamPass) decode(w *reducer, jobs <-chan *job, free chan<- []byte) {
	for j := range jobs {
		d := hprof.Decoder{IDSize: p.red.idSize, Offset: j.offset}
		var left []byte
		failed := false
		for b := range j.blocks {
			buf := b.buf[:b.n]
			for len(buf) > 0 && !failed {
				data := buf
				if len(left) > 0 {
					// The record cut by the last block goes on in this one: a
					// little more of it is fed at a time until it is whole.
					k := min(len(buf), max(len(left), 4<<10))
					left = append(left, buf[:k]...)
					buf = buf[k:]
					data = left
				}
				used, err := d.Feed(data, w)
				switch {
				case err != nil:
					p.report.damaged(err)
					failed = true
				case len(left) > 0:
					left = append(left[:0], left[used:]...)
					if len(left) > maxWindow {
						p.report.damaged(&hprof.SyntaxError{Offset: d.Offset, What: "record longer than any JVM makes"})
						failed = true
					}
				default:
					left = append(left[:0], buf[used:]...)
					buf = nil
				}
			}
			w.flush()
			free <- b.buf
		}
		if !failed && (len(left) > 0 || !d.Idle()) {
			p.carried.Do(func() { p.carry = true })
			p.report.mu.Lock()
			cut := p.report.truncatedAt >= 0
			p.report.mu.Unlock()
			if !cut {
				p.report.damaged(&hprof.SyntaxError{Offset: d.Offset, What: "a record goes on beyond the end of its segment"})
			}
		}
		w.flush()
	}
	w.closeChunk()
}
