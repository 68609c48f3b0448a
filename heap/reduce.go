package heap

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap/hprof"
)

// reduction is what one pass over a dump keeps: the references between objects
// that can hold something, in packed form, and the wanted fields of the
// objects of wanted classes. Everything else is dropped as it is read.
type reduction struct {
	idSize  int
	reg     *registry
	pages   *pageTable
	leaves  growingBitmap // objects that can hold nothing of interest
	workers []*reducer
	// statics holds the rows of mirrors; it always keeps them.
	statics *reducer

	mu       sync.Mutex   // guards workers
	rowBytes atomic.Int64 // of chunks kept
	maxBytes int64        // above it rows are not kept; 0: no limit
	dropped  atomic.Bool  // rows are not kept: they are read again when needed
}

func newReduction(idSize int, maxRowBytes int64) *reduction {
	return &reduction{idSize: idSize, reg: newRegistry(idSize), maxBytes: maxRowBytes}
}

// start makes the page table around the first address of the dump. It must be
// called before anything is decoded.
func (red *reduction) start(first uint64) {
	red.mu.Lock()
	defer red.mu.Unlock()
	if red.pages == nil {
		red.pages = newPageTable(first)
	}
}

// chunk is a batch of rows: row i is object srcs[i], whose fields in the set
// masks[i] of row kind kinds[i] refer to the next bits.OnesCount8(masks[i])
// targets. An array's row has arrayRow set in its mask and the count beside it.
type chunk struct {
	srcs    []packed
	targets []packed
	kinds   []uint16
	masks   []uint8
	wide    map[int]uint32 // kinds that need more than 16 bits, by row
}

const (
	arrayRow    = 0x80
	arrayMax    = 0x7f
	wideKind    = 0xffff
	chunkRows   = 1 << 13
	chunkTarget = 1 << 14
)

// rowTargets returns the number of targets of a row with this mask.
func rowTargets(mask uint8) int {
	if mask&arrayRow != 0 {
		return int(mask & arrayMax)
	}
	return bits.OnesCount8(mask)
}

func (c *chunk) kind(row int) uint32 {
	if k := c.kinds[row]; k != wideKind {
		return uint32(k)
	}
	return c.wide[row]
}

type rootEntry struct {
	id   packed
	kind RootKind
}

// reducer is the part of a reduction that one goroutine fills. It implements
// hprof.Visitor.
type reducer struct {
	red *reduction

	cache [cacheSize]struct {
		class uint64
		plan  *plan
		early bool // of arrays alone: the class is not described yet
	}

	// rows of the segment being read, before the filter
	srcs    []packed
	kinds   []uint32
	masks   []uint8
	targets []packed

	// rows that passed, until they fill a chunk
	out    chunk
	chunks []*chunk
	emit   func(*chunk) // instead of keeping, when the dump is read again

	leafWord *atomic.Uint64
	leafBits uint64
	leafKey  packed

	kept      map[*plan]*keptRows
	roots     []rootEntry
	addresses map[packed][16]byte // of arrays that may be IPv6 addresses
	objects   int64

	deferred [][]byte          // instances of classes not known yet, in blocks
	missing  map[uint64]uint64 // those classes, and how many the dump had described when they were looked for
	arraySrc packed
	arrayRun *plan // of the array whose parts are coming
	arrayNew bool
}

const (
	cacheSize = 1 << 10
	// scratchTargets is when the rows of a long segment are filtered early.
	scratchTargets = 1 << 16
	// soleRow marks, among the rows not yet filtered, the only row of an object.
	soleRow = 1 << 31
)

func (red *reduction) newReducer() *reducer {
	w := &reducer{
		red:       red,
		kept:      map[*plan]*keptRows{},
		addresses: map[packed][16]byte{},
		missing:   map[uint64]uint64{},
		leafKey:   ^packed(0),
	}
	red.mu.Lock()
	defer red.mu.Unlock()
	red.workers = append(red.workers, w)
	return w
}

// rereader makes a reducer that keeps nothing and hands the chunks it would
// keep to visit.
func (red *reduction) rereader(visit func(*chunk)) *reducer {
	return &reducer{red: red, emit: visit, leafKey: ^packed(0)}
}

// lookup returns the plan of a class, nil when it cannot be made yet.
func (w *reducer) lookup(class uint64) *plan {
	e := &w.cache[(class>>3^class>>13)&(cacheSize-1)]
	if e.class == class && e.plan != nil && !e.early {
		return e.plan
	}
	changes := w.red.reg.changes.Load()
	if at, ok := w.missing[class]; ok && at == changes {
		return nil
	}
	p := w.red.reg.plan(class, false)
	if p != nil {
		e.class, e.plan, e.early = class, p, false
	} else if w.emit == nil {
		w.missing[class] = changes
	}
	return p
}

// arrayPlan returns the plan of an array's class.
func (w *reducer) arrayPlan(class uint64) *plan {
	e := &w.cache[(class>>3^class>>13)&(cacheSize-1)]
	if e.class != class || e.plan == nil {
		p, described := w.red.reg.arrayPlan(class)
		e.class, e.plan, e.early = class, p, !described
	}
	if e.early {
		e.plan.early.Add(1)
	}
	return e.plan
}

// Root implements hprof.Visitor.
func (w *reducer) Root(tag byte, id uint64) {
	if id == 0 || w.emit != nil {
		return
	}
	kind := RootOther
	switch tag {
	case hprof.RootThreadObject, hprof.RootJavaFrame, hprof.RootNativeStack, hprof.RootThreadBlock:
		kind = RootThread
	case hprof.RootJNIGlobal, hprof.RootJNILocal:
		kind = RootJNI
	case hprof.RootStickyClass:
		return // every class is a root here
	}
	w.roots = append(w.roots, rootEntry{w.red.pages.pack(id), kind})
}

// Class implements hprof.Visitor.
func (w *reducer) Class(c *hprof.ClassDump) {
	w.objects++
	if w.emit != nil {
		return
	}
	w.red.reg.addDump(c)
	w.leaf(w.red.pages.pack(c.ID))
}

// leaf marks an object that can hold nothing. Neighbours share a word, so the
// bits of a word are gathered before they are published.
func (w *reducer) leaf(p packed) {
	if p>>6 != w.leafKey {
		w.publish()
		w.leafKey = p >> 6
		w.leafWord = w.red.leaves.word(p)
	}
	w.leafBits |= 1 << (p & 63)
}

func (w *reducer) publish() {
	if w.leafBits != 0 {
		w.leafWord.Or(w.leafBits)
		w.leafBits = 0
	}
}

// Instance implements hprof.Visitor. It is the inner loop of a pass.
func (w *reducer) Instance(id, class uint64, body []byte) {
	p := w.lookup(class)
	if p == nil {
		if w.emit == nil {
			w.deferInstance(id, class, body)
		}
		return
	}
	w.objects++
	src := w.red.pages.pack(id)
	if p.leaf {
		w.leaf(src)
		return
	}
	if len(body) < p.size {
		w.short(p, src, body)
		return
	}
	first := len(w.srcs)
	for i := range p.groups {
		g := &p.groups[i]
		var mask uint8
		if w.red.idSize == 8 {
			for k, offset := range g.offsets {
				if to := binary.BigEndian.Uint64(body[offset:]); to != 0 {
					mask |= 1 << k
					w.targets = append(w.targets, w.red.pages.pack(to))
				}
			}
		} else {
			for k, offset := range g.offsets {
				if to := binary.BigEndian.Uint32(body[offset:]); to != 0 {
					mask |= 1 << k
					w.targets = append(w.targets, w.red.pages.pack(uint64(to)))
				}
			}
		}
		if mask != 0 {
			w.srcs = append(w.srcs, src)
			w.kinds = append(w.kinds, g.kind)
			w.masks = append(w.masks, mask)
		}
	}
	if p.want != nil && w.emit == nil {
		w.keep(p, src, body)
	}
	switch {
	case p.anchored:
	case len(w.srcs) == first:
		w.leaf(src)
	case len(w.srcs) == first+1:
		w.kinds[first] |= soleRow
	}
	if len(w.targets) >= scratchTargets {
		w.flush()
	}
}

// short handles an instance record that is smaller than its class says: what
// is missing reads as null.
func (w *reducer) short(p *plan, src packed, body []byte) {
	w.objects--
	whole := make([]byte, p.size)
	copy(whole, body)
	w.Instance(w.red.address(src), w.red.reg.mirrorOf(p.id), whole)
}

func (r *registry) mirrorOf(c ClassID) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mirrors[c]
}

// address is pageTable.address while the table may still grow.
func (red *reduction) address(p packed) uint64 {
	red.pages.mu.Lock()
	defer red.pages.mu.Unlock()
	return red.pages.address(p)
}

// ObjectArray implements hprof.Visitor.
func (w *reducer) ObjectArray(id, class uint64, elements []byte, first, last bool) {
	if first {
		w.arrayRun = w.arrayPlan(class)
		w.objects++
		w.arraySrc = w.red.pages.pack(id)
		w.arrayNew = true
	}
	size := w.red.idSize
	var sole uint32
	if first && last && len(elements) <= arrayMax*size {
		sole = soleRow
	}
	for len(elements) > 0 {
		// A row at a time; the elements of a row are those that are not null.
		n := 0
		for n < arrayMax && len(elements) > 0 {
			var to uint64
			if size == 8 {
				to = binary.BigEndian.Uint64(elements)
			} else {
				to = uint64(binary.BigEndian.Uint32(elements))
			}
			elements = elements[size:]
			if to != 0 {
				w.targets = append(w.targets, w.red.pages.pack(to))
				n++
			}
		}
		if n > 0 {
			w.arrayNew = false
			w.srcs = append(w.srcs, w.arraySrc)
			w.kinds = append(w.kinds, w.arrayRun.kind|sole)
			w.masks = append(w.masks, arrayRow|uint8(n))
		}
		if len(w.targets) >= scratchTargets {
			w.flush()
		}
	}
	if last && w.arrayNew {
		w.leaf(w.arraySrc)
	}
}

// PrimitiveArray implements hprof.Visitor.
func (w *reducer) PrimitiveArray(id uint64, elem uint8, length uint32, contents []byte) {
	if w.emit != nil {
		return
	}
	w.objects++
	p := w.red.pages.pack(id)
	w.leaf(p)
	if elem == hprof.TypeByte && length == 16 && len(contents) == 16 && maybeAddress(contents) {
		w.addresses[p] = [16]byte(contents)
	}
}

// maybeAddress reports whether 16 bytes can be the address of an IPv6 socket:
// global unicast, unique local, link local, loopback, any, or v4-mapped. All
// but a few arrays that are no addresses fail it.
func maybeAddress(b []byte) bool {
	switch {
	case b[0] == 0x20 && b[1] < 0x20, b[0] == 0x24, b[0] == 0x26 && b[1] < 0x20, b[0] == 0x28, b[0] == 0x2a, b[0] == 0x2c:
		return true
	case b[0] == 0x20 && b[1] > 0x7e, b[0] == 0x26 && b[1] > 0x7e, b[0] == 0x3f && b[1] > 0x7e:
		return true
	case b[0]&0xfe == 0xfc, b[0] == 0xfe && b[1]&0xc0 == 0x80, b[0] == 0 && b[1] == 0:
		return true
	}
	return false
}

// flush passes the rows gathered through the filter: references to objects
// known to hold nothing are dropped, rows left empty too, and their objects
// then hold nothing themselves.
func (w *reducer) flush() {
	w.publish()
	leaves := &w.red.leaves
	next := 0
	for i, src := range w.srcs {
		mask := w.masks[i]
		n := rowTargets(mask)
		targets := w.targets[next : next+n]
		next += n
		if mask&arrayRow != 0 {
			k := 0
			for _, t := range targets {
				if !leaves.has(t) {
					targets[k] = t
					k++
				}
			}
			targets = targets[:k]
			mask = arrayRow | uint8(k)
		} else {
			k, left := 0, mask
			for _, t := range targets {
				bit := left & -left
				left &^= bit
				if leaves.has(t) {
					mask &^= bit
				} else {
					targets[k] = t
					k++
				}
			}
			targets = targets[:k]
		}
		kind := w.kinds[i]
		if len(targets) == 0 {
			if kind&soleRow != 0 {
				w.leaf(src)
			}
			continue
		}
		w.row(src, kind&^soleRow, mask, targets)
	}
	w.srcs, w.kinds, w.masks, w.targets = w.srcs[:0], w.kinds[:0], w.masks[:0], w.targets[:0]
}

// row appends a row to the chunk being filled.
func (w *reducer) row(src packed, kind uint32, mask uint8, targets []packed) {
	o := &w.out
	if len(o.srcs) == chunkRows || len(o.targets)+len(targets) > chunkTarget {
		w.closeChunk()
	}
	k := uint16(kind)
	if kind >= wideKind {
		if o.wide == nil {
			o.wide = map[int]uint32{}
		}
		o.wide[len(o.srcs)] = kind
		k = wideKind
	}
	o.srcs = append(o.srcs, src)
	o.kinds = append(o.kinds, k)
	o.masks = append(o.masks, mask)
	o.targets = append(o.targets, targets...)
}

// closeChunk keeps the chunk being filled, at its exact size.
func (w *reducer) closeChunk() {
	o := &w.out
	if len(o.srcs) == 0 {
		return
	}
	if w.emit != nil {
		w.emit(o)
	} else if w.red.dropped.Load() && w != w.red.statics {
		w.chunks = nil
	} else {
		words := make([]packed, len(o.srcs)+len(o.targets))
		copy(words, o.srcs)
		copy(words[len(o.srcs):], o.targets)
		w.chunks = append(w.chunks, &chunk{
			srcs:    words[:len(o.srcs):len(o.srcs)],
			targets: words[len(o.srcs):],
			kinds:   append(make([]uint16, 0, len(o.kinds)), o.kinds...),
			masks:   append(make([]uint8, 0, len(o.masks)), o.masks...),
			wide:    o.wide,
		})
		total := w.red.rowBytes.Add(int64(4*len(words) + 3*len(o.kinds)))
		if w.red.maxBytes > 0 && total > w.red.maxBytes {
			w.red.dropped.Store(true)
		}
	}
	o.srcs, o.kinds, o.masks, o.targets, o.wide = o.srcs[:0], o.kinds[:0], o.masks[:0], o.targets[:0], nil
}

// deferInstance keeps an instance of a class that is not known yet as it came: a
// word of length, the two identifiers, the bytes. Blocks stay where they are: to
// copy them as they grow would hold up a JVM that waits for its dump to be read.
func (w *reducer) deferInstance(id, class uint64, body []byte) {
	const block = 1 << 20
	last := len(w.deferred) - 1
	if need := deferredHead + len(body); last < 0 || cap(w.deferred[last])-len(w.deferred[last]) < need {
		w.deferred = append(w.deferred, make([]byte, 0, max(block, need)))
		last++
	}
	b := binary.LittleEndian.AppendUint32(w.deferred[last], uint32(len(body)))
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint64(b, class)
	w.deferred[last] = append(b, body...)
}

const deferredHead = 20

// resume handles the deferred instances once all classes are known. It returns
// how many are of classes that the dump does not have.
func (w *reducer) resume() (unknown int64) {
	clear(w.missing)
	for i, records := range w.deferred {
		for len(records) > 0 {
			n := int(binary.LittleEndian.Uint32(records))
			id := binary.LittleEndian.Uint64(records[4:])
			class := binary.LittleEndian.Uint64(records[12:])
			body := records[deferredHead : deferredHead+n]
			records = records[deferredHead+n:]
			if w.red.reg.plan(class, true) == nil {
				unknown++
				continue
			}
			w.Instance(id, class, body)
		}
		w.deferred[i] = nil
	}
	w.deferred = nil
	w.flush()
	return unknown
}

// finish ends a pass: the deferred records are handled, the static references
// of all classes become rows of their mirrors, and the open chunks are closed.
// otherwise are classes that the dump describes in another way than what was known
// of them before.
func (red *reduction) finish() (unknown int64, otherwise []string) {
	reg := red.reg
	ids := make([]uint64, 0, len(reg.dumps))
	for id := range reg.dumps {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		reg.plan(id, true)
	}
	otherwise = reg.hold()
	unknown = reg.end()
	for _, w := range red.workers {
		unknown += w.resume()
	}
	w := red.newReducer()
	red.statics = w
	for _, id := range ids {
		d, plan := reg.dumps[id], reg.plans[id]
		if plan == nil { // damaged: no plan can be made of what is said of it
			continue
		}
		kinds, values := reg.staticRows(d, plan.id)
		src := red.pages.pack(id)
		for i, kind := range kinds {
			for _, to := range values[i] {
				w.targets = append(w.targets, red.pages.pack(to))
			}
			w.srcs = append(w.srcs, src)
			w.kinds = append(w.kinds, kind)
			w.masks = append(w.masks, 1<<len(values[i])-1)
		}
	}
	for _, w := range red.workers {
		w.flush()
		w.closeChunk()
	}
	return unknown, otherwise
}
