package heap

import (
	"encoding/binary"
	"testing"
)

// TestEpollChannel reads Netty's native transport, which has no JDK channel:
// AbstractEpollChannel.socket, a LinuxSocket that extends unix.FileDescriptor.
func TestEpollChannel(t *testing.T) {
	for _, prefix := range []string{"", "io.grpc.netty.shaded."} {
		t.Run(prefix, func(t *testing.T) {
			b := newBuilder()
			in := prefix + "io.netty.channel."
			b.class(in+"unix.FileDescriptor", "java.lang.Object", "fd:10", "state:10")
			b.class(in+"epoll.LinuxSocket", in+"unix.FileDescriptor")
			b.class(in+"epoll.AbstractEpollChannel", "java.lang.Object", "socket", "active:4", "local", "remote")
			b.class(in+"epoll.EpollSocketChannel", in+"epoll.AbstractEpollChannel", "outbound")
			channel := func(fd, state, address uint64) {
				b.root(b.object(in+"epoll.EpollSocketChannel", map[string]uint64{
					"socket":   b.object(in+"epoll.LinuxSocket", map[string]uint64{"fd": fd, "state": state}),
					"outbound": b.buffer(address, 3000),
				}), 0x01)
			}
			channel(11, 0, 0x1000000)
			channel(12, 1, 0x2000000) // bit 0: closed
			r := b.read(t)
			if len(r.Connections) != 2 {
				t.Fatalf("%d connections", len(r.Connections))
			}
			for i, c := range r.Connections {
				if c.FD == nil || *c.FD != 11+i || c.Closed == nil || *c.Closed != (i == 1) || c.Class != in+"epoll.EpollSocketChannel" {
					t.Errorf("connection %d: %+v", i, c)
				}
			}
			for i, a := range r.Allocations {
				if a.Fate != FateConnection || a.Connection != int32(i) || a.Bytes != 3000 {
					t.Errorf("allocation %d: %+v", i, a)
				}
			}
		})
	}
}

// TestForeignMemory reads segments of java.lang.foreign (JDK 22 on) by what
// frees them: two segments that share memory are one allocation, and one whose
// arena is closed is none.
func TestForeignMemory(t *testing.T) {
	b := newBuilder()
	const cleanup = "jdk.internal.foreign.MemorySessionImpl$ResourceList$ResourceCleanup"
	b.class(cleanup, "java.lang.Object", "next")
	b.class("jdk.internal.foreign.SegmentFactories$1", cleanup, "val$size:11", "val$allocationBase:11")
	b.class("jdk.internal.foreign.MemorySessionImpl$ResourceList", "java.lang.Object", "fst")
	b.class("jdk.internal.foreign.ConfinedSession", "java.lang.Object", "resourceList")
	b.class("jdk.internal.foreign.NativeMemorySegmentImpl", "java.lang.Object", "scope", "length:11", "min:11")
	free := b.object("jdk.internal.foreign.SegmentFactories$1", map[string]uint64{"val$size": 5000, "val$allocationBase": 0x1000000})
	scope := b.object("jdk.internal.foreign.ConfinedSession", map[string]uint64{
		"resourceList": b.object("jdk.internal.foreign.MemorySessionImpl$ResourceList", map[string]uint64{"fst": free}),
	})
	for _, min := range []uint64{0x1000000, 0x1000800} {
		b.root(b.object("jdk.internal.foreign.NativeMemorySegmentImpl", map[string]uint64{"scope": scope, "length": 2048, "min": min}), 0x01)
	}
	b.object("jdk.internal.foreign.SegmentFactories$1", map[string]uint64{"val$size": 7000, "val$allocationBase": 0x2000000}) // its arena is gone
	// The JDK counts no arena but automatic ones: the check must not fail.
	b.class("java.nio.Bits", "java.lang.Object")
	b.class("java.util.concurrent.atomic.AtomicLong", "java.lang.Object", "value:11")
	b.static("java.nio.Bits", "RESERVED_MEMORY", b.object("java.util.concurrent.atomic.AtomicLong", map[string]uint64{"value": 0}))
	r := b.read(t)
	if len(r.Checks) != 1 || !r.Checks[0].OK {
		t.Errorf("checks %+v", r.Checks)
	}
	if len(r.Allocations) != 1 || r.Allocations[0].Bytes != 5000 || r.Allocations[0].Kind != KindForeign || r.Allocations[0].Fate != FateApplication {
		t.Errorf("%+v", r.Allocations)
	}
}

// TestArrayBeforeItsClass has a large array come before the description of its
// class: what it refers to that holds nothing is dropped as it is read all the
// same, and the rest is kept, also when the description never comes.
func TestArrayBeforeItsClass(t *testing.T) {
	b := newBuilder()
	class := b.m.classes[b.byName["java.lang.Object[]"]].id
	leaf := b.object("app.Node", nil)
	buffer := b.object("app.Node", nil)
	red := newReduction(8, 0)
	red.start(leaf)
	w := red.newReducer()
	w.leaf(red.pages.pack(leaf))
	elements := binary.BigEndian.AppendUint64(nil, leaf)
	for len(elements) < 1<<20 {
		elements = append(elements, elements...)
	}
	binary.BigEndian.PutUint64(elements[8*1000:], buffer)
	part := func(first, last bool) { w.ObjectArray(leaf+8, class, elements, first, last) }
	part(true, false)
	part(false, false)
	if n := testing.AllocsPerRun(50, func() { part(false, false) }); n > 1 {
		t.Errorf("%v allocations for a part of an array", n)
	}
	part(false, true)
	if unknown, _ := red.finish(); unknown != 1 {
		t.Errorf("%d objects of unknown classes", unknown)
	}
	targets := 0
	for _, c := range w.chunks {
		for i, mask := range c.masks {
			if c.srcs[i] != red.pages.pack(leaf+8) || rowTargets(mask) != 1 {
				t.Fatalf("row of %d with mask %x", c.srcs[i], mask)
			}
			targets++
		}
	}
	if targets != 54 || w.objects != 1 {
		t.Errorf("%d references of %d objects were kept, want 54 of 1", targets, w.objects)
	}
}

// TestAlignedChunk has a pool whose chunk is a view of the buffer that was
// allocated for it (-Dio.netty.allocator.directMemoryCacheAlignment): that is
// the same memory, and counts once.
func TestAlignedChunk(t *testing.T) {
	b := newBuilder()
	b.class("io.netty.buffer.PoolChunk", "java.lang.Object", "memory", "chunkSize:10", "freeBytes:10", "pageSize:10")
	base := b.buffer(0x1000010, 1<<16+64)
	view := b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x1000040, "capacity": 1 << 16, "att": base})
	b.static("app.Registry", "chunk", b.object("io.netty.buffer.PoolChunk", map[string]uint64{
		"memory": view, "chunkSize": 1 << 16, "freeBytes": 1 << 16, "pageSize": 8192,
	}))
	b.static("app.Registry", "other", b.buffer(0x2000000, 500))
	r := b.read(t)
	if len(r.Allocations) != 2 || r.Allocations[0].Fate != FatePoolFree || r.Allocations[0].Bytes != 1<<16 || r.Allocations[1].Bytes != 500 {
		t.Errorf("%+v", r.Allocations)
	}
}

// TestModuleImage has a program keep a view of the JVM's module image: the way
// from the roots through it is the shorter one, and the image is the JVM's own all
// the same.
func TestModuleImage(t *testing.T) {
	b := newBuilder()
	b.class("jdk.internal.jimage.BasicImageReader", "java.lang.Object", "memoryMap")
	b.class("jdk.internal.jimage.ImageReader$SharedImageReader", "jdk.internal.jimage.BasicImageReader", "other")
	image := b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x1000000, "capacity": 1 << 27})
	view := func() uint64 {
		return b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x1000000, "capacity": 1 << 27, "att": image})
	}
	reader := b.object("jdk.internal.jimage.ImageReader$SharedImageReader", map[string]uint64{"memoryMap": view()})
	b.static("app.Registry", "reader", b.object("app.Node", map[string]uint64{"a": b.object("app.Node", map[string]uint64{"a": reader})}))
	b.static("app.Registry", "view", view())
	b.static("app.Registry", "own", b.buffer(0x90000000, 500))
	r := b.read(t)
	if len(r.Allocations) != 2 || r.Allocations[0].Fate != FateRuntime || r.Allocations[0].Bytes != 1<<27 || r.Allocations[1].Fate != FateApplication {
		t.Errorf("%+v", r.Allocations)
	}
}
