package analyze

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// Connection is a connection of one snapshot seen from both sides.
type Connection struct {
	Heap   *snapshot.HeapConnection // nil: only the kernel knows it
	Socket *snapshot.Socket         // nil: only the heap knows it

	State      State
	Reason     string
	Confidence Confidence

	Allocations int64
	Bytes       int64 // of the allocations it holds

	local, remote netip.AddrPort
	ordinal       int // among connections with the same addresses
}

// ID names the connection by what stays the same across snapshots: its
// addresses, and a number where several share them.
func (c *Connection) ID() string {
	var b strings.Builder
	switch {
	case c.remote.IsValid():
		b.WriteString(c.local.String() + "-" + c.remote.String())
	case c.local.IsValid():
		b.WriteString(c.local.String())
	case c.Socket != nil:
		fmt.Fprintf(&b, "inode:%d", c.Socket.Inode)
	default:
		b.WriteString("unnamed:" + shortClass(c.Heap.Class))
	}
	if c.ordinal > 0 {
		fmt.Fprintf(&b, "/%d", c.ordinal+1)
	}
	return b.String()
}

// Attribution is one snapshot with its halves joined.
type Attribution struct {
	Snapshot    *snapshot.Snapshot
	Connections []Connection
	// ByHeap maps the index of a heap connection to its place in Connections;
	// -1 for a garbage object that holds nothing.
	ByHeap   []int
	Warnings []string

	haveHeap bool
}

// Attribute joins a snapshot's heap connections to the kernel's rows, by fd to
// inode to socket, verified by address and port, and gives each connection its
// lifecycle state. A channel that says closed is believed over the number it
// still has in its fd field, which the kernel may have given to another socket.
func Attribute(s *snapshot.Snapshot, o Options) *Attribution {
	a := &Attribution{Snapshot: s, haveHeap: s.Heap != nil}
	known := tablesOf(s)
	index := indexSockets(s)
	taken := make([]bool, len(s.Sockets))

	if s.Heap != nil {
		a.ByHeap = make([]int, len(s.Heap.Connections))
		held := heldBytes(s.Heap)
		for i := range s.Heap.Connections {
			h := &s.Heap.Connections[i]
			socket := index.find(h, taken)
			if socket < 0 && held[i].bytes == 0 && !h.Reachable.Or(true) {
				a.ByHeap[i] = -1 // garbage of a connection long gone
				continue
			}
			c := Connection{Heap: h, local: h.Local, remote: h.Remote, Allocations: held[i].count, Bytes: held[i].bytes}
			var j judgement
			if socket >= 0 {
				taken[socket] = true
				c.Socket = &s.Sockets[socket]
				c.local, c.remote = cmp.Or(c.Socket.Local, c.local), cmp.Or(c.Socket.Remote, c.remote)
				j = judgeSocket(c.Socket, h, o.idleSeconds())
				if c.Socket.Seen == snapshot.SeenBefore || c.Socket.Seen == snapshot.SeenAfter {
					j.confidence = Inferred
					j.reason += "; seen only " + string(c.Socket.Seen) + " the heap was read"
				}
			} else {
				j = judgeHeapOnly(h, known)
			}
			c.State, c.Reason, c.Confidence = j.state, j.reason, j.confidence
			a.ByHeap[i] = len(a.Connections)
			a.Connections = append(a.Connections, c)
		}
	}
	for i := range s.Sockets {
		socket := &s.Sockets[i]
		if taken[i] || socket.Protocol == snapshot.Unix {
			continue
		}
		j := judgeSocket(socket, nil, o.idleSeconds())
		if j.confidence == Exact {
			j.confidence = Inferred // no heap object stands for it
		}
		a.Connections = append(a.Connections, Connection{
			Socket: socket, local: socket.Local, remote: socket.Remote,
			State: j.state, Reason: j.reason, Confidence: j.confidence,
		})
	}
	number(a.Connections)
	return a
}

// tables says of which protocols a socket that is not in the connection table
// is known not to exist, else why not.
type tables struct {
	tcp, unix bool
	why       string
}

func tablesOf(s *snapshot.Snapshot) tables {
	sockets, okSockets := findSource(s, snapshot.SourceSockets)
	fds, okFDs := findSource(s, snapshot.SourceFDs)
	if !okSockets || !okFDs {
		return tables{why: "the connection table was not captured"}
	}
	if fds.Status != snapshot.StatusOK {
		return tables{why: fmt.Sprintf("source %s is %s: %s", fds.Name, fds.Status, fds.Reason)}
	}
	t := tables{tcp: sockets.HasTCP(), unix: sockets.HasTables(snapshot.Unix)}
	if !t.tcp || !t.unix {
		t.why = fmt.Sprintf("source %s is %s: %s", sockets.Name, sockets.Status, sockets.Reason)
	}
	return t
}

// has reports whether the table is known whole in which a heap connection's
// socket would be. One without an address may be of any protocol.
func (t tables) has(h *snapshot.HeapConnection) bool {
	if h.Remote.IsValid() || h.Local.IsValid() {
		return t.tcp
	}
	return t.tcp && t.unix
}

func findSource(s *snapshot.Snapshot, name string) (snapshot.Source, bool) {
	i := slices.IndexFunc(s.Manifest.Sources, func(src snapshot.Source) bool { return src.Name == name })
	if i < 0 {
		return snapshot.Source{}, false
	}
	return believed(s, s.Manifest.Sources[i]), true
}

// believed is a source as far as the snapshot bears it out: one that says ok
// and whose section is not there has delivered nothing.
func believed(s *snapshot.Snapshot, source snapshot.Source) snapshot.Source {
	missing := false
	switch source.Name {
	case snapshot.SourceSockets:
		missing = s.Sockets == nil
	case snapshot.SourceFDs:
		missing = s.FDs == nil
	case snapshot.SourceMemory:
		missing = s.Memory == nil
	case snapshot.SourceMappings:
		missing = s.Mappings == nil
	case snapshot.SourceHeapDump, snapshot.SourceVMStructs:
		missing = s.Heap == nil
	}
	if claims := source.Status == snapshot.StatusOK || source.Name == snapshot.SourceSockets && source.HasTCP(); missing && claims {
		source.Reason = fmt.Sprintf("recorded as %s, and the snapshot does not hold it", source.Status)
		source.Status = snapshot.StatusAbsent
	}
	return source
}

type held struct{ count, bytes int64 }

func heldBytes(h *snapshot.Heap) []held {
	all := make([]held, len(h.Connections))
	for i := range h.Allocations {
		if c := h.Allocations[i].Connection; c >= 0 {
			all[c].count++
			all[c].bytes += h.Allocations[i].Bytes
		}
	}
	return all
}

// socketIndex finds the kernel's row for a heap connection.
type socketIndex struct {
	sockets []snapshot.Socket
	byFD    map[int]int
	byTuple map[tuple]int
}

type tuple struct{ local, remote netip.AddrPort }

func indexSockets(s *snapshot.Snapshot) socketIndex {
	x := socketIndex{sockets: s.Sockets, byFD: map[int]int{}, byTuple: map[tuple]int{}}
	byInode := map[uint64]int{}
	for i := range s.Sockets {
		socket := &s.Sockets[i]
		if socket.Inode != 0 {
			byInode[socket.Inode] = i
		}
		for _, fd := range socket.FDs {
			x.byFD[fd] = i
		}
		if socket.Inode != 0 && socket.Local.IsValid() {
			x.byTuple[tuple{plain(socket.Local), plain(socket.Remote)}] = i
		}
	}
	for _, fd := range s.FDs {
		if i, ok := byInode[fd.Inode]; ok && fd.Inode != 0 {
			x.byFD[fd.Number] = i
		}
	}
	return x
}

// find returns the row's index, or -1.
func (x socketIndex) find(h *snapshot.HeapConnection, taken []bool) int {
	if h.Closed.Or(false) {
		return -1
	}
	if fd, ok := h.FD.Get(); ok && fd >= 0 {
		if i, ok := x.byFD[fd]; ok && !taken[i] && samePorts(h, &x.sockets[i]) {
			return i
		}
	}
	if h.Local.IsValid() {
		if i, ok := x.byTuple[tuple{plain(h.Local), plain(h.Remote)}]; ok && !taken[i] {
			return i
		}
	}
	return -1
}

// samePorts verifies a join by fd. A side that does not know its address
// cannot contradict; ports are compared rather than addresses, because a heap
// object may have been bound to a wildcard.
func samePorts(h *snapshot.HeapConnection, s *snapshot.Socket) bool {
	agree := func(a, b netip.AddrPort) bool {
		return !a.IsValid() || !b.IsValid() || a.Port() == b.Port()
	}
	return agree(h.Local, s.Local) && agree(h.Remote, s.Remote)
}

// plain writes an IPv4-mapped IPv6 address as IPv4: a JVM's sockets are IPv6
// by default, its peers' rows may not be. A zone is dropped: a heap object
// names it by scope id, the kernel by interface. A remote port of 0 is none.
func plain(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() || a.Port() == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// number orders connections and tells apart those with the same addresses. Live
// ones come before closed ones, so that the first keeps its name when an old
// channel to the same peer is still held.
func number(all []Connection) {
	order := make([]int, len(all))
	for i := range all {
		all[i].local, all[i].remote = plain(all[i].local), plain(all[i].remote)
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &all[i], &all[j]
		return cmp.Or(
			a.local.Compare(b.local), a.remote.Compare(b.remote),
			cmp.Compare(b2i(a.Socket == nil), b2i(b.Socket == nil)),
			cmp.Compare(b.Bytes, a.Bytes),
			cmp.Compare(objectOf(a), objectOf(b)),
		)
	})
	for n, i := range order {
		if n == 0 {
			continue
		}
		if prev := &all[order[n-1]]; prev.local == all[i].local && prev.remote == all[i].remote {
			all[i].ordinal = prev.ordinal + 1
		}
	}
}

func objectOf(c *Connection) snapshot.Address {
	if c.Heap == nil {
		return 0
	}
	return c.Heap.Object
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
