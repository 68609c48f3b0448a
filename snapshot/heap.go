package snapshot

import "net/netip"

// Heap is what a walk over the managed heap found: each off-heap allocation,
// its holder and its connection. It has the same shape however the heap was
// read (a dump, or live memory from outside).
type Heap struct {
	Method   string          `json:"method"`   // "heap-dump", "heap-dump-file", "vmstructs"
	Complete bool            `json:"complete"` // false: truncated or damaged; what was read is kept
	Reason   string          `json:"reason,omitempty"`
	Objects  Optional[int64] `json:"objects"`
	Bytes    Optional[int64] `json:"read_bytes"`
	Counters []Counter       `json:"counters"` // sorted by name
	Checks   []Check         `json:"checks"`   // sorted by name
	Warnings []string        `json:"warnings"`

	// Retainers is the tree of who would free how much if it were gone; nil
	// when the heap's roots were not all known.
	Retainers *Retainer `json:"retainers,omitempty"`

	// ThreadCaches are the temporary direct buffers that threads keep, most
	// bytes first.
	ThreadCaches []ThreadCache `json:"thread_caches,omitempty"`

	Holders     []Holder         `json:"-"` // indexed by Allocation.Holder
	Connections []HeapConnection `json:"-"` // indexed by Allocation.Connection
	Allocations []Allocation     `json:"-"` // sorted by address, bytes, fate
}

// ThreadCache is what one thread caches of temporary direct buffers
// (sun.nio.ch.Util$BufferCache).
type ThreadCache struct {
	Thread  string         `json:"thread,omitempty"` // its name, printable ASCII; "" when not known
	Live    Optional[bool] `json:"live"`             // false: it has ended
	Buffers int64          `json:"buffers"`
	Bytes   int64          `json:"bytes"`
}

// Kind says how an allocation was made.
type Kind string

// The kinds of allocation.
const (
	KindDirect    Kind = "direct"     // java.nio direct buffer with a Cleaner
	KindNoCleaner Kind = "no-cleaner" // Netty no-cleaner, JNI, or a JDK 24+ temporary buffer
	KindPooled    Kind = "pooled"     // a buffer, or a free part, of a pool's chunk
	KindMapped    Kind = "mapped"     // a mapped file
	KindForeign   Kind = "foreign"    // java.lang.foreign segment
)

// Fate says what became of an allocation; each has exactly one.
type Fate string

// The fates, in the order reports show them.
const (
	FateConnection   Fate = "connection"   // held by a connection
	FateApplication  Fate = "application"  // held, but by no connection
	FateLost         Fate = "lost"         // used in its pool, but no live buffer object is left
	FateUnreachable  Fate = "unreachable"  // garbage waiting for its Cleaner
	FateThreadCache  Fate = "thread-cache" // cached by a thread for reuse
	FatePoolFree     Fate = "pool-free"    // inside a pool's chunk, unused
	FateRuntime      Fate = "runtime"      // the JVM's own
	FateUnattributed Fate = "unattributed" // not known
)

// Fates lists every fate in the order reports show them.
func Fates() []Fate {
	return []Fate{
		FateConnection, FateApplication, FateLost, FateUnreachable,
		FateThreadCache, FatePoolFree, FateRuntime, FateUnattributed,
	}
}

// Allocation is one piece of off-heap memory. A view (slice, duplicate) is not
// an allocation. The chunk of a pool is not one either: its live buffers are,
// and the rest of it appears as up to three rows of fate lost, thread-cache
// and pool-free, so that the rows of a chunk sum to its size.
type Allocation struct {
	Address Address `json:"address"` // native; for a row that stands for the rest of a chunk, the chunk's
	Bytes   int64   `json:"bytes"`
	Kind    Kind    `json:"kind"`
	Fate    Fate    `json:"fate"`
	Chunk   Address `json:"chunk,omitempty"` // of a pooled one: the native address of its chunk
	// Holder and Connection are indexes in [Heap]; -1 when it has none. There can
	// be millions of rows: they are as small as that allows.
	Holder     int32 `json:"holder"`
	Connection int32 `json:"connection"`
	Sharers    int32 `json:"sharers,omitempty"` // connections at equal distance, when more than one
	// Remainder marks a row that stands for a part of a chunk rather than one
	// buffer: its identity across snapshots is address and fate, not the size.
	Remainder bool `json:"remainder,omitempty"`
}

// Holder is the object path that keeps allocations alive, from the connection
// or GC root down. Allocations with equal paths share one Holder.
type Holder struct {
	// Path has one "fully.qualified.Class.field" a step; repeated links are
	// collapsed ("…Entry.next…"), hash table internals folded away.
	Path []string `json:"path"`
	// Root says what the path starts from: "connection", "static", "thread",
	// "jni", "other root"; "" when unknown.
	Root string `json:"root,omitempty"`
}

// HeapConnection is the heap object that stands for a connection.
type HeapConnection struct {
	Class string `json:"class"` // of the outermost object, e.g. io.netty.channel.socket.nio.NioSocketChannel
	// Object is the address of the object in the heap; it is no identity
	// across snapshots, because the collector moves objects.
	Object    Address        `json:"object"`
	FD        Optional[int]  `json:"fd"`              // what the object says; stale once Closed
	Closed    Optional[bool] `json:"closed"`          // the object's own word
	State     string         `json:"state,omitempty"` // connected, closed, … from the class's ST_ constants
	Listening bool           `json:"listening,omitempty"`
	Local     netip.AddrPort `json:"local,omitzero"`
	Remote    netip.AddrPort `json:"remote,omitzero"`
	// Reachable is false when the object itself is garbage.
	Reachable Optional[bool] `json:"reachable"`
	// Evidence holds the few primitive fields that prove a cause, by
	// "SimpleClass.field" (e.g. "ChannelOutboundBuffer.totalPendingSize").
	Evidence map[string]int64 `json:"evidence,omitempty"`
	// Labels holds class and gRPC method names that evidence needs, never
	// other strings.
	Labels map[string]string `json:"labels,omitempty"`
}

// Counter is a figure the target keeps itself, e.g.
// "java.nio.Bits.RESERVED_MEMORY".
type Counter struct {
	Name  string          `json:"name"`
	Value Optional[int64] `json:"value"`
}

// Check compares two ways of learning one figure inside a heap.
type Check struct {
	Name     string `json:"name"`
	Expected int64  `json:"expected"`
	Actual   int64  `json:"actual"`
	OK       bool   `json:"ok"`
}

// Retainer is one step of the tree of retained sizes: all objects at one
// "Class.field" below one parent step. What it retains would be freed if they
// were gone. The bytes of its children sum to its own or less: the difference
// stands at the step itself.
type Retainer struct {
	Step        string      `json:"step"`           // "" at the top; "(others)" sums those that are not told apart
	Root        string      `json:"root,omitempty"` // of a child of the top: as Holder.Root, or "several roots"
	Objects     int64       `json:"objects"`        // objects that stand at this step
	Allocations int64       `json:"allocations"`    // allocations they retain
	Bytes       int64       `json:"bytes"`          // off-heap bytes they retain, Children included
	Children    []*Retainer `json:"children,omitempty"`
}
