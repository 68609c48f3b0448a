package heap

import (
	"slices"
	"sync"
	"sync/atomic"
)

// An object's address is packed into 32 bits: the index of its 64 KiB page, in
// the order pages were first met, and its place in the page in units of 8
// bytes. That holds 32 GiB of pages in use, wherever they lie, so wide
// addresses cost nothing. Addresses that are no multiple of 8 (no HotSpot makes
// them, but the format allows any identifier) get places in pages of their own.
const (
	granuleBits = 3
	pageBits    = 16
	slotBits    = pageBits - granuleBits
	slotMask    = 1<<slotBits - 1
	maxPages    = 1 << (32 - slotBits)

	// windowPages is the span around the first address whose pages are found
	// by one load: 256 GiB. Only the parts in use become resident.
	windowPages = 1 << (38 - pageBits)
)

// packed is an address in its 32-bit form. The value 0 is an object, too.
type packed = uint32

type pageTable struct {
	base  uint64          // first page number of the window
	dense []atomic.Uint32 // page index + 1 by page number − base; 0: not met

	full atomic.Bool // more pages than packed addresses can tell

	mu     sync.Mutex
	sparse map[uint64]uint32 // outside the window
	pages  []uint64          // page number by index; noPage for pages of odd addresses
	odd    map[uint64]packed
	oddTop packed              // next free place
	oddOf  map[uint32][]uint64 // addresses by page index and slot
}

const noPage = ^uint64(0)

// newPageTable makes a table whose window lies around the address first.
func newPageTable(first uint64) *pageTable {
	t := &pageTable{
		dense:  make([]atomic.Uint32, windowPages),
		sparse: map[uint64]uint32{},
		odd:    map[uint64]packed{},
		oddOf:  map[uint32][]uint64{},
	}
	if page := first >> pageBits; page > windowPages/2 {
		t.base = page - windowPages/2
	}
	return t
}

// pack returns the packed form of an address. It is called for each object and
// each reference: the common case is one load.
func (t *pageTable) pack(address uint64) packed {
	page := address>>pageBits - t.base
	if page < windowPages && address&(1<<granuleBits-1) == 0 {
		if i := t.dense[page].Load(); i != 0 {
			return (i-1)<<slotBits | uint32(address>>granuleBits)&slotMask
		}
	}
	return t.packNew(address)
}

func (t *pageTable) packNew(address uint64) packed {
	t.mu.Lock()
	defer t.mu.Unlock()
	if address&(1<<granuleBits-1) != 0 {
		return t.packOdd(address)
	}
	number := address >> pageBits
	var i uint32
	if rel := number - t.base; rel < windowPages {
		if i = t.dense[rel].Load(); i == 0 {
			i = t.newPage(number) + 1
			t.dense[rel].Store(i)
		}
		i--
	} else {
		known := false
		if i, known = t.sparse[number]; !known {
			i = t.newPage(number)
			t.sparse[number] = i
		}
	}
	return i<<slotBits | uint32(address>>granuleBits)&slotMask
}

func (t *pageTable) packOdd(address uint64) packed {
	if p, ok := t.odd[address]; ok {
		return p
	}
	if t.oddTop&slotMask == 0 {
		t.oddTop = t.newPage(noPage) << slotBits
	}
	p := t.oddTop
	page := p >> slotBits
	t.oddOf[page] = append(t.oddOf[page], address)
	t.odd[address] = p
	if t.oddTop++; t.oddTop&slotMask == 0 {
		t.oddTop = 0
	}
	return p
}

// newPage returns the next page index. Beyond the last one it sets full and
// hands out the last again: the caller gives up soon.
func (t *pageTable) newPage(number uint64) uint32 {
	if len(t.pages) >= maxPages {
		t.full.Store(true)
		return maxPages - 1
	}
	t.pages = append(t.pages, number)
	return uint32(len(t.pages) - 1)
}

// address is the reverse of pack. It must not run while pack does.
func (t *pageTable) address(p packed) uint64 {
	number := t.pages[p>>slotBits]
	if number == noPage {
		return t.oddOf[p>>slotBits][p&slotMask]
	}
	return number<<pageBits | uint64(p&slotMask)<<granuleBits
}

// slots is the number of places in all pages.
func (t *pageTable) slots() int { return len(t.pages) << slotBits }

// byAddress returns the page indexes in the order of their addresses, those of
// odd addresses last.
func (t *pageTable) byAddress() []uint32 {
	order := make([]uint32, len(t.pages))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		x, y := t.pages[a], t.pages[b]
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return int(a) - int(b)
	})
	return order
}

// bitmap has a bit for each packed address. Bits are set and read by several
// goroutines at once.
type bitmap []atomic.Uint64

func newBitmap(slots int) bitmap { return make(bitmap, (slots+63)/64) }

func (b bitmap) has(p packed) bool { return b[p>>6].Load()>>(p&63)&1 != 0 }

// set sets a bit and reports whether it was clear.
func (b bitmap) set(p packed) bool {
	bit := uint64(1) << (p & 63)
	return b[p>>6].Or(bit)&bit == 0
}

// growingBitmap is a bitmap that grows with the page table, by blocks of 64
// pages.
type growingBitmap struct {
	blocks [maxPages / blockPages]atomic.Pointer[bitBlock]
}

const blockPages = 64

type bitBlock [blockPages << slotBits / 64]atomic.Uint64

// word returns the word that holds p's bit, and makes it if it is not there.
func (g *growingBitmap) word(p packed) *atomic.Uint64 {
	slot := &g.blocks[p/(blockPages<<slotBits)]
	block := slot.Load()
	if block == nil {
		slot.CompareAndSwap(nil, new(bitBlock))
		block = slot.Load()
	}
	return &block[p%(blockPages<<slotBits)>>6]
}

func (g *growingBitmap) has(p packed) bool {
	block := g.blocks[p/(blockPages<<slotBits)].Load()
	return block != nil && block[p%(blockPages<<slotBits)>>6].Load()>>(p&63)&1 != 0
}
