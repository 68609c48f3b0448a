package heap

import "strings"

// trait is what the walk must know of a class to pass through its objects.
type trait uint16

const (
	// hub is shared by many connections: the walk does not enter it.
	hub trait = 1 << iota
	// ownRoot is a hub that is a place to start from when the question is what
	// holds an allocation: a thread, a class, a class loader.
	ownRoot
	// internal is the inside of a collection: no step of a path.
	internal
	// wrapper is a view or a wrapper of a buffer: no step of a path.
	wrapper
	// entry is a node of a collection that holds one element of it.
	entry
	// chain is an element of a list whose links are no steps of a path.
	chain
	// runtimeHolder is the JDK's own holder of off-heap memory.
	runtimeHolder
	// threadCache keeps buffers that a thread will use again.
	threadCache
)

// traitTable gives traits to classes by the end of their names, and to their
// subclasses.
var traitTable = []struct {
	class string
	trait trait
}{
	{"java.lang.Class", hub | ownRoot},
	{"java.lang.Thread", hub | ownRoot},
	{"java.lang.ClassLoader", hub | ownRoot},
	{"java.lang.ThreadGroup", hub},
	{"java.lang.ThreadLocal", hub},
	{"java.lang.ThreadLocal$ThreadLocalMap", hub},
	{"java.lang.ref.ReferenceQueue", hub},
	{"java.lang.ref.Cleaner", hub},
	{"jdk.internal.ref.CleanerImpl", hub},
	{"java.lang.Module", hub},
	{"java.util.concurrent.AbstractExecutorService", hub},
	{"java.util.Timer", hub},
	{"java.nio.channels.spi.AbstractSelector", hub},
	{"java.nio.channels.spi.SelectorProvider", hub},
	{"io.netty.util.concurrent.AbstractEventExecutor", hub},
	{"io.netty.util.concurrent.AbstractEventExecutorGroup", hub},
	{"io.netty.channel.nio.NioIoHandler", hub},
	{"io.netty.channel.epoll.EpollIoHandler", hub},
	{"io.netty.channel.nio.SelectedSelectionKeySet", hub},
	{"io.netty.channel.group.DefaultChannelGroup", hub},
	{"io.netty.bootstrap.AbstractBootstrap", hub},
	{"io.netty.util.HashedWheelTimer", hub},
	{"io.netty.util.HashedWheelTimer$HashedWheelBucket", hub},
	{"io.netty.util.internal.InternalThreadLocalMap", hub},
	{"io.netty.util.Recycler", hub},
	{"io.netty.util.Recycler$Stack", hub},
	{"io.netty.util.Recycler$LocalPool", hub},
	{"io.netty.util.Recycler$DefaultHandle", hub},
	{"io.netty.util.Recycler$WeakOrderQueue", hub},
	{"io.netty.buffer.AbstractByteBufAllocator", hub},
	{"io.netty.buffer.PoolArena", hub},
	{"io.netty.buffer.PoolChunk", hub},
	{"io.netty.buffer.PoolChunkList", hub},
	{"io.netty.buffer.PoolSubpage", hub},
	{"io.netty.buffer.PoolThreadCache", hub},
	{"io.netty.buffer.PoolThreadCache$MemoryRegionCache", hub},
	{"io.netty.buffer.AdaptivePoolingAllocator", hub},
	{"io.netty.buffer.AdaptivePoolingAllocator$Magazine", hub},
	{"io.netty.buffer.AdaptivePoolingAllocator$MagazineGroup", hub},
	{"io.netty.buffer.AdaptivePoolingAllocator$Chunk", hub},
	{"io.netty.util.ResourceLeakDetector", hub},
	{"io.netty.util.ResourceLeakDetector$DefaultResourceLeak", hub},

	{"io.netty.buffer.WrappedByteBuf", wrapper},
	{"io.netty.buffer.WrappedCompositeByteBuf", wrapper},
	{"io.netty.buffer.AbstractDerivedByteBuf", wrapper},
	{"io.netty.buffer.AbstractPooledDerivedByteBuf", wrapper},
	{"io.netty.buffer.SwappedByteBuf", wrapper},
	{"java.nio.Buffer", wrapper},

	{"sun.nio.ch.Util$BufferCache", threadCache},

	{"java.util.HashMap$Node", entry},
	{"java.util.Hashtable$Entry", entry},
	{"java.util.TreeMap$Entry", entry},
	{"java.util.WeakHashMap$Entry", entry},
	{"java.util.AbstractMap$SimpleEntry", entry},
	{"java.util.concurrent.ConcurrentHashMap$Node", entry},
	{"java.util.concurrent.ConcurrentSkipListMap$Node", entry},
	{"java.lang.ThreadLocal$ThreadLocalMap$Entry", entry},
	{"io.netty.channel.DefaultChannelPipeline", internal},
	{"io.netty.channel.AbstractChannelHandlerContext", chain},
	{"io.netty.util.collection.IntObjectHashMap", internal},
	{"io.netty.util.collection.LongObjectHashMap", internal},
}

// linkFields lead from one element of a collection to another.
var linkFields = map[string]bool{
	"next": true, "prev": true, "before": true, "after": true,
	"left": true, "right": true, "parent": true, "previous": true,
}

// valueFields of an entry lead to what it holds.
var valueFields = map[string]bool{"value": true, "val": true, "key": true, "item": true}

// runtimePackages hold off-heap memory of the JVM itself: the module image and
// the performance counters.
var runtimePackages = []string{"jdk.internal.jimage.", "jdk.internal.jrtfs.", "jdk.internal.perf.", "sun.misc.Perf"}

// classify looks up roles and traits of all classes.
func (w *walk) classify() {
	w.roles = make([]*wanted, len(w.classes))
	w.traits = make([]trait, len(w.classes))
	w.layouts = map[ClassID][]Field{}
	w.statics = map[ClassID][]string{}
	w.mirrors = map[Node]ClassID{}
	for i := range w.classes {
		c := &w.classes[i]
		w.roles[i] = lookWanted(w.classes, ClassID(i))
		w.traits[i] = w.lookTrait(ClassID(i))
		if c.Mirror != None {
			w.mirrors[c.Mirror] = ClassID(i)
		}
	}
}

func (w *walk) lookTrait(c ClassID) (t trait) {
	name := w.classes[c].Name
	for _, p := range runtimePackages {
		if strings.HasPrefix(name, p) {
			t |= runtimeHolder
		}
	}
	if strings.HasPrefix(name, "java.util.") {
		t |= internal
	}
	for steps := 0; c >= 0 && int(c) < len(w.classes) && steps <= maxSupers; steps++ {
		for i := range traitTable {
			if hasSuffix(w.classes[c].Name, traitTable[i].class) {
				return t | traitTable[i].trait
			}
		}
		c = w.classes[c].Super
	}
	return t
}

func (w *walk) trait(n Node) trait {
	if c := w.g.Class(n); c >= 0 {
		return w.traits[c]
	}
	return 0
}
