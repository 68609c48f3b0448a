package heap

import "strings"

// wanted is one row of the table of classes the walk looks for: which objects
// it asks a graph for and which of their fields it reads. A row names a class
// by the end of its name at a dot, because libraries are relocated
// (org.apache.hbase.thirdparty.io.netty…), and holds for its subclasses too.
// Rows are facts of the JDK and of libraries; adding one needs no other code
// unless the walk is to do something with it. Of a reference "field?" only whether
// it is null is kept.
type wanted struct {
	class  string
	role   role
	fields []string
}

// role says what the walk does with objects of a class.
type role uint8

const (
	roleNone          role = iota
	roleBuffer             // a JDK direct buffer or a view of one
	roleDeallocator        // the thunk that frees a direct buffer
	roleUnmapper           // the thunk that unmaps a file
	roleCleanup            // the action that frees a foreign segment
	roleCleaner            // links a buffer to its thunk
	rolePooled             // a buffer of a Netty pool
	roleChunk              // the chunk of a Netty pool
	roleSubpage            // a run of a chunk cut into equal elements
	roleCacheEntry         // a freed region that a thread keeps for reuse
	roleAdaptive           // a buffer of Netty 4.2's adaptive allocator
	roleAdaptiveChunk      // the chunk of one
	roleSocket             // a JDK socket or socket channel
	roleServer             // a JDK server socket channel
	roleChannel            // a Netty channel
	roleKey                // a selection key
	roleAddress            // part of a socket address, or a descriptor
	roleCounter            // the value of a counter that a class keeps
	roleEvidence           // read as evidence of a cause
	roleThread             // a thread, for what it caches
	roleImage              // a reader of the JVM's module image

	roles // how many there are
)

// frees reports a role of objects that say how memory is freed, and hold none:
// they are looked up from the buffer, never met on a way.
func (r role) frees() bool { return r == roleDeallocator || r == roleUnmapper || r == roleCleaner }

var wantedClasses = []wanted{
	// java.nio (java.base)
	{"java.nio.DirectByteBuffer", roleBuffer, []string{"address", "capacity", "att", "cleaner", "segment?"}},
	{"java.nio.DirectByteBuffer$Deallocator", roleDeallocator, []string{"address", "size"}},
	{"sun.nio.ch.FileChannelImpl$Unmapper", roleUnmapper, []string{"address", "size", "cap"}},
	{"jdk.internal.ref.Cleaner", roleCleaner, []string{"thunk", "next"}},
	{"sun.misc.Cleaner", roleCleaner, []string{"thunk", "next"}},
	{"java.nio.BufferCleaner$PhantomCleaner", roleCleaner, []string{"action", "node"}},
	{"jdk.internal.foreign.MemorySessionImpl$ResourceList$ResourceCleanup", roleCleanup, []string{"*"}},

	{"jdk.internal.jimage.BasicImageReader", roleImage, []string{"memoryMap"}},

	{"java.lang.Thread", roleThread, []string{"eetop", "name"}},
	{virtualThread, roleThread, []string{"state"}},
	{"java.util.concurrent.atomic.AtomicLong", roleCounter, []string{"value"}},

	// sun.nio.ch and java.net
	{"sun.nio.ch.SocketChannelImpl", roleSocket, []string{"fdVal", "state", "closed", "localAddress", "remoteAddress"}},
	{"sun.nio.ch.ServerSocketChannelImpl", roleServer, []string{"fdVal", "state", "closed", "localAddress"}},
	{"sun.nio.ch.NioSocketImpl", roleSocket, []string{"fd", "state", "address", "port", "localport", "isInputClosed", "isOutputClosed", "serverSocket", "server"}},
	{"java.net.PlainSocketImpl", roleSocket, []string{"fd", "closePending", "address", "port", "localport", "shut_rd", "shut_wr", "serverSocket"}},
	{"sun.nio.ch.SelectionKeyImpl", roleKey, []string{"channel", "attachment", "interestOps", "invalid", "valid"}},
	{"java.io.FileDescriptor", roleAddress, []string{"fd"}},
	{"java.net.InetSocketAddress", roleAddress, []string{"holder"}},
	{"java.net.InetSocketAddress$InetSocketAddressHolder", roleAddress, []string{"addr", "port"}},
	{"java.net.InetAddress", roleAddress, []string{"holder", "holder6"}},
	{"java.net.InetAddress$InetAddressHolder", roleAddress, []string{"address"}},
	{"java.net.Inet6Address$Inet6AddressHolder", roleAddress, []string{"ipaddress"}},

	// Netty
	{"io.netty.buffer.PooledByteBuf", rolePooled, []string{"chunk", "handle", "offset", "length", "maxLength", "memory", "refCnt"}},
	{"io.netty.buffer.PoolChunk", roleChunk, []string{"memory", "chunkSize", "freeBytes", "arena", "unpooled", "pageSize", "pageShifts", "maxOrder", "log2ChunkSize", "maxSubpageAllocs", "destroyed"}},
	{"io.netty.buffer.PoolSubpage", roleSubpage, []string{"chunk", "elemSize", "maxNumElems", "numAvail", "doNotDestroy", "pageSize", "runSize", "runOffset", "memoryMapIdx"}},
	{"io.netty.buffer.PoolThreadCache$MemoryRegionCache$Entry", roleCacheEntry, []string{"chunk", "handle", "normCapacity"}},
	{"io.netty.buffer.AdaptivePoolingAllocator$AdaptiveByteBuf", roleAdaptive, []string{"rootParent", "chunk", "startIndex", "adjustment", "length", "maxFastCapacity"}},
	{"io.netty.buffer.AdaptivePoolingAllocator$Chunk", roleAdaptiveChunk, []string{"delegate", "capacity", "allocatedBytes", "magazine"}},
	{"io.netty.channel.nio.AbstractNioChannel", roleChannel, []string{"ch", "closeInitiated", "registered", "readInterestOp", "parent"}},
	{"io.netty.channel.epoll.AbstractEpollChannel", roleChannel, []string{"socket", "closeInitiated", "registered", "active", "local", "remote", "parent"}},
	{"io.netty.channel.kqueue.AbstractKQueueChannel", roleChannel, []string{"socket", "closeInitiated", "registered", "active", "local", "remote", "parent"}},
	{"io.netty.channel.unix.FileDescriptor", roleAddress, []string{"fd", "state"}},
}

// Wanted returns the names of the fields of c that the walk reads, or nil when
// objects of c are of no interest to it. "*" means every primitive field, and
// "field?" whether a reference is null.
func Wanted(classes []Class, c ClassID) []string {
	if w := lookWanted(classes, c); w != nil {
		return w.fields
	}
	return nil
}

// lookWanted finds the row of the table for c or its nearest superclass that
// has one.
func lookWanted(classes []Class, c ClassID) *wanted {
	for steps := 0; c >= 0 && int(c) < len(classes) && steps <= maxSupers; steps++ {
		name := classes[c].Name
		for i := range wantedClasses {
			if hasSuffix(name, wantedClasses[i].class) {
				return &wantedClasses[i]
			}
		}
		c = classes[c].Super
	}
	return nil
}

// StandsForConnection tells whether objects of a class are sockets, channels, or
// their selection keys.
func StandsForConnection(classes []Class, c ClassID) bool {
	w := lookWanted(classes, c)
	return w != nil && (w.role == roleSocket || w.role == roleServer || w.role == roleChannel || w.role == roleKey)
}

// hasSuffix reports whether name is class, or class relocated below another package.
func hasSuffix(name, class string) bool {
	rest, ok := strings.CutSuffix(name, class)
	return ok && (rest == "" || rest[len(rest)-1] == '.')
}

// WeakField reports whether the field that class declares is no strong
// reference: what a java.lang.ref.Reference refers to, and the lists that
// Cleaners and Finalizers are chained into.
func WeakField(class, field string) bool {
	switch class {
	case "java.lang.ref.Reference":
		return field == "referent" || field == "discovered"
	case "jdk.internal.ref.Cleaner", "sun.misc.Cleaner", "java.lang.ref.Finalizer":
		return field == "next" || field == "prev"
	case "java.nio.BufferCleaner$PhantomCleaner":
		return field == "node"
	}
	return false
}
