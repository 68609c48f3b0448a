package sockets

import (
	"fmt"
	"net/netip"

	"github.com/leakscope/leakscope/snapshot"
)

// maxDeferred bounds the rows without an owner that wait until all listeners
// are known; a busy host has hundreds of thousands in TIME_WAIT.
const maxDeferred = 128 << 10

// table picks the target's rows out of everybody's:
//
//   - a row whose inode is one of the target's descriptors;
//   - where the descriptors are not known, a row with the target's uid;
//   - a row without an inode on the address of a listener of the target: a
//     connection in its accept queue (ESTABLISHED, CLOSE_WAIT, SYN_RECV), or one
//     that it accepted and closed (FIN_WAIT, CLOSING, LAST_ACK, TIME_WAIT).
//
// A row without an inode on any other address belongs to a client that closed
// it; whose it was, the kernel does not tell. Those are counted.
type table struct {
	descriptors map[uint64][]int // by inode; nil: not known
	uid         snapshot.Optional[int]

	rows      []snapshot.Socket
	listeners map[listenKey][]netip.Addr
	seen      map[seenKey]bool
	// listenersFirst says that rows come after all listeners of their protocol.
	listenersFirst bool
	deferred       []row
	listed         int // rows of all processes
	untied         int // rows without an owner that could not be tied to anybody
	dropped        int // rows beyond maxDeferred
}

type listenKey struct {
	protocol snapshot.Protocol
	port     uint16
}

type seenKey struct {
	protocol snapshot.Protocol
	cookie   uint64
	inode    uint64
	local    netip.AddrPort
	remote   netip.AddrPort
}

func newTable(r Request) *table {
	t := &table{uid: r.UID, rows: []snapshot.Socket{}, listeners: map[listenKey][]netip.Addr{}, seen: map[seenKey]bool{}}
	if r.FDs != nil {
		t.descriptors = map[uint64][]int{}
		for _, fd := range r.FDs {
			if fd.Kind == "socket" && fd.Inode != 0 {
				t.descriptors[fd.Inode] = append(t.descriptors[fd.Inode], fd.Number)
			}
		}
	}
	return t
}

// add takes a row. Those without an inode wait for settle, unless listeners
// come first.
func (t *table) add(r row) {
	t.listed++
	if r.Inode == 0 {
		switch {
		case t.listenersFirst:
			t.tie(r)
		case len(t.deferred) < maxDeferred:
			t.deferred = append(t.deferred, r)
		default:
			t.dropped++
		}
		return
	}
	fds, owned := t.descriptors[r.Inode]
	if t.descriptors == nil {
		uid, ok := t.uid.Get()
		owned = ok && uint64(r.uid) == uint64(uid)
	}
	if !owned {
		return
	}
	if r.State == snapshot.Listen && r.Local.IsValid() {
		on := listenKey{r.Protocol, r.Local.Port()}
		t.listeners[on] = append(t.listeners[on], r.Local.Addr())
	}
	t.keep(r, fds)
}

// settle decides on the rows that waited.
func (t *table) settle() {
	for i := range t.deferred {
		t.tie(t.deferred[i])
	}
	t.deferred = t.deferred[:0]
}

// tie keeps a row without an inode if it is of a listener of the target.
func (t *table) tie(r row) {
	switch {
	case t.listensOn(r.Protocol, r.Local):
		t.keep(r, nil)
	case r.Protocol != snapshot.Unix:
		t.untied++
	}
}

// listensOn reports whether the target has a listener that accepts connections
// to an address.
func (t *table) listensOn(p snapshot.Protocol, local netip.AddrPort) bool {
	if !local.IsValid() {
		return false
	}
	for _, on := range t.listeners[listenKey{p, local.Port()}] {
		if on == local.Addr() || on == netip.IPv6Unspecified() || (on.IsUnspecified() && local.Addr().Is4()) {
			return true
		}
	}
	return false
}

func (t *table) keep(r row, fds []int) {
	key := seenKey{protocol: r.Protocol, cookie: r.Cookie, inode: r.Inode}
	switch {
	case r.Inode != 0:
		key.cookie = 0 // the same socket may come again without its cookie
	case r.Cookie == 0:
		key.local, key.remote = r.Local, r.Remote
	}
	if t.seen[key] {
		return
	}
	t.seen[key] = true
	r.FDs = fds
	if r.FDs == nil {
		r.FDs = []int{}
	}
	t.rows = append(t.rows, r.Socket)
}

// detail gives the counts that tell what is not shown.
func (t *table) detail(to map[string]string) {
	to["rows_listed"] = fmt.Sprint(t.listed)
	if t.untied > 0 {
		to["rows_without_owner"] = fmt.Sprint(t.untied)
	}
}
