// Package snapshot is the data model of one capture and its file format.
//
// What flows in: what the capture packages learned from a target. What flows
// out: the same values, read back from an .lscope file. The package records;
// it does not judge: lifecycle states, findings and verdicts belong to analyze.
//
// Rules that hold for every field: what is unknown is an unknown [Optional]
// (null in JSON), never zero; sizes are bytes and end in Bytes; durations are
// seconds and end in Seconds; there are no string values of the target, no
// array contents, no environment.
package snapshot

import (
	"net/netip"
	"time"
)

// Snapshot is everything one capture learned. A nil section was not captured;
// its source says why.
type Snapshot struct {
	Manifest Manifest

	Memory   *Memory   // nil: not captured
	Mappings []Mapping // sorted by start
	FDs      []FD      // sorted by number
	Sockets  []Socket  // sorted by protocol, local, remote, inode
	JVM      *JVM      // nil: not a JVM, or not reachable
	Heap     *Heap     // nil: no heap evidence
}

// Manifest is the entry manifest.json: what this file is and how good it is.
type Manifest struct {
	Schema        string   `json:"schema"`         // urn:leakscope:schema:snapshot:1
	FormatVersion string   `json:"format_version"` // "major.minor"; readers refuse another major
	Tool          Tool     `json:"tool"`
	Target        Target   `json:"target"`
	Clock         Clock    `json:"clock"`
	Interrupted   bool     `json:"interrupted"` // the capture was cut short by a signal
	Sources       []Source `json:"sources"`     // in capture order
	Entries       []Entry  `json:"entries"`     // the other files in the archive, by name
}

// Tool names the program that wrote a file.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Clock says when a capture ran. Started and Finished are UTC.
type Clock struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// UptimeSeconds is CLOCK_BOOTTIME at Started: two snapshots of one boot
	// are that far apart even when the wall clock was set in between.
	UptimeSeconds Optional[float64] `json:"uptime_seconds"`
}

// Entry is one file of the archive.
type Entry struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Target identifies the process looked at: pid, start time and boot id
// together, because pids are reused. A snapshot made from a heap dump file
// alone has PID 0.
type Target struct {
	PID            int               `json:"pid"`
	NamespacePID   int               `json:"namespace_pid"`    // innermost value of NSpid
	StartTimeTicks uint64            `json:"start_time_ticks"` // field 22 of /proc/PID/stat, in clock ticks since boot
	StartedAt      *time.Time        `json:"started_at"`       // derived from ticks and btime
	BootID         string            `json:"boot_id"`
	UID            Optional[int]     `json:"uid"`          // effective
	GID            Optional[int]     `json:"gid"`          // effective
	Name           string            `json:"name"`         // comm, or for a JVM the main class or jar without its path
	Executable     string            `json:"executable"`   // base name only
	CommandLine    []string          `json:"command_line"` // redacted unless asked for
	Redacted       bool              `json:"redacted"`
	ContainerID    string            `json:"container_id,omitempty"`
	Namespaces     map[string]uint64 `json:"namespaces,omitempty"` // "net", "mnt", "pid" to inode
	Kernel         string            `json:"kernel,omitempty"`
	Runtime        Runtime           `json:"runtime"`
	HeapDumpFile   string            `json:"heap_dump_file,omitempty"` // base name, when made from a file
}

// Runtime is the kind of program a target is.
type Runtime string

// The runtimes that capture tells apart.
const (
	RuntimeHotSpot Runtime = "hotspot"
	RuntimeOpenJ9  Runtime = "openj9"
	RuntimeGo      Runtime = "go"
	RuntimeNative  Runtime = "native"
	RuntimeUnknown Runtime = "unknown"
)

// Status says how well a source did.
type Status string

// The statuses of a source.
const (
	StatusOK          Status = "ok"
	StatusPartial     Status = "partial"     // some of it; Reason says what is missing
	StatusDenied      Status = "denied"      // no permission
	StatusUnsupported Status = "unsupported" // this target or kernel cannot tell
	StatusAbsent      Status = "absent"      // not there, or not asked for
	StatusUnstable    Status = "unstable"    // the target changed under every try; nothing was accepted
)

// The names of sources.
const (
	SourceProc         = "proc"
	SourceMemory       = "memory"
	SourceMappings     = "mappings"
	SourceFDs          = "fds"
	SourceFDsAfter     = "fds-after" // the second reading, after a heap step
	SourceSockets      = "sockets"
	SourceSocketsAfter = "sockets-after" // the second reading, after a heap step
	SourceAttach       = "attach"        // version, flags, properties over the attach socket
	SourceNMT          = "nmt"           // native memory tracking
	SourceHeapDump     = "heap-dump"     // streamed from the JVM, or read from a file
	SourceVMStructs    = "vmstructs"     // read from the JVM's memory from outside
)

// Source is one way of learning something, and how it went.
type Source struct {
	Name            string            `json:"name"`
	Status          Status            `json:"status"`
	Reason          string            `json:"reason,omitempty"` // set unless Status is ok
	Hint            string            `json:"hint,omitempty"`   // the way out
	DurationSeconds float64           `json:"duration_seconds"`
	PauseSeconds    Optional[float64] `json:"pause_seconds"` // stop of the target that this source caused; 0 is known to be none
	EstimateSeconds Optional[float64] `json:"estimated_pause_seconds"`
	BytesRead       Optional[int64]   `json:"bytes_read"`
	Detail          map[string]string `json:"detail,omitempty"` // e.g. method, tries
}

// Memory is the process's resident memory split and its limits
// (/proc/PID/status, smaps_rollup, cgroup memory files).
type Memory struct {
	RSSBytes         Optional[int64] `json:"rss_bytes"`
	RSSAnonBytes     Optional[int64] `json:"rss_anon_bytes"`
	RSSFileBytes     Optional[int64] `json:"rss_file_bytes"`
	RSSShmemBytes    Optional[int64] `json:"rss_shmem_bytes"`
	PeakRSSBytes     Optional[int64] `json:"peak_rss_bytes"`
	PSSBytes         Optional[int64] `json:"pss_bytes"`
	SwapBytes        Optional[int64] `json:"swap_bytes"`
	VirtualBytes     Optional[int64] `json:"virtual_bytes"`
	PageTablesBytes  Optional[int64] `json:"page_tables_bytes"`
	Threads          Optional[int64] `json:"threads"`
	CgroupUsedBytes  Optional[int64] `json:"cgroup_used_bytes"`
	CgroupLimitBytes Optional[int64] `json:"cgroup_limit_bytes"` // unknown also when there is no limit
}

// MappingKind classifies a mapping of the target's address space.
type MappingKind string

// The kinds of mapping.
const (
	MappingJavaHeap    MappingKind = "java-heap"
	MappingMetaspace   MappingKind = "metaspace" // class space and shared archive
	MappingCode        MappingKind = "code"      // executable memory that is not a file: a JIT's code cache
	MappingThreadStack MappingKind = "thread-stack"
	MappingMainStack   MappingKind = "main-stack"
	MappingLibrary     MappingKind = "library"      // executable files and their data
	MappingMallocHeap  MappingKind = "malloc-heap"  // [heap], the main arena
	MappingMallocArena MappingKind = "malloc-arena" // 64 MiB-aligned glibc arenas
	MappingAnonymous   MappingKind = "anonymous"
	MappingFile        MappingKind = "file"
	MappingShared      MappingKind = "shared" // shmem, memfd
	MappingKernel      MappingKind = "kernel" // vdso, vvar
)

// Mapping is one VMA (a line of /proc/PID/maps, with smaps figures where they
// could be read).
type Mapping struct {
	Start       Address         `json:"start"`
	End         Address         `json:"end"` // exclusive
	Permissions string          `json:"permissions"`
	Kind        MappingKind     `json:"kind"`
	Name        string          `json:"name,omitempty"` // base name of a file, or [stack] and the like
	RSSBytes    Optional[int64] `json:"rss_bytes"`
	PSSBytes    Optional[int64] `json:"pss_bytes"`
	SwapBytes   Optional[int64] `json:"swap_bytes"`
}

// FD is an open file descriptor. Only its kind and, for a socket, its inode
// are kept; paths are not.
type FD struct {
	Number int    `json:"number"`
	Kind   string `json:"kind"` // socket, pipe, file, anon_inode:[eventpoll], …
	Inode  uint64 `json:"inode,omitempty"`
}

// Protocol is a socket's protocol family and transport.
type Protocol string

// The protocols read.
const (
	TCP4 Protocol = "tcp4"
	TCP6 Protocol = "tcp6"
	Unix Protocol = "unix"
)

// TCPState is the kernel's state of a connection, by its name in
// include/net/tcp_states.h without the prefix.
type TCPState string

// The kernel's TCP states.
const (
	Established TCPState = "ESTABLISHED"
	SynSent     TCPState = "SYN_SENT"
	SynRecv     TCPState = "SYN_RECV"
	FinWait1    TCPState = "FIN_WAIT1"
	FinWait2    TCPState = "FIN_WAIT2"
	TimeWait    TCPState = "TIME_WAIT"
	Close       TCPState = "CLOSE"
	CloseWait   TCPState = "CLOSE_WAIT"
	LastAck     TCPState = "LAST_ACK"
	Listen      TCPState = "LISTEN"
	Closing     TCPState = "CLOSING"
)

// Timer is the socket's pending timer (idiag_timer).
type Timer string

// The timers of a TCP socket.
const (
	TimerNone       Timer = "none"
	TimerRetransmit Timer = "retransmit"
	TimerKeepalive  Timer = "keepalive"
	TimerTimeWait   Timer = "time-wait"
	TimerPersist    Timer = "persist" // zero-window probes
)

// Seen says in which readings of the connection table a socket was there.
type Seen string

// The values of Seen.
const (
	SeenBoth   Seen = "both"
	SeenBefore Seen = "before" // gone at the second reading
	SeenAfter  Seen = "after"  // not there at the first
)

// Socket is the kernel's row for one socket of the target.
type Socket struct {
	Protocol Protocol       `json:"protocol"`
	State    TCPState       `json:"state"`
	Local    netip.AddrPort `json:"local,omitzero"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	Inode    uint64         `json:"inode"` // 0: in the accept queue, or owned by no process
	// Cookie is sock_diag's unique id of the socket; 0 when unknown.
	Cookie uint64 `json:"cookie,omitempty"`
	// Seen says in which of two readings around a heap step the socket was
	// there; "" when the table was read once. Figures are those of the first
	// reading that has it, because a pause makes ages grow.
	Seen Seen `json:"seen,omitempty"`
	// FDs are the target's descriptors for this socket; empty when it has none
	// or the fd table could not be read.
	FDs []int `json:"fds"`

	ReceiveQueueBytes Optional[int64]   `json:"receive_queue_bytes"` // on LISTEN: connections waiting
	SendQueueBytes    Optional[int64]   `json:"send_queue_bytes"`    // on LISTEN: backlog limit
	NotSentBytes      Optional[int64]   `json:"not_sent_bytes"`
	Timer             Timer             `json:"timer,omitempty"` // "": unknown
	TimerSeconds      Optional[float64] `json:"timer_seconds"`
	Retransmits       Optional[int64]   `json:"retransmits"` // unanswered, of the pending timer
	Probes            Optional[int64]   `json:"probes"`
	Backoff           Optional[int64]   `json:"backoff"`
	// Ages at the time of the reading (tcpi_last_*).
	LastSendSeconds    Optional[float64] `json:"last_send_seconds"`
	LastReceiveSeconds Optional[float64] `json:"last_receive_seconds"`
	LastAckSeconds     Optional[float64] `json:"last_ack_seconds"`
	BytesAcked         Optional[int64]   `json:"bytes_acked"`
	BytesReceived      Optional[int64]   `json:"bytes_received"`
	RTTSeconds         Optional[float64] `json:"rtt_seconds"`
	PeerWindowBytes    Optional[int64]   `json:"peer_window_bytes"` // tcpi_snd_wnd
	// Shutdown bits (INET_DIAG_SHUTDOWN): 1 = receive, 2 = send.
	Shutdown Optional[int64] `json:"shutdown"`
	// Kernel memory of the socket (INET_DIAG_SKMEMINFO); outside the process's rss.
	KernelReceiveBytes Optional[int64] `json:"kernel_receive_bytes"`
	KernelSendBytes    Optional[int64] `json:"kernel_send_bytes"`
}

// JVM is what the virtual machine says of itself.
type JVM struct {
	Name    string        `json:"name"`    // e.g. "OpenJDK 64-Bit Server VM"
	Version string        `json:"version"` // e.g. "17.0.15+6-Debian-1deb12u1"
	Feature Optional[int] `json:"feature"` // 8, 17, 25

	Collector            string            `json:"collector,omitempty"`     // Serial, Parallel, G1, Z, Shenandoah, Epsilon
	MaxDirectMemoryBytes Optional[int64]   `json:"max_direct_memory_bytes"` // the effective limit: the flag, or the maximum heap when it is 0
	MaxHeapBytes         Optional[int64]   `json:"max_heap_bytes"`
	HeapUsedBytes        Optional[int64]   `json:"heap_used_bytes"`
	HeapCommittedBytes   Optional[int64]   `json:"heap_committed_bytes"`
	MetaspaceUsedBytes   Optional[int64]   `json:"metaspace_used_bytes"`
	NativeMemoryTracking string            `json:"native_memory_tracking,omitempty"` // off, summary, detail
	Flags                map[string]string `json:"flags"`                            // only those that matter to off-heap memory
	Properties           map[string]string `json:"properties"`                       // io.netty.* and jdk.nio.maxCachedBufferSize, nothing else
	Collections          Optional[int64]   `json:"collections"`                      // since start
	NMT                  []NMTCategory     `json:"nmt"`                              // empty where it is off
	// Counters are those of off-heap memory, sorted by name, where there is no
	// heap section to have them.
	Counters []Counter `json:"counters,omitempty"`
}

// NMTCategory is a row of VM.native_memory summary.
type NMTCategory struct {
	Name           string `json:"name"`
	ReservedBytes  int64  `json:"reserved_bytes"`
	CommittedBytes int64  `json:"committed_bytes"`
}

// Counters returns the counters of off-heap memory that the target keeps
// itself, however they were read.
func (s *Snapshot) Counters() []Counter {
	switch {
	case s.Heap != nil:
		return s.Heap.Counters
	case s.JVM != nil:
		return s.JVM.Counters
	}
	return nil
}
