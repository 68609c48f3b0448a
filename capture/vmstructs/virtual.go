package vmstructs

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/leakscope/leakscope/heap"
)

// A virtual thread that waits has its frames in the heap: its Continuation refers to
// a StackChunk, and that to others. Such an object has, behind its fields, a piece of
// a stack, and behind that a bit for each place in it (instanceStackChunkKlass.hpp, 21
// on). What is in use of it is read as the stacks of other threads are.

// virtual is how virtual threads are laid out. Where a JVM has none all is zero.
type virtual struct {
	thread, continuation, chunk *klass

	state, cont     javaField // of the thread
	tail            javaField // of the Continuation
	parent          javaField // of a StackChunk
	size, sp, start uint32    // of a StackChunk: where its sizes are, in words, and where the stack begins
}

const (
	maxChunk  = 16 << 20 // bytes of a StackChunk
	maxChunks = 1 << 20
	// frameWords lie below the first frame: its return address and the caller's frame
	// pointer, which may be a reference.
	frameWords = 2
)

// findVirtual finds the classes of virtual threads.
func (j *jvm) findVirtual() error {
	j.virtual = virtual{}
	v := &j.virtual
	for i := range j.classes {
		switch j.classes[i].Name {
		case "java.lang.VirtualThread":
			v.thread = j.klasses[i]
		case "jdk.internal.vm.Continuation":
			v.continuation = j.klasses[i]
		case "jdk.internal.vm.StackChunk":
			v.chunk = j.klasses[i]
		}
	}
	if v.chunk == nil || v.chunk.helper <= 0 {
		v.chunk = nil
		return nil
	}
	v.chunk.isChunk, v.start = true, uint32(v.chunk.helper)&^7
	ks := []*klass{v.thread, v.continuation, v.chunk}
	if err := j.loadFields(slices.DeleteFunc(ks, func(k *klass) bool { return k == nil })); err != nil {
		return err
	}
	var size, sp javaField
	for _, f := range []struct {
		of   *klass
		name string
		into *javaField
	}{
		{v.thread, "state", &v.state},
		{v.thread, "cont", &v.cont},
		{v.continuation, "tail", &v.tail},
		{v.chunk, "parent", &v.parent},
		{v.chunk, "size", &size},
		{v.chunk, "sp", &sp},
	} {
		if f.of == nil {
			continue // none has been started
		}
		all, err := j.fieldsOf(f.of)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(x javaField) bool { return x.Name == f.name })
		if at < 0 || int(all[at].offset)+j.layout.width(all[at].Type) > int(f.of.helper) {
			return fmt.Errorf("%w: the class %s without a field %s", ErrUnsupported, j.classes[f.of.id].Name, f.name)
		}
		*f.into = all[at]
	}
	v.size, v.sp = size.offset, sp.offset
	return nil
}

// chunkSize computes the size of a StackChunk with a stack of so many words.
func (j *jvm) chunkSize(words uint32) uint64 {
	places := uint64(words)
	if j.layout.narrowOops {
		places *= 2
	}
	a := j.layout.alignment
	return (uint64(j.virtual.start) + 8*uint64(words) + (places+63)/64*8 + a - 1) &^ (a - 1)
}

// virtualThreads returns the virtual threads that were found and run or wait.
func (g *graph) virtualThreads() (alive []uint64, err error) {
	v := &g.j.virtual
	if v.thread == nil || v.chunk == nil {
		return nil, nil
	}
	var all []uint64
	for _, h := range g.found {
		if h.id == v.thread.id {
			all = append(all, h.from)
		}
	}
	states, err := g.fieldOf(all, v.state)
	for i, s := range states {
		if heap.VirtualAlive(s) {
			alive = append(alive, all[i])
		}
	}
	return alive, err
}

// fieldOf reads a field of objects of one class.
func (g *graph) fieldOf(objects []uint64, f javaField) ([]uint64, error) {
	at := func(i int) uint64 { return objects[i] + uint64(f.offset) }
	if f.Type == heap.Object {
		return g.slots(len(objects), at)
	}
	return g.scalars(len(objects), at, g.j.layout.width(f.Type))
}

// frames returns what is in use of the stacks of virtual threads that are not
// running now.
func (g *graph) frames(threads []uint64) ([]extent, error) {
	v := &g.j.virtual
	conts, err := g.fieldOf(threads, v.cont)
	if err != nil {
		return nil, err
	}
	chunks, err := g.fieldOf(withoutNull(conts), v.tail)
	if err != nil {
		return nil, err
	}
	var used []extent
	for total := 0; len(chunks) > 0; {
		chunks = withoutNull(chunks)
		if total += len(chunks); total > maxChunks {
			return nil, fmt.Errorf("%w: more than %d pieces of stacks of virtual threads", ErrUnsupported, maxChunks)
		}
		heads, err := g.heads(chunks)
		if err != nil {
			return nil, err
		}
		var parents []uint64
		for i, b := range heads {
			if g.j.layout.headerKey(b) != g.j.layout.klassKey(v.chunk.address) {
				continue // it was changed while it was read
			}
			words, sp := binary.LittleEndian.Uint32(b[v.size:]), binary.LittleEndian.Uint32(b[v.sp:])
			if sp > words || g.j.chunkSize(words) > maxChunk {
				continue
			}
			if sp < words {
				stack := chunks[i] + uint64(v.start)
				used = append(used, extent{stack + 8*uint64(sp-min(sp, frameWords)), stack + 8*uint64(words)})
			}
			if to, ok := g.j.layout.value(b, v.parent); ok {
				parents = append(parents, to)
			}
		}
		chunks = parents
	}
	return used, nil
}

// heads reads the fields of StackChunks.
func (g *graph) heads(chunks []uint64) ([][]byte, error) {
	size := int(g.j.virtual.start)
	raw := make([]byte, size*len(chunks))
	spans := make([]span, len(chunks))
	out := make([][]byte, len(chunks))
	for i, a := range chunks {
		out[i] = raw[i*size : (i+1)*size]
		spans[i] = span{a, out[i]}
	}
	return out, g.read(spans)
}

func withoutNull(addresses []uint64) []uint64 {
	return slices.DeleteFunc(addresses, func(a uint64) bool { return a == 0 })
}
