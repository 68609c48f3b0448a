package vmstructs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// object is one object as a scan meets it.
type object struct {
	address uint64
	class   *klass
	size    uint64 // in memory, header and padding included
	length  uint64 // of an array
}

// errStopped ends a run where another one has failed.
var errStopped = errors.New("stopped")

const (
	blockSize  = 1 << 20 // of the heap that one read copies, at most
	firstBlock = 4 << 10 // where a large object may begin
	maxObject  = 1 << 40
	maxDead    = 1 << 16 // in one run
)

// scanner reads runs of objects. Each goroutine has one.
type scanner struct {
	j     *jvm
	block []byte
	at    uint64 // address of block
	end   uint64 // of the run
	index int    // of the run
	ahead int    // what the next read copies: little where large arrays lie, most of which is passed over

	cache [512]struct {
		key   uint64
		class *klass
	}
}

// visitor is what a scan calls, from several goroutines, with the number of
// each.
type visitor struct {
	// visit gets the scanner to read an object's bytes, and returns the address
	// to go on at.
	visit func(worker int, s *scanner, o *object) (next uint64, err error)

	// Both may be nil. begin says whether to scan a run, end what its error is to
	// the scan as a whole.
	begin func(worker, run int) bool
	end   func(worker, run int, err error) error
}

// scan visits objects of all runs, in parallel over runs. It fails where there
// is no known object after the one before.
func (j *jvm) scan(ctx context.Context, runs []extent, workers int, v visitor) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, workers)
	stop := make(chan struct{})
	var once sync.Once
	for w := range workers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			s := &scanner{j: j, block: make([]byte, 0, blockSize)}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(runs) {
					break
				}
				if v.begin != nil && !v.begin(w, i) {
					continue
				}
				s.index = i
				err := s.run(ctx, stop, runs[i], func(o *object) (uint64, error) { return v.visit(w, s, o) })
				if v.end != nil {
					err = v.end(w, i, err)
				}
				if err != nil {
					errs[w] = err
					once.Do(func() { close(stop) })
					break
				}
			}
		}()
	}
	wait.Wait()
	for _, e := range errs {
		if e != nil && !errors.Is(e, errStopped) {
			return e
		}
	}
	return ctx.Err()
}

// run visits the objects of one run.
func (s *scanner) run(ctx context.Context, stop <-chan struct{}, e extent, visit func(*object) (uint64, error)) error {
	s.end = e.end
	s.block, s.at, s.ahead = s.block[:0], e.start, firstBlock
	if e.end-e.start <= blockSize {
		s.ahead = blockSize
	}
	var o object
	last, tries := e.start, 0
	for at := e.start; at < e.end; {
		if read := s.at + uint64(len(s.block)); len(s.block) == 0 || at >= read {
			if at > read+firstBlock {
				s.ahead = firstBlock
			}
			select {
			case <-stop:
				return errStopped
			case <-ctx.Done():
				return ctx.Err()
			default:
			}
			if err := s.j.moved(); err != nil {
				return err
			}
		}
		ok, err := s.object(at, &o)
		if err != nil {
			return err
		}
		if !ok {
			next, skipped, err := s.behindDead(at, last)
			if err != nil {
				return err
			}
			if !skipped {
				return cmp.Or(s.j.moved(), fmt.Errorf("%w at 0x%x", errUnknown, at))
			}
			if tries++; tries > maxDead {
				return fmt.Errorf("%w: more than %d dead objects between 0x%x and 0x%x", ErrUnsupported, maxDead, e.start, at)
			}
			at, last = next, next
			continue
		}
		last = at
		if at, err = visit(&o); err != nil {
			return err
		}
	}
	return nil
}

// view returns n bytes at an address of the run, fewer at its end. They hold
// until the next call.
func (s *scanner) view(at uint64, n int) ([]byte, error) {
	if at >= s.at && at+uint64(n) <= s.at+uint64(len(s.block)) {
		return s.block[at-s.at:][:n], nil
	}
	n = int(min(uint64(n), s.end-at))
	size := int(min(uint64(max(n, s.ahead)), s.end-at))
	s.ahead = blockSize
	if cap(s.block) < size {
		s.block = make([]byte, 0, size)
	}
	s.block, s.at = s.block[:size], at
	if err := s.j.r.read([]span{{at, s.block}}); err != nil {
		s.block = s.block[:0]
		return nil, fmt.Errorf("heap at 0x%x: %w", at, err)
	}
	return s.block[:n], nil
}

// object reads the header at an address; ok is false where there is no object
// of a known class that fits into the run.
func (s *scanner) object(at uint64, o *object) (ok bool, err error) {
	l := s.j.layout
	h, err := s.view(at, l.headerSize())
	if err != nil || len(h) < 8 {
		return false, err
	}
	if len(h) < l.headerSize() { // the smallest objects are shorter than an array's header
		var padded [24]byte
		copy(padded[:], h)
		h = padded[:]
	}
	key := l.headerKey(h)
	c := &s.cache[key%uint64(len(s.cache))]
	if c.key != key || c.class == nil {
		k := s.j.byKey[key]
		if k == nil {
			return false, nil
		}
		c.key, c.class = key, k
	}
	o.address, o.class = at, c.class
	if !l.measure(h, o) {
		return false, nil
	}
	if o.class.isClass {
		b, err := s.view(at, int(l.mirrorSize)+4)
		if err != nil || len(b) < int(l.mirrorSize)+4 {
			return false, err
		}
		o.size = 8 * uint64(binary.LittleEndian.Uint32(b[l.mirrorSize:]))
	}
	if v := &s.j.virtual; o.class.isChunk {
		b, err := s.view(at, int(v.start))
		if err != nil || len(b) < int(v.start) {
			return false, err
		}
		o.size = s.j.chunkSize(binary.LittleEndian.Uint32(b[v.size:]))
	}
	return o.size >= 8 && o.size < maxObject && o.size <= s.end-at, nil
}

// headerKey tells the class of an object by its header: the narrow class at
// offset 8, the whole pointer where it is not compressed, or the upper 22 bits
// of the mark word where headers are compact.
func (l *layout) headerKey(h []byte) uint64 {
	switch {
	case l.compactHeaders:
		return binary.LittleEndian.Uint64(h) >> 42
	case l.narrowKlasses:
		return uint64(binary.LittleEndian.Uint32(h[8:]))
	}
	return binary.LittleEndian.Uint64(h[8:])
}

// measure computes an object's size by its class's layout helper: positive for
// instances (bytes, and a flag in the lowest bit), negative for arrays (a tag
// in the upper 2 bits, the header's size, and the logarithm of an element's).
func (l *layout) measure(h []byte, o *object) bool {
	helper := o.class.helper
	if helper > 0 {
		o.size, o.length = uint64(helper)&^7, 0
		return true
	}
	if helper == 0 {
		return false
	}
	length := int32(binary.LittleEndian.Uint32(h[l.headerSize()-4:]))
	if length < 0 {
		return false
	}
	o.length = uint64(length)
	o.size = (uint64(helper>>16&0xff) + o.length<<(helper&0x3f) + l.alignment - 1) &^ (l.alignment - 1)
	return true
}

// arrayBase is the offset of an array's first element.
func arrayBase(k *klass) uint64 { return uint64(k.helper >> 16 & 0xff) }

// each calls yield with the references in a run of them.
func (l *layout) each(at uint64, raw []byte, yield func(slot, to uint64)) {
	if l.oopSize() == 4 {
		for i := 0; i+4 <= len(raw); i += 4 {
			if to := binary.LittleEndian.Uint32(raw[i:]); to != 0 {
				yield(at+uint64(i), l.oopBase+uint64(to)<<l.oopShift)
			}
		}
		return
	}
	for i := 0; i+8 <= len(raw); i += 8 {
		if to := binary.LittleEndian.Uint64(raw[i:]); to != 0 {
			yield(at+uint64(i), to)
		}
	}
}

// slots calls yield with runs of the references of an object that the scanner
// stands at, and where each begins.
func (s *scanner) slots(o *object, yield func(at uint64, raw []byte)) error {
	l := s.j.layout
	width := uint64(l.oopSize())
	run := func(offset, count uint64) error {
		for count > 0 {
			n := min(count, blockSize/width)
			b, err := s.view(o.address+offset, int(n*width))
			if err != nil {
				return err
			}
			if uint64(len(b)) < n*width {
				return fmt.Errorf("an object at 0x%x reaches beyond its region", o.address)
			}
			yield(o.address+offset, b)
			offset += n * width
			count -= n
		}
		return nil
	}
	if o.class.array {
		return run(arrayBase(o.class), o.length)
	}
	for _, m := range o.class.maps {
		if err := run(uint64(m.offset), uint64(m.count)); err != nil {
			return err
		}
	}
	if o.class.isClass {
		// A mirror's static references come first behind its own fields.
		b, err := s.view(o.address+l.mirrorStatics, 4)
		if err != nil || len(b) < 4 {
			return err
		}
		n := uint64(binary.LittleEndian.Uint32(b))
		if base := uint64(o.class.helper) &^ 7; base+n*width <= o.size {
			return run(base, n)
		}
	}
	return nil
}
