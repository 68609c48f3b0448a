package vmstructs

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/leakscope/leakscope/heap"
)

// graph is the heap of a running JVM as a heap.Graph. Objects get their
// numbers as they are met; of each the address and the class are kept, its
// fields are read when they are asked for.
type graph struct {
	ctx context.Context //nolint:containedctx // a graph lives for one try
	j   *jvm
	view
	pieces  []extent // the runs, shorter; nil before the first scan
	rest    []extent // those of which nothing was known before
	workers int

	nodes   []uint64 // address by Node
	classOf []heap.ClassID
	index   addressIndex
	objects int64
	settled int64 // bytes of old objects that this try has not scanned
	sought  []heap.ClassID
	found   []hit // objects of the classes that were sought, by address
	mirrors map[heap.Node]*klass

	again     bool        // another walk came before, in the same try
	handed    bool        // references to connections were gone that were found before
	searched  bool        // it is known what refers from old objects to connections
	rescan    bool        // what refers to connections is to be scanned for again
	byHints   bool        // of old objects those references are gone by that were found before
	referrers referrers   // what scans of this walk found
	recalled  *referrers  // what those of the walk before found
	via       []reference // by Node: how a search forward met it first
	ways      []reference // those that are kept
	expected  []heap.Node // whose referrers the next scan is to look for too
	likely    []uint64    // addresses of more of these
	reaches   []reach     // of the heap's runs, the last one first; nil before the first scan
	longest   uint64      // array whose elements are read; 0: no bound
	onStack   map[heap.Node]bool
	failed    error // of what has no way to return one
}

// note keeps the first error of a method that has no way to return one. The
// reading is not accepted then.
func (g *graph) note(err error) bool {
	if g.failed == nil {
		g.failed = err
	}
	return err == nil
}

func newGraph(ctx context.Context, j *jvm, v view, workers int) (*graph, error) {
	g := &graph{ctx: ctx, j: j, view: v, workers: workers}
	g.byHints = j.tenured != nil && j.tenured.partial && j.since != nil
	var at []uint64
	for i := range j.classes {
		j.classes[i].Mirror = heap.None
	}
	for _, k := range j.klasses {
		if k.mirror != 0 {
			at = append(at, k.mirror)
		}
	}
	if err := g.meet(at); err != nil {
		return nil, err
	}
	for _, k := range j.klasses {
		if n := g.find(k.mirror); n != heap.None {
			j.classes[k.id].Mirror = n
		}
	}
	return g, nil
}

func (g *graph) find(address uint64) heap.Node {
	if address == 0 {
		return heap.None
	}
	return g.index.get(address)
}

// inHeap tells whether there is room for an object at an address.
func (g *graph) inHeap(address uint64) bool {
	return address%8 == 0 && g.within(address, g.j.layout.smallest())
}

// within tells whether a range lies in one run of objects.
func (g *graph) within(address, n uint64) bool {
	i := lastFrom(g.runs, address, (*extent).from)
	return i >= 0 && address < g.runs[i].end && n <= g.runs[i].end-address
}

// maxNodes bounds the objects that are met: each takes about 40 bytes.
const maxNodes = 1 << 26

// meet numbers the objects at addresses that have no number yet. What is
// no object of a known class is left out: a reference to it was read while it
// was being changed, or leads to a part of the heap that was not looked at.
func (g *graph) meet(at []uint64) error {
	var fresh []uint64
	for _, a := range at {
		if a != 0 && g.index.get(a) == heap.None && g.inHeap(a) {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.Sort(fresh)
	fresh = slices.Compact(fresh)
	if len(g.nodes)+len(fresh) > maxNodes {
		return fmt.Errorf("%w: more than %d objects that matter", ErrUnsupported, maxNodes)
	}
	size := int(g.j.layout.smallest()) // tells the class
	raw := make([]byte, size*len(fresh))
	spans := make([]span, len(fresh))
	for i, a := range fresh {
		spans[i] = span{a, raw[i*size : (i+1)*size]}
	}
	if err := g.read(spans); err != nil {
		return err
	}
	var ks []*klass
	for i, a := range fresh {
		k := g.j.byKey[g.j.layout.headerKey(raw[i*size:])]
		if k == nil {
			continue
		}
		if !k.loaded {
			ks = append(ks, k)
		}
		g.add(a, k.id)
	}
	return g.j.loadFields(ks)
}

func (g *graph) add(address uint64, c heap.ClassID) heap.Node {
	n := heap.Node(len(g.nodes))
	g.nodes = append(g.nodes, address)
	g.classOf = append(g.classOf, c)
	g.index.put(address, n)
	return n
}

// read reads many spans, by all workers.
func (g *graph) read(spans []span) error {
	const least = 2048
	if g.workers < 2 || len(spans) < least {
		return g.j.r.read(spans)
	}
	var wait sync.WaitGroup
	errs := make([]error, g.workers)
	for w := range g.workers {
		from, to := len(spans)*w/g.workers, len(spans)*(w+1)/g.workers
		wait.Add(1)
		go func() {
			defer wait.Done()
			errs[w] = g.j.r.read(spans[from:to])
		}()
	}
	wait.Wait()
	return cmp.Or(errs...)
}

// Classes implements heap.Graph. The fields of a class are filled in when the
// first object of it is met.
func (g *graph) Classes() []heap.Class { return g.j.classes }

// Len implements heap.Graph.
func (g *graph) Len() int { return len(g.nodes) }

// Address implements heap.Graph.
func (g *graph) Address(n heap.Node) uint64 { return g.nodes[n] }

// Class implements heap.Graph.
func (g *graph) Class(n heap.Node) heap.ClassID {
	if int(n) >= len(g.classOf) {
		return heap.NoClass
	}
	return g.classOf[n]
}

// bodyBatch bounds what is read at once of objects that are no arrays.
const bodyBatch = 16 << 20

// bodySize is how much of an object is read that is no array: an instance by
// its class's size, of a mirror what its statics reach.
func (g *graph) bodySize(n heap.Node) (size int) {
	c := g.Class(n)
	if c < 0 {
		return 0
	}
	k := g.j.klasses[c]
	if k.helper > 0 {
		size = int(k.helper) &^ 7
	}
	if k.isClass {
		if of, ok := g.mirrorOf(n); ok {
			for _, f := range of.statics {
				if f.offset < maxInstance {
					size = max(size, int(f.offset)+g.j.layout.width(f.Type))
				}
			}
		}
	}
	return size
}

// batch returns how many of the nodes, at least one, are read at once.
func (g *graph) batch(nodes []heap.Node) int {
	total := 0
	for i, n := range nodes {
		if total += g.bodySize(n); total > bodyBatch {
			return max(i, 1)
		}
	}
	return len(nodes)
}

// bodies reads objects that are no arrays.
func (g *graph) bodies(nodes []heap.Node) ([][]byte, error) {
	sizes := make([]int, len(nodes))
	total := 0
	for i, n := range nodes {
		sizes[i] = g.bodySize(n)
		total += sizes[i]
	}
	raw := make([]byte, total)
	out := make([][]byte, len(nodes))
	spans := make([]span, 0, len(nodes))
	for i, n := range nodes {
		out[i], raw = raw[:sizes[i]:sizes[i]], raw[sizes[i]:]
		if sizes[i] > 0 {
			spans = append(spans, span{g.nodes[n], out[i]})
		}
	}
	if err := g.read(spans); err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if sizes[i] > 0 && g.j.layout.headerKey(out[i]) != g.j.keyOf(g.Class(n)) {
			if t := g.j.tenured; t != nil {
				t.forget(g.nodes[n])
			}
			return nil, fmt.Errorf("the object at 0x%x is another one now", g.nodes[n])
		}
	}
	return out, nil
}

// allMirrors are the java.lang.Class objects, with the classes that they stand for.
func (g *graph) allMirrors() map[heap.Node]*klass {
	if g.mirrors == nil {
		g.mirrors = map[heap.Node]*klass{}
		for _, k := range g.j.klasses {
			if m := g.j.classes[k.id].Mirror; m != heap.None {
				g.mirrors[m] = k
			}
		}
	}
	return g.mirrors
}

// loadMirrored reads the fields of all classes that some nodes stand for at once.
func (g *graph) loadMirrored(nodes []heap.Node) error {
	var ks []*klass
	for _, n := range nodes {
		if int(n) < len(g.j.klasses) {
			if k := g.allMirrors()[n]; k != nil && !k.loaded {
				ks = append(ks, k)
			}
		}
	}
	return g.j.loadFields(ks)
}

// mirrorOf returns the class that a java.lang.Class object stands for, with its
// fields read.
func (g *graph) mirrorOf(n heap.Node) (*klass, bool) {
	if int(n) >= len(g.j.klasses) {
		// Mirrors were numbered first.
		return nil, false
	}
	k, ok := g.allMirrors()[n]
	if ok && !g.note(g.j.loadFields([]*klass{k})) {
		return nil, false
	}
	return k, ok
}

// Values implements heap.Graph.
func (g *graph) Values(nodes []heap.Node, fields []int32, out []uint64, ok []bool) error {
	clear(out)
	clear(ok)
	for len(nodes) > 0 {
		n := g.batch(nodes)
		if err := g.values(nodes[:n], fields, out, ok); !g.note(err) {
			return err
		}
		nodes, out, ok = nodes[n:], out[n*len(fields):], ok[n*len(fields):]
	}
	return g.ctx.Err()
}

func (g *graph) values(nodes []heap.Node, fields []int32, out []uint64, ok []bool) error {
	c := g.Class(nodes[0])
	if c < 0 || g.j.klasses[c].helper <= 0 {
		return nil
	}
	all, err := g.j.fieldsOf(g.j.klasses[c])
	if err != nil {
		return err
	}
	bodies, err := g.bodies(nodes)
	if err != nil {
		return err
	}
	var refs []uint64
	for i := range nodes {
		for n, f := range fields {
			at := i*len(fields) + n
			if f < 0 || int(f) >= len(all) {
				continue
			}
			if out[at], ok[at] = g.j.layout.value(bodies[i], all[f]); ok[at] && all[f].Type == heap.Object {
				refs = append(refs, out[at])
			}
		}
	}
	if err := g.meet(refs); err != nil {
		return err
	}
	for i := range nodes {
		for n, f := range fields {
			if at := i*len(fields) + n; ok[at] && all[f].Type == heap.Object {
				to := g.find(out[at])
				ok[at] = out[at] == 0 || to != heap.None
				out[at] = uint64(to)
			}
		}
	}
	return nil
}

// Static implements heap.Graph.
func (g *graph) Static(c heap.ClassID, name string) (uint64, heap.Type, bool) {
	k := g.j.klasses[c]
	if !g.note(g.j.loadFields([]*klass{k})) || k.mirror == 0 {
		return 0, 0, false
	}
	for _, f := range k.statics {
		if f.Name != name {
			continue
		}
		b := make([]byte, g.j.layout.width(f.Type))
		if !g.note(g.j.r.read([]span{{k.mirror + uint64(f.offset), b}})) {
			return 0, 0, false
		}
		f.offset = 0
		v, ok := g.j.layout.value(b, f)
		if f.Type == heap.Object {
			if !g.note(g.meet([]uint64{v})) {
				return 0, 0, false
			}
			v = uint64(g.find(v))
		}
		return v, f.Type, ok
	}
	return 0, 0, false
}

// StaticNames implements heap.Graph.
func (g *graph) StaticNames(c heap.ClassID) []string {
	k := g.j.klasses[c]
	if !g.note(g.j.loadFields([]*klass{k})) {
		return nil
	}
	names := make([]string, len(k.statics))
	for i, f := range k.statics {
		names[i] = f.Name
	}
	return names
}

// link is one reference.
type link struct {
	from  heap.Node
	field int32
	to    uint64
	slot  uint64
}

// SkipArraysAbove has References leave out the elements of longer arrays, until
// it is called with 0.
func (g *graph) SkipArraysAbove(length int) { g.longest = uint64(length) }

// ForwardNodes is how many objects a search forward may meet for it to cost
// less than the scan that it saves. Where there is no time for one, none are met
// unless a try before has left too much open.
func (g *graph) ForwardNodes() int {
	if g.byHints {
		return g.j.tenured.forward
	}
	return max(leastForward, int(total(g.runs)/bytesPerForward))
}

// bytesPerForward is how much of the heap is scanned while one object is read.
const (
	bytesPerForward = 8 << 10
	leastForward    = 4 << 10
	partialForward  = 16 << 10
)

// References implements heap.Graph.
func (g *graph) References(nodes []heap.Node, yield func(from heap.Node, field int32, to heap.Node)) error {
	const most = 1 << 16
	for len(nodes) > 0 {
		if err := g.j.moved(); err != nil {
			return err
		}
		if err := g.loadMirrored(nodes[:min(len(nodes), most)]); err != nil {
			return err
		}
		n := g.batch(nodes[:min(len(nodes), most)])
		if err := g.references(nodes[:n], yield); err != nil {
			return err
		}
		nodes = nodes[n:]
	}
	return g.ctx.Err()
}

func (g *graph) references(nodes []heap.Node, yield func(from heap.Node, field int32, to heap.Node)) error {
	bodies, err := g.bodies(nodes)
	if err != nil {
		return err
	}
	var links []link
	flush := func() error {
		at := make([]uint64, len(links))
		for i, l := range links {
			at[i] = l.to
		}
		if err := g.meet(at); err != nil {
			return err
		}
		for _, l := range links {
			if to := g.find(l.to); to != heap.None {
				if g.longest > 0 {
					g.keepVia(l, to)
				}
				yield(l.from, l.field, to)
			}
		}
		links = links[:0]
		return g.ctx.Err()
	}
	var arrays []heap.Node
	for i, n := range nodes {
		c := g.Class(n)
		if c < 0 {
			continue
		}
		k := g.j.klasses[c]
		switch {
		case k.array:
			arrays = append(arrays, n)
		case k.helper > 0:
			if of, ok := g.mirrorOf(n); ok {
				for s, f := range of.statics {
					if f.Type == heap.Object {
						if to, ok := g.j.layout.value(bodies[i], f); ok && to != 0 {
							links = append(links, link{n, int32(s), to, g.nodes[n] + uint64(f.offset)})
						}
					}
				}
				continue
			}
			strong, err := g.strong(k)
			if err != nil {
				return err
			}
			for _, f := range strong {
				if to, ok := g.j.layout.value(bodies[i], k.all[f]); ok && to != 0 {
					links = append(links, link{n, f, to, g.nodes[n] + uint64(k.all[f].offset)})
				}
			}
		}
	}
	err = g.elements(arrays, func(l link) error {
		if links = append(links, l); len(links) < maxElements {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// strong returns the numbers of a class's fields that are strong references.
func (g *graph) strong(k *klass) ([]int32, error) {
	if k.strongRead {
		return k.strong, nil
	}
	all, err := g.j.fieldsOf(k)
	if err != nil {
		return nil, err
	}
	at := 0
	for c, steps := k, 0; c != nil && steps < maxSupers; c, steps = g.j.byPlace[c.super], steps+1 {
		for _, f := range c.own {
			if f.Type == heap.Object && at < len(all) && !heap.WeakField(g.j.classes[c.id].Name, f.Name) {
				k.strong = append(k.strong, int32(at))
			}
			at++
		}
	}
	k.strongRead = true
	return k.strong, nil
}

// maxElements bounds how many elements of arrays are read at once.
const maxElements = 1 << 20

// elements yields the references that arrays hold.
func (g *graph) elements(arrays []heap.Node, yield func(link) error) error {
	if len(arrays) == 0 {
		return nil
	}
	l := g.j.layout
	raw := make([]byte, 4*len(arrays))
	spans := make([]span, len(arrays))
	for i, n := range arrays {
		spans[i] = span{g.nodes[n] + uint64(l.headerSize()) - 4, raw[4*i : 4*i+4]}
	}
	if err := g.read(spans); err != nil {
		return err
	}
	width := uint64(l.oopSize())
	for i, n := range arrays {
		length := uint64(binary.LittleEndian.Uint32(raw[4*i:]))
		at := g.nodes[n] + arrayBase(g.j.klasses[g.Class(n)])
		if g.longest > 0 && length > g.longest {
			continue
		}
		if length > 1<<31 || length > 0 && !g.within(at, length*width) {
			return fmt.Errorf("an array at 0x%x with %d elements reaches beyond the heap", g.nodes[n], length)
		}
		for done := uint64(0); done < length; {
			m := min(length-done, maxElements)
			b := g.j.r.bytes(at+done*width, int(m*width))
			if err := g.j.r.err; err != nil {
				return err
			}
			for e := range m {
				var to uint64
				if width == 4 {
					to = l.decode(uint64(binary.LittleEndian.Uint32(b[4*e:])))
				} else {
					to = l.decode(binary.LittleEndian.Uint64(b[8*e:]))
				}
				if to != 0 {
					if err := yield(link{n, heap.Element, to, at + (done+e)*width}); err != nil {
						return err
					}
				}
			}
			done += m
		}
	}
	return nil
}

// Roots implements heap.Graph: the live threads, virtual ones too, what JNI global
// references and the threads' stacks refer to. Other roots there are, such as JNI local references, are
// not known.
func (g *graph) Roots(yield func(n heap.Node, kind heap.RootKind)) bool {
	at, err := g.virtualThreads()
	if !g.note(err) || !g.note(g.stackRoots(at)) {
		return false
	}
	for _, t := range g.threads {
		at = append(at, t.object)
	}
	if g.note(g.meet(at)) {
		for _, a := range at {
			if n := g.find(a); n != heap.None {
				yield(n, heap.RootThread)
			}
		}
	}
	isNative := map[heap.Node]bool{}
	if g.note(g.meet(g.native)) {
		for _, a := range g.native {
			if n := g.find(a); n != heap.None {
				isNative[n] = true
				yield(n, heap.RootJNI)
			}
		}
	}
	for n := range g.onStack {
		if !isNative[n] {
			yield(n, heap.RootThread)
		}
	}
	return false
}

// Address6 implements heap.Graph.
func (g *graph) Address6(array heap.Node) (address [16]byte, ok bool) {
	if array == heap.None || g.Class(array) < 0 || g.j.classes[g.Class(array)].Name != "byte[]" {
		return address, false
	}
	l := g.j.layout
	at := g.nodes[array]
	var length [4]byte
	if !g.note(g.j.r.read([]span{{at + uint64(l.headerSize()) - 4, length[:]}})) || binary.LittleEndian.Uint32(length[:]) != 16 {
		return address, false
	}
	return address, g.note(g.j.r.read([]span{{at + arrayBase(g.j.klasses[g.Class(array)]), address[:]}}))
}
