package vmstructs

import (
	"encoding/binary"
	"fmt"
)

// thread is a Java thread as far as it matters to what is reachable and to
// which parts of the heap hold objects.
type thread struct {
	object   uint64 // its java.lang.Thread
	top, end uint64 // the unused part of its allocation buffer
	stack    uint64 // the highest address of its stack
	size     uint64 // of the stack
	sp       uint64 // where its Java frames begin; 0 while it runs Java code
}

const maxThreads = 1 << 17

// threads reads the list of Java threads.
func (j *jvm) threads() ([]thread, error) {
	l := &j.layout.threads
	var at []uint64
	if l.list != 0 {
		list := j.r.u64(l.list)
		n := j.r.u32(list + l.length)
		array := j.r.u64(list + l.array)
		if j.r.err == nil && n > maxThreads {
			return nil, fmt.Errorf("%w: %d threads", ErrUnsupported, n)
		}
		raw := j.r.bytes(array, 8*int(n))
		for ; len(raw) >= 8; raw = raw[8:] {
			at = append(at, binary.LittleEndian.Uint64(raw))
		}
	} else {
		for t := j.r.u64(l.first); t != 0 && j.r.err == nil && len(at) < maxThreads; t = j.r.u64(t + l.next) {
			at = append(at, t)
		}
	}
	if j.r.err != nil {
		return nil, fmt.Errorf("threads: %w", j.r.err)
	}
	fields := []uint64{l.object, l.tlabTop, l.tlabEnd, l.stackBase, l.stackLen, l.lastSP}
	var slots []uint64
	for _, t := range at {
		for _, f := range fields {
			slots = append(slots, t+f)
		}
	}
	words, err := j.words(slots)
	if err != nil {
		return nil, fmt.Errorf("threads: %w", err)
	}
	out := make([]thread, len(at))
	var handles []uint64
	for i := range out {
		w := words[i*len(fields):]
		out[i] = thread{object: w[0], top: w[1], end: w[2], stack: w[3], size: w[4], sp: w[5]}
		handles = append(handles, w[0])
	}
	if l.objectIsHandle {
		var some []uint64
		for _, h := range handles {
			if h != 0 {
				some = append(some, h)
			}
		}
		objects, err := j.words(some)
		if err != nil {
			return nil, fmt.Errorf("threads: %w", err)
		}
		for i := range out {
			if out[i].object != 0 {
				out[i].object, objects = objects[0], objects[1:]
			}
		}
	}
	return out, nil
}
