package sockets

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/leakscope/leakscope/snapshot"
)

// endpoint makes a socket's own address: unmapped, see the package comment.
func endpoint(addr netip.Addr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// remoteEndpoint is the same for the other end, which a listener and a socket
// that is not connected do not have.
func remoteEndpoint(addr netip.Addr, port uint16) netip.AddrPort {
	if port == 0 && addr.IsUnspecified() {
		return netip.AddrPort{}
	}
	return endpoint(addr, port)
}

// order sorts rows by protocol, local, remote, inode and cookie.
func order(rows []snapshot.Socket) {
	slices.SortFunc(rows, func(a, b snapshot.Socket) int {
		return cmp.Or(
			cmp.Compare(a.Protocol, b.Protocol),
			a.Local.Compare(b.Local),
			a.Remote.Compare(b.Remote),
			cmp.Compare(a.Inode, b.Inode),
			cmp.Compare(a.Cookie, b.Cookie),
		)
	})
}
