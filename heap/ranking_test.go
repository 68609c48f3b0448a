package heap

import (
	"math/rand/v2"
	"testing"
)

// TestRanking numbers bits of pages in any order, some of them empty: at is the
// reverse of of.
func TestRanking(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 13))
		pages := 1 + r.IntN(6)
		b := newBitmap(pages << slotBits)
		order := make([]uint32, pages)
		for i, page := range r.Perm(pages) {
			order[i] = uint32(page)
			for range r.IntN(4) * r.IntN(2000) {
				b.set(packed(page)<<slotBits | packed(r.IntN(1<<slotBits)))
			}
		}
		if seed%4 == 0 {
			order = nil
		}
		rank := rank(b, order)
		next := uint32(0)
		for _, page := range rank.order {
			for slot := range packed(1 << slotBits) {
				p := page<<slotBits | slot
				if !b.has(p) {
					continue
				}
				if rank.of(p) != next || rank.at(next) != p {
					t.Fatalf("seed %d: bit %d is number %d, number %d is bit %d, want %d", seed, p, rank.of(p), next, rank.at(next), next)
				}
				next++
			}
		}
		if int(next) != rank.total {
			t.Fatalf("seed %d: %d bits, want %d", seed, rank.total, next)
		}
	}
}

// TestClassNumbers gives nodes classes of few and of many bits, and none.
func TestClassNumbers(t *testing.T) {
	all := []ClassID{0, 1, NoClass, wideClass - 2, wideClass - 1, wideClass, 1 << 20}
	c := newClassNumbers(len(all))
	for n, class := range all {
		if class != NoClass {
			c.set(Node(n), class)
			c.set(Node(n), 7) // of a damaged dump: the first stays
		}
	}
	for n, class := range all {
		if got := c.get(Node(n)); got != class {
			t.Errorf("class %d of node %d, want %d", got, n, class)
		}
	}
}
