package heap

import (
	"sync"
	"sync/atomic"
)

// classNumbers holds the class of each node in 16 bits. It is filled by several
// goroutines at once.
type classNumbers struct {
	words []atomic.Uint32 // two nodes each: the ClassID + 1, or wideClass

	mu   sync.Mutex
	wide map[Node]ClassID // of those that need more
}

const wideClass = 0xffff

func newClassNumbers(n int) *classNumbers {
	return &classNumbers{words: make([]atomic.Uint32, (n+1)/2), wide: map[Node]ClassID{}}
}

// set gives a node its class. A damaged dump may have an object twice: the first
// of several classes stays.
func (c *classNumbers) set(n Node, class ClassID) {
	word, shift := &c.words[n/2], n%2*16
	number := uint32(wideClass)
	if class < wideClass-1 {
		number = uint32(class) + 1
	}
	for {
		before := word.Load()
		if before>>shift&0xffff != 0 {
			return
		}
		if word.CompareAndSwap(before, before|number<<shift) {
			break
		}
	}
	if number == wideClass {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wide[n] = class
	}
}

// get returns the class of a node, NoClass where it has none.
func (c *classNumbers) get(n Node) ClassID {
	switch number := c.words[n/2].Load() >> (n % 2 * 16) & 0xffff; number {
	case 0:
		return NoClass
	case wideClass:
		return c.wide[n]
	default:
		return ClassID(number) - 1
	}
}
