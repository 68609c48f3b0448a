package vmstructs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/heap"
)

// copied is a memory parts of which were copied while the target stood still:
// those are read from the copy.
type copied struct {
	memory
	parts []part // by address
}

type part struct {
	start uint64
	bytes []byte
}

func (c *copied) read(spans []span) error {
	var rest []span
	for _, s := range spans {
		if from := c.find(s.address, len(s.into)); from != nil {
			copy(s.into, from)
		} else {
			rest = append(rest, s)
		}
	}
	return c.memory.read(rest)
}

// find returns the copy of a range, nil where it was not copied whole.
func (c *copied) find(address uint64, n int) []byte {
	i := lastFrom(c.parts, address, func(p *part) uint64 { return p.start })
	if i < 0 {
		return nil
	}
	p := c.parts[i]
	if at := address - p.start; at <= uint64(len(p.bytes)) && uint64(n) <= uint64(len(p.bytes))-at {
		return p.bytes[at:][:n]
	}
	return nil
}

// room is what is set aside for a heap that grows between its measure and the
// stop, beyond an eighth of it.
const room = 16 << 20

// arena is memory that is there before the target stops: to have the kernel
// find it page by page would lengthen the stop.
type arena struct{ all, free []byte }

func newArena(size int64) (*arena, error) {
	if available, err := availableMemory(); err != nil || available < size+size/4 {
		return nil, errors.Join(err, fmt.Errorf("a copy of the heap needs %d bytes, of memory are %d available", size, available))
	}
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("memory for a copy of the heap: %w", err)
	}
	return &arena{all: b, free: b}, nil
}

func (a *arena) close() { _ = unix.Munmap(a.all) }

func (a *arena) take(n uint64) ([]byte, error) {
	if n > uint64(len(a.free)) {
		return nil, errors.New("the heap grew before the target stopped")
	}
	b := a.free[:n:n]
	a.free = a.free[n:]
	return b, nil
}

// availableMemory reads MemAvailable of /proc/meminfo.
func availableMemory() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == "MemAvailable:" {
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo: no MemAvailable")
}

// still is what was copied of a target that stood still.
type still struct {
	memory *copied
	view
}

// tryHeld copies the heap while the target stands still, and reads the copy
// when it runs again.
func (t *Target) tryHeld(ctx context.Context, workers int, hold Hold, before state, runs []extent, out *Reading) (*heap.Result, error) {
	size := total(runs)
	a, err := newArena(CopyBytes(size))
	if err != nil {
		return nil, &HoldError{err}
	}
	defer a.close()
	held, release, err := hold(ctx, size)
	if err != nil {
		return nil, &HoldError{err}
	}
	s, err := t.copyHeap(held, workers, before, a)
	if early := release(); early != nil {
		return nil, &HoldError{early}
	}
	if err != nil {
		return nil, err
	}
	live := t.j.r
	t.j.r = &reader{memory: s.memory}
	defer func() { t.j.r = live }()
	_, result, err := t.j.readHeap(ctx, workers, s.view, out)
	if err != nil {
		return nil, err
	}
	return result, accept(result)
}

// copyHeap copies the heap and the stacks of a target that stands still, but not
// in the middle of a collection. One that ran since before moved the mirrors of
// the classes that were read then.
func (t *Target) copyHeap(ctx context.Context, workers int, before state, a *arena) (*still, error) {
	j := t.j
	if err := t.refresh(); err != nil { // memory that was touched since is there now
		return nil, err
	}
	now, err := j.quiet()
	if err == nil && now != before {
		j.current = false
		err = j.readMirrors()
	}
	if err != nil {
		return nil, err
	}
	s := &still{memory: &copied{memory: j.r.memory}}
	runs, err := j.extents()
	if err != nil {
		return nil, err
	}
	if s.view, err = j.viewOf(runs); err != nil {
		return nil, err
	}
	if s.stacks, err = j.stackBounds(s.threads); err != nil {
		return nil, err
	}
	var spans []span
	for _, e := range s.runs {
		b, err := a.take(e.end - e.start)
		if err != nil {
			return nil, err
		}
		s.memory.parts = append(s.memory.parts, part{e.start, b})
		spans = append(spans, pieces(e.start, b)...)
	}
	for _, e := range s.stacks {
		b := make([]byte, e.end-e.start)
		s.memory.parts = append(s.memory.parts, part{e.start, b})
		spans = append(spans, span{e.start, b})
	}
	slices.SortFunc(s.memory.parts, func(x, y part) int { return int(int64(x.start>>1) - int64(y.start>>1)) })
	return s, readInParallel(ctx, j.r.memory, spans, workers)
}

// piece is what is copied by one call: a part of the heap with pages that are
// not resident takes a call for each page.
const piece = 256 << 10

func pieces(address uint64, b []byte) []span {
	var all []span
	for len(b) > 0 {
		n := min(len(b), piece)
		all = append(all, span{address, b[:n]})
		address, b = address+uint64(n), b[n:]
	}
	return all
}

func readInParallel(ctx context.Context, m memory, spans []span, workers int) error {
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			const batch = 16
			for at := w * batch; at < len(spans) && errs[w] == nil; at += workers * batch {
				if errs[w] = ctx.Err(); errs[w] == nil {
					errs[w] = m.read(spans[at:min(at+batch, len(spans))])
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
