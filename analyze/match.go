package analyze

import (
	"cmp"
	"slices"

	"github.com/leakscope/leakscope/snapshot"
)

// allocationPair is one allocation in two snapshots; -1 where it is not there.
type allocationPair struct{ base, head int }

// matchAllocations pairs allocations by native address and size; a row that
// stands for a part of a pool's chunk by address and fate, whatever its size.
// An address can be freed and given out again between two snapshots with the
// same size: such an allocation counts as retained.
func matchAllocations(base, head []snapshot.Allocation) []allocationPair {
	b, h := allocationOrder(base), allocationOrder(head)
	pairs := make([]allocationPair, 0, max(len(b), len(h)))
	i, j := 0, 0
	for i < len(b) || j < len(h) {
		switch order := compareSides(base, head, b, h, i, j); {
		case order == 0:
			pairs = append(pairs, allocationPair{b[i], h[j]})
			i++
			j++
		case order < 0:
			pairs = append(pairs, allocationPair{b[i], -1})
			i++
		default:
			pairs = append(pairs, allocationPair{-1, h[j]})
			j++
		}
	}
	return pairs
}

func compareSides(base, head []snapshot.Allocation, b, h []int, i, j int) int {
	switch {
	case i == len(b):
		return 1
	case j == len(h):
		return -1
	}
	return compareIdentity(&base[b[i]], &head[h[j]])
}

func allocationOrder(all []snapshot.Allocation) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	byIdentity := func(i, j int) int { return compareIdentity(&all[i], &all[j]) }
	if !slices.IsSortedFunc(order, byIdentity) {
		slices.SortStableFunc(order, byIdentity)
	}
	return order
}

func compareIdentity(a, b *snapshot.Allocation) int {
	if c := cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(b2i(a.Remainder), b2i(b.Remainder))); c != 0 {
		return c
	}
	if a.Remainder {
		return cmp.Compare(a.Fate, b.Fate)
	}
	// What is the JVM's own stands outside the total, so it never turns into
	// something else.
	own := func(x *snapshot.Allocation) int { return b2i(x.Fate == snapshot.FateRuntime) }
	return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(own(a), own(b)))
}

// connectionPair is one connection in two snapshots; -1 where it is not there.
type connectionPair struct{ base, head int }

// matchConnections pairs connections of two snapshots: by addresses, and by
// cookie or inode where both know one, because a port can be used again. A
// closed channel has lost its inode; its addresses stay.
func matchConnections(base, head []Connection) []connectionPair {
	groups := map[tuple][]int{}
	for i := range base {
		t := tuple{base[i].local, base[i].remote}
		groups[t] = append(groups[t], i)
	}
	used := make([]bool, len(base))
	partner := make([]int, len(head))
	claim := func(accept func(b, h *Connection) bool) {
		for j := range head {
			if partner[j] >= 0 {
				continue
			}
			for _, i := range groups[tuple{head[j].local, head[j].remote}] {
				if !used[i] && accept(&base[i], &head[j]) {
					used[i], partner[j] = true, i
					break
				}
			}
		}
	}
	for j := range partner {
		partner[j] = -1
	}
	claim(sameSocket)
	claim(func(b, h *Connection) bool { return !differentSocket(b, h) && sameClass(b, h) })

	pairs := make([]connectionPair, 0, max(len(base), len(head)))
	for j := range head {
		pairs = append(pairs, connectionPair{partner[j], j})
	}
	for i := range base {
		if !used[i] {
			pairs = append(pairs, connectionPair{i, -1})
		}
	}
	return pairs
}

// sameSocket reports whether both are known to be one socket of the kernel.
func sameSocket(b, h *Connection) bool {
	if b.Socket == nil || h.Socket == nil {
		return false
	}
	if b.Socket.Cookie != 0 && h.Socket.Cookie != 0 {
		return b.Socket.Cookie == h.Socket.Cookie
	}
	return b.Socket.Inode != 0 && b.Socket.Inode == h.Socket.Inode
}

// differentSocket reports whether both are known, and not one.
func differentSocket(b, h *Connection) bool {
	return b.Socket != nil && h.Socket != nil && !sameSocket(b, h) && b.Socket.Inode != 0 && h.Socket.Inode != 0
}

func sameClass(b, h *Connection) bool {
	return b.Heap == nil || h.Heap == nil || b.Heap.Class == h.Heap.Class
}
