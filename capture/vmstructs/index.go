package vmstructs

import "github.com/leakscope/leakscope/heap"

// addressIndex finds an object's number by its address: a hash table with open
// addressing, at most half full. The zero value is empty.
type addressIndex struct {
	keys   []uint64 // 0: free
	values []heap.Node
	n      int
}

func place(address uint64, size int) int {
	return int(address >> 3 * 0x9e3779b97f4a7c15 >> 20 & uint64(size-1))
}

func (x *addressIndex) get(address uint64) heap.Node {
	if len(x.keys) == 0 {
		return heap.None
	}
	for i := place(address, len(x.keys)); ; i = (i + 1) & (len(x.keys) - 1) {
		switch x.keys[i] {
		case address:
			return x.values[i]
		case 0:
			return heap.None
		}
	}
}

func (x *addressIndex) put(address uint64, n heap.Node) {
	if 2*(x.n+1) > len(x.keys) {
		old := *x
		size := max(64, 4*len(old.keys))
		if len(old.keys) > 1<<22 {
			size = 2 * len(old.keys)
		}
		x.keys, x.values, x.n = make([]uint64, size), make([]heap.Node, size), 0
		for i, k := range old.keys {
			if k != 0 {
				x.put(k, old.values[i])
			}
		}
	}
	for i := place(address, len(x.keys)); ; i = (i + 1) & (len(x.keys) - 1) {
		switch x.keys[i] {
		case 0:
			x.keys[i], x.values[i] = address, n
			x.n++
			return
		case address:
			x.values[i] = n
			return
		}
	}
}
