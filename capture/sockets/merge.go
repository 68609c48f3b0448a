package sockets

import (
	"net/netip"
	"slices"

	"github.com/leakscope/leakscope/snapshot"
)

// Merge joins two readings of one target, taken before and after a step that
// lasts (a heap dump), and sets Seen on every row. A socket that is in both
// keeps the figures of the first, because a pause makes ages grow. It is the
// same socket by its cookie, or where a reading has none by its inode, or by
// its addresses when it has neither.
func Merge(before, after []snapshot.Socket) []snapshot.Socket {
	type tuple struct {
		protocol      snapshot.Protocol
		local, remote netip.AddrPort
	}
	type inode struct {
		protocol snapshot.Protocol
		number   uint64
	}
	cookies, inodes, tuples := map[uint64]int{}, map[inode]int{}, map[tuple]int{}
	all := slices.Clone(before)
	for i := range all {
		s := &all[i]
		s.Seen = snapshot.SeenBefore
		if s.Cookie != 0 {
			cookies[s.Cookie] = i
		}
		if s.Inode != 0 {
			inodes[inode{s.Protocol, s.Inode}] = i
		} else if s.Cookie == 0 && s.Local.IsValid() {
			tuples[tuple{s.Protocol, s.Local, s.Remote}] = i
		}
	}
	find := func(s *snapshot.Socket) (int, bool) {
		if i, ok := cookies[s.Cookie]; ok && s.Cookie != 0 {
			return i, true
		}
		if i, ok := inodes[inode{s.Protocol, s.Inode}]; ok && s.Inode != 0 {
			// an inode number can come again, with another cookie
			return i, s.Cookie == 0 || all[i].Cookie == 0
		}
		i, ok := tuples[tuple{s.Protocol, s.Local, s.Remote}]
		return i, ok && s.Cookie == 0 && s.Inode == 0
	}
	for i := range after {
		s := after[i]
		if at, ok := find(&s); ok {
			all[at].Seen = snapshot.SeenBoth
			continue
		}
		s.Seen = snapshot.SeenAfter
		all = append(all, s)
	}
	order(all)
	return all
}
