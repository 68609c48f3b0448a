package vmstructs

import (
	"bytes"
	"errors"
	"hash/maphash"
	"slices"
)

// sample is what an object looked like.
type sample struct {
	address uint64
	head    uint64 // its class and size: they never change
	body    uint64 // a hash of its first bytes
	payload uint64 // a hash of what they say of nothing else
}

// headOf is what never changes of an object.
func headOf(k *klass, size uint64) uint64 {
	if k.isClass || k.isChunk {
		size = 0 // told by a field, not by the header
	}
	return k.address ^ size*0x9e3779b97f4a7c15
}

// head is headOf of the object that begins with these bytes.
func (l *layout) head(k *klass, b []byte) uint64 {
	o := object{class: k}
	if !l.measure(b, &o) {
		return never
	}
	return headOf(k, o.size)
}

// keeping is what a worker notes of a run that is to be kept.
type keeping struct {
	due     uint64 // the address from which on the next sample is taken
	run     bool   // it is to be kept
	marks   []mark // where stretches begin
	samples []sample
}

type mark struct {
	address       uint64
	objects       int64
	hits, samples int // that came before
}

// start begins a run.
func (f *found) start(run extent, keep bool) {
	f.run, f.due, f.marks, f.samples = keep, never, nil, nil
	if keep {
		f.due = run.start
		f.mark(run.start)
	}
}

func (f *found) mark(at uint64) {
	f.marks = append(f.marks, mark{at, f.objects, len(f.hits), len(f.samples)})
}

// sample notes an object.
func (t *tenured) sample(l *layout, f *found, b []byte, address uint64, k *klass, size uint64) {
	if address >= f.marks[len(f.marks)-1].address+stretchSize {
		f.mark(address)
	}
	f.samples = append(f.samples, sample{address, headOf(k, size), maphash.Bytes(t.seed, b), t.payload(l, k, size, b)})
	f.due = address + t.step
}

// end keeps a run that was scanned whole while no collection ran.
func (t *tenured) end(j *jvm, f *found, run extent, err error) error {
	if !f.run {
		return err
	}
	if err == nil {
		err = j.moved()
	}
	switch {
	case err == nil:
		t.add(j, f, run)
	case !errors.Is(err, errMoved) && !errors.Is(err, errStopped):
		t.mu.Lock()
		t.drop() // it was to end where a stretch begins
		t.mu.Unlock()
	}
	return err
}

// add keeps a run.
func (t *tenured) add(j *jvm, f *found, run extent) {
	in := spaceOf(j.spaces, run.start)
	f.mark(run.end)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range f.marks[:len(f.marks)-1] {
		from, to := f.marks[i], f.marks[i+1]
		s := stretch{
			extent: extent{from.address, to.address}, space: in, objects: to.objects - from.objects,
			samples: slices.Clone(f.samples[from.samples:to.samples]),
		}
		for _, h := range f.hits[from.hits:to.hits] {
			s.hits = append(s.hits, settledHit{h.from, j.keyOf(h.id)})
		}
		if len(t.stretches) < maxStretches && (!t.mixed || s.telling()) {
			t.stretches = append(t.stretches, s)
		}
	}
}

// telling tells whether the samples would tell this run of objects from others
// of the same classes in the same order. Arrays of zeros would not, nor would
// objects that only refer to each other: these look like others in their place.
func (s *stretch) telling() bool {
	contents := map[uint64]bool{0: true}
	for _, x := range s.samples {
		contents[x.payload] = true
	}
	return len(contents) > leastTelling
}

// payload hashes what the first bytes of an object hold beside its header and
// its references; 0 is nothing.
func (t *tenured) payload(l *layout, k *klass, size uint64, b []byte) uint64 {
	if k.array {
		return 0
	}
	header := l.headerSize()
	if k.helper > 0 {
		header -= 4 // an instance has fields where an array has its length
	}
	own := make([]byte, sampleSize)
	n := copy(own, b[:min(size, sampleSize)])
	clear(own[:min(header, n)])
	for _, m := range k.maps {
		from, to := int(m.offset), int(m.offset)+int(m.count)*l.oopSize()
		if from < n {
			clear(own[from:min(to, n)])
		}
	}
	if bytes.Equal(own, make([]byte, sampleSize)) {
		return 0
	}
	return maphash.Bytes(t.seed, own) | 1
}

// verdict is what samples say of a stretch.
type verdict uint8

const (
	unchanged verdict = iota
	written           // the program has changed objects: nothing is known of others
	moved             // other objects are there
)

const lookBatch = 1 << 10 // stretches whose samples are read at once

// look reads the samples and the headers of wanted objects anew.
func (t *tenured) look(g *graph, some []stretch) ([]verdict, error) {
	l := g.j.layout
	n := 0
	for _, s := range some {
		n += sampleSize*len(s.samples) + int(l.smallest())*len(s.someHits())
	}
	raw := make([]byte, n)
	var spans []span
	take := func(at uint64, n int) {
		spans = append(spans, span{at, raw[:n:n]})
		raw = raw[n:]
	}
	for _, s := range some {
		for _, x := range s.samples {
			take(x.address, sampleSize)
		}
		for _, h := range s.someHits() {
			take(h.address, int(l.smallest()))
		}
	}
	if err := g.read(spans); err != nil {
		return nil, err
	}
	out := make([]verdict, len(some))
	for i, s := range some {
		for _, x := range s.samples {
			b := spans[0].into
			spans = spans[1:]
			switch k := g.j.byKey[l.headerKey(b)]; {
			case k == nil || x.head != l.head(k, b):
				out[i] = moved
			case x.body != maphash.Bytes(t.seed, b):
				out[i] = max(out[i], written)
			}
		}
		for _, h := range s.someHits() {
			if l.headerKey(spans[0].into) != h.key {
				out[i] = moved
			}
			spans = spans[1:]
		}
	}
	return out, nil
}

// someHits returns at most hitSamples of the objects of wanted classes.
func (s *stretch) someHits() []settledHit {
	if len(s.hits) <= hitSamples {
		return s.hits
	}
	some := make([]settledHit, hitSamples)
	for i := range some {
		some[i] = s.hits[i*len(s.hits)/hitSamples]
	}
	return some
}
