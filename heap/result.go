package heap

import "net/netip"

// Result is what a walk over a heap found: each off-heap allocation, its
// holder and its connection. It has the shape of a snapshot's heap section;
// capture converts it.
type Result struct {
	Complete bool   // false: truncated or damaged; what was read is kept
	Reason   string // set unless Complete
	Objects  int64  // objects read; -1 when not known
	Bytes    int64  // bytes of input read; -1 when not known

	Counters []Counter // sorted by name
	Checks   []Check   // sorted by name
	Warnings []string

	Holders     []Holder     // indexed by Allocation.Holder
	Connections []Connection // indexed by Allocation.Connection
	Allocations []Allocation // sorted by address, bytes, fate

	ThreadCaches []ThreadCache // most bytes first

	// Retainers is the tree of who would free how much if it were gone: exact
	// retained off-heap sizes, by dominators. Nil when roots are not known.
	Retainers *Retainer
}

// Kind says how an allocation was made; String gives a snapshot's word for it.
type Kind uint8

// The kinds of allocation.
const (
	KindDirect    Kind = iota // java.nio direct buffer with a Cleaner
	KindNoCleaner             // Netty no-cleaner, JNI, or a JDK 24+ temporary buffer
	KindPooled                // a buffer, or a free part, of a pool's chunk
	KindMapped                // a mapped file
	KindForeign               // java.lang.foreign segment
)

var kindNames = [...]string{"direct", "no-cleaner", "pooled", "mapped", "foreign"}

// String returns the word that snapshots use.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// Fate says what became of an allocation; each has exactly one. String gives a
// snapshot's word for it.
type Fate uint8

// The fates, in the order allocations of one address and size are sorted.
const (
	FateConnection Fate = iota
	FateApplication
	FateLost
	FateUnreachable
	FateThreadCache
	FatePoolFree
	FateRuntime
	FateUnattributed
)

var fateNames = [...]string{
	"connection", "application", "lost", "unreachable",
	"thread-cache", "pool-free", "runtime", "unattributed",
}

// String returns the word that snapshots use.
func (f Fate) String() string {
	if int(f) < len(fateNames) {
		return fateNames[f]
	}
	return ""
}

// Allocation is one piece of off-heap memory. The chunk of a pool is not one:
// its live buffers are, and the rest of it appears as up to three rows of fate
// lost, thread-cache and pool-free, so that the rows of a chunk sum to its size.
type Allocation struct {
	Address    uint64 // native; of a Remainder, the chunk's
	Bytes      int64
	Chunk      uint64 // of a pooled one: the native address of its chunk
	Holder     int32  // index of its holder path; -1 when it has none
	Connection int32  // index of its connection; -1 when it has none
	Kind       Kind
	Fate       Fate
	Remainder  bool  // stands for a part of a chunk rather than for one buffer
	Sharers    uint8 // connections at equal distance, when more than one

	node Node // the object that stands for it; None: only its clean-up is left, or it is a Remainder
}

// Holder is the object path that keeps allocations alive, from the connection
// or root down. Allocations with equal paths share one.
type Holder struct {
	Path []string // "fully.qualified.Class.field" a step
	Root string   // "connection", "static", "thread", "jni", "other root"; "" when unknown
}

// Connection is the heap object that stands for a connection.
type Connection struct {
	Class     string // of the outermost object
	Object    uint64 // its address in the heap
	FD        *int   // nil: not known
	Closed    *bool  // nil: not known
	State     string // from the class's ST_ constants, lower case
	Listening bool
	Local     netip.AddrPort
	Remote    netip.AddrPort
	Reachable *bool            // nil: not known
	Evidence  map[string]int64 // by "SimpleClass.field"
	Labels    map[string]string
}

// Counter is a figure the target keeps itself, e.g.
// "java.nio.Bits.RESERVED_MEMORY".
type Counter struct {
	Name  string
	Value int64
	Known bool
}

// Check compares two ways of learning one figure inside a heap.
type Check struct {
	Name     string
	Expected int64
	Actual   int64
	OK       bool
}

// Retainer is one step of the tree of retained sizes: all objects at one
// "Class.field" below one parent step. What it retains would be freed if they
// were gone.
type Retainer struct {
	Step        string // "" at the top
	Root        string // of a child of the top: as Holder.Root
	Objects     int64  // objects that stand at this step
	Allocations int64  // allocations they retain
	Bytes       int64  // off-heap bytes they retain, those of Children included
	Children    []*Retainer
}
