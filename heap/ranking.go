package heap

import (
	"math/bits"
	"sort"
)

// ranking numbers the set bits of a bitmap, page by page in a given order.
type ranking struct {
	bits  bitmap
	order []uint32 // pages in the order they were numbered
	page  []uint32 // by page index: the number of its first bit
	word  []uint16 // by word: bits before it in its page
	total int
}

const pageWords = 1 << slotBits / 64

// rank numbers the bits in the order of pages; nil is the order of indexes.
func rank(b bitmap, order []uint32) *ranking {
	r := &ranking{bits: b, order: order, page: make([]uint32, len(b)/pageWords), word: make([]uint16, len(b))}
	if order == nil {
		r.order = make([]uint32, len(r.page))
		for i := range r.order {
			r.order[i] = uint32(i)
		}
	}
	for _, page := range r.order {
		r.page[page] = uint32(r.total)
		n := 0
		for w := int(page) * pageWords; w < (int(page)+1)*pageWords; w++ {
			r.word[w] = uint16(n)
			n += bits.OnesCount64(b[w].Load())
		}
		r.total += n
	}
	return r
}

// of returns the number of a bit that is set.
func (r *ranking) of(p packed) uint32 {
	return r.page[p>>slotBits] + uint32(r.word[p>>6]) +
		uint32(bits.OnesCount64(r.bits[p>>6].Load()&(1<<(p&63)-1)))
}

// at returns the bit with a number: the reverse of of.
func (r *ranking) at(number uint32) packed {
	// The last page that begins at or before it, and in that the last word:
	// those without a bit begin where the next one does.
	i := sort.Search(len(r.order), func(i int) bool { return r.page[r.order[i]] > number }) - 1
	page := r.order[i]
	left := uint16(number - r.page[page])
	words := r.word[page*pageWords : (page+1)*pageWords]
	w := sort.Search(len(words), func(w int) bool { return words[w] > left }) - 1
	word := r.bits[int(page)*pageWords+w].Load()
	for range left - words[w] {
		word &= word - 1
	}
	return packed((int(page)*pageWords+w)<<6 | bits.TrailingZeros64(word))
}
