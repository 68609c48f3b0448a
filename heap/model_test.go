package heap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/heap/hprof"
)

// model is a heap that is written down plainly: the source of generated dumps,
// and, as a Graph, the slow reference that the engine is held against.
type model struct {
	classes []modelClass
	objects []modelObject // sorted by id
	roots   []modelRoot
}

type modelClass struct {
	id      uint64 // of its mirror
	name    string // with dots
	super   int    // index; -1
	fields  []Field
	statics []modelStatic
}

type modelStatic struct {
	name  string
	typ   Type
	value uint64 // of a reference the object's id
}

type modelObject struct {
	id       uint64
	class    int      // of an instance, or of an array of objects
	values   []uint64 // by Layout; of a reference the object's id
	array    bool
	elements []uint64
	bytes    []byte // of a byte array; class is then that of byte[]
}

type modelRoot struct {
	id  uint64
	tag byte
}

// builder makes models.
type builder struct {
	m      *model
	byName map[string]int
	next   uint64
}

func newBuilder() *builder {
	b := &builder{m: &model{}, byName: map[string]int{}, next: 0x1000}
	b.class("java.lang.Object", "")
	b.class("java.lang.Class", "java.lang.Object")
	b.class("java.lang.Object[]", "java.lang.Object")
	b.class("byte[]", "java.lang.Object")
	b.class("java.lang.Thread", "java.lang.Object", "threadLocals")
	b.class("java.lang.ref.Reference", "java.lang.Object", "referent", "discovered")
	b.class("java.lang.ref.PhantomReference", "java.lang.ref.Reference")
	b.class("jdk.internal.ref.Cleaner", "java.lang.ref.PhantomReference", "next", "prev", "thunk")
	b.class("java.nio.Buffer", "java.lang.Object", "address:11", "capacity:10", "mark:10")
	b.class("java.nio.MappedByteBuffer", "java.nio.Buffer", "fd")
	b.class("java.nio.DirectByteBuffer", "java.nio.MappedByteBuffer", "att", "cleaner")
	b.class("java.nio.DirectByteBuffer$Deallocator", "java.lang.Object", "address:11", "size:11", "capacity:10")
	b.class("java.nio.channels.spi.AbstractInterruptibleChannel", "java.lang.Object", "closed:4")
	b.class("sun.nio.ch.SocketChannelImpl", "java.nio.channels.spi.AbstractInterruptibleChannel", "fdVal:10", "state:10", "localAddress", "remoteAddress", "extra")
	b.class("java.nio.channels.SelectionKey", "java.lang.Object", "attachment")
	b.class("sun.nio.ch.SelectionKeyImpl", "java.nio.channels.SelectionKey", "channel", "interestOps:10")
	b.class("java.util.HashMap", "java.lang.Object", "table")
	b.class("java.util.HashMap$Node", "java.lang.Object", "key", "value", "next")
	b.class("app.Node", "java.lang.Object", "a", "b", "n:10", "c")
	b.class("app.Special", "app.Node", "d", "x:7", "y:8")
	b.class("app.Registry", "java.lang.Object")
	return b
}

// class adds one; a field is "name" for a reference, else "name:type".
func (b *builder) class(name, super string, fields ...string) {
	c := modelClass{id: b.id(), name: name, super: -1}
	if super != "" {
		c.super = b.byName[super]
	}
	for _, f := range fields {
		n, code, _ := strings.Cut(f, ":")
		typ := Object
		if code != "" {
			_, _ = fmt.Sscan(code, &typ)
		}
		c.fields = append(c.fields, Field{Name: n, Type: typ})
	}
	b.byName[name] = len(b.m.classes)
	b.m.classes = append(b.m.classes, c)
}

func (b *builder) id() uint64 {
	b.next += 16
	return b.next
}

func (b *builder) layout(class int) []Field {
	var l []Field
	for c := class; c >= 0; c = b.m.classes[c].super {
		l = append(l, b.m.classes[c].fields...)
	}
	return l
}

// object adds an instance; values are given by field name.
func (b *builder) object(class string, values map[string]uint64) uint64 {
	c := b.byName[class]
	o := modelObject{id: b.id(), class: c}
	for _, f := range b.layout(c) {
		o.values = append(o.values, values[f.Name])
	}
	b.m.objects = append(b.m.objects, o)
	return o.id
}

func (b *builder) array(elements ...uint64) uint64 {
	o := modelObject{id: b.id(), class: b.byName["java.lang.Object[]"], array: true, elements: elements}
	b.m.objects = append(b.m.objects, o)
	return o.id
}

func (b *builder) set(id uint64, field string, value uint64) {
	for i := range b.m.objects {
		o := &b.m.objects[i]
		if o.id != id {
			continue
		}
		for j, f := range b.layout(o.class) {
			if f.Name == field {
				o.values[j] = value
			}
		}
	}
}

// buffer adds a direct buffer with its Cleaner and Deallocator, and keeps the
// Cleaner reachable as the JDK's list does.
func (b *builder) buffer(address uint64, size int) uint64 {
	thunk := b.object("java.nio.DirectByteBuffer$Deallocator", map[string]uint64{"address": address, "size": uint64(size), "capacity": uint64(size)})
	cleaner := b.object("jdk.internal.ref.Cleaner", map[string]uint64{"thunk": thunk})
	buffer := b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": address, "capacity": uint64(size), "cleaner": cleaner})
	b.set(cleaner, "referent", buffer)
	b.root(cleaner, hprof.RootJNIGlobal)
	return buffer
}

func (b *builder) root(id uint64, tag byte) { b.m.roots = append(b.m.roots, modelRoot{id, tag}) }

func (b *builder) static(class, name string, value uint64) {
	c := &b.m.classes[b.byName[class]]
	c.statics = append(c.statics, modelStatic{name, Object, value})
}

// build ends the model: every class is a root, as those of the boot loader are.
func (b *builder) build() *model {
	slices.SortFunc(b.m.objects, func(x, y modelObject) int { return int(int64(x.id) - int64(y.id)) })
	for _, c := range b.m.classes {
		b.root(c.id, hprof.RootStickyClass)
	}
	return b.m
}

// move returns the same heap at other addresses.
func (m *model) move(place func(id uint64) uint64) *model {
	at := func(id uint64) uint64 {
		if id == 0 {
			return 0
		}
		return place(id)
	}
	out := &model{}
	for _, c := range m.classes {
		c.id = at(c.id)
		c.statics = slices.Clone(c.statics)
		for i := range c.statics {
			if c.statics[i].typ == Object {
				c.statics[i].value = at(c.statics[i].value)
			}
		}
		out.classes = append(out.classes, c)
	}
	layout := (&builder{m: m}).layout
	for _, o := range m.objects {
		o.id = at(o.id)
		o.values, o.elements = slices.Clone(o.values), slices.Clone(o.elements)
		if !o.array && o.bytes == nil {
			for i, f := range layout(o.class) {
				if f.Type == Object {
					o.values[i] = at(o.values[i])
				}
			}
		}
		for i := range o.elements {
			o.elements[i] = at(o.elements[i])
		}
		out.objects = append(out.objects, o)
	}
	for _, r := range m.roots {
		out.roots = append(out.roots, modelRoot{at(r.id), r.tag})
	}
	slices.SortFunc(out.objects, func(x, y modelObject) int { return int(int64(x.id) - int64(y.id)) })
	return out
}

// shape says how a dump is written.
type shape struct {
	idSize      int
	segment     int  // bytes after which a new segment begins
	shuffle     bool // instances in any order, classes after their instances
	rootsFirst  bool
	classesLast bool // as a stream of JDK 22 on has them
	legacy      bool // one HEAP_DUMP record instead of segments
	zeroLength  bool // with empty segments in between
	split       bool // object segments in a stream of their own
	cut         bool // segments end anywhere, within records too
	interleaved *rand.Rand
}

// encode writes the model as an HPROF file; segments is the second stream of a
// split dump.
func (m *model) encode(s shape) (main, segments []byte) {
	var out bytes.Buffer
	id := func(w *bytes.Buffer, v uint64) {
		if s.idSize == 4 {
			_ = binary.Write(w, binary.BigEndian, uint32(v))
		} else {
			_ = binary.Write(w, binary.BigEndian, v)
		}
	}
	u4 := func(w *bytes.Buffer, v uint32) { _ = binary.Write(w, binary.BigEndian, v) }
	u2 := func(w *bytes.Buffer, v uint16) { _ = binary.Write(w, binary.BigEndian, v) }
	record := func(w *bytes.Buffer, tag byte, body []byte) {
		w.WriteByte(tag)
		u4(w, 0)
		u4(w, uint32(len(body)))
		w.Write(body)
	}
	value := func(w *bytes.Buffer, t Type, v uint64) {
		switch hprof.TypeSize(uint8(t), s.idSize) {
		case 1:
			w.WriteByte(byte(v))
		case 2:
			u2(w, uint16(v))
		case 4:
			u4(w, uint32(v))
		default:
			_ = binary.Write(w, binary.BigEndian, v)
		}
	}
	out.WriteString("JAVA PROFILE 1.0.2\x00")
	u4(&out, uint32(s.idSize))
	_ = binary.Write(&out, binary.BigEndian, uint64(0))

	stringIDs := map[string]uint64{}
	name := func(text string) uint64 {
		if n, ok := stringIDs[text]; ok {
			return n
		}
		n := uint64(0x900000 + len(stringIDs))
		stringIDs[text] = n
		var body bytes.Buffer
		id(&body, n)
		body.WriteString(text)
		record(&out, hprof.TagString, body.Bytes())
		return n
	}
	for i, c := range m.classes {
		text := strings.ReplaceAll(c.name, ".", "/")
		switch c.name {
		case "java.lang.Object[]":
			text = "[Ljava/lang/Object;"
		case "byte[]":
			text = "[B"
		}
		n := name(text)
		for _, f := range c.fields {
			name(f.Name)
		}
		for _, f := range c.statics {
			name(f.name)
		}
		var body bytes.Buffer
		u4(&body, uint32(i+1))
		id(&body, c.id)
		u4(&body, 0)
		id(&body, n)
		record(&out, hprof.TagLoadClass, body.Bytes())
	}

	var subs [][]byte // class and object records
	for _, c := range m.classes {
		var w bytes.Buffer
		w.WriteByte(0x20)
		id(&w, c.id)
		u4(&w, 0)
		super := uint64(0)
		if c.super >= 0 {
			super = m.classes[c.super].id
		}
		id(&w, super)
		for range 5 {
			id(&w, 0)
		}
		u4(&w, 16)
		u2(&w, 0)
		u2(&w, uint16(len(c.statics)))
		for _, f := range c.statics {
			id(&w, name(f.name))
			w.WriteByte(byte(f.typ))
			value(&w, f.typ, f.value)
		}
		u2(&w, uint16(len(c.fields)))
		for _, f := range c.fields {
			id(&w, name(f.Name))
			w.WriteByte(byte(f.Type))
		}
		subs = append(subs, w.Bytes())
	}
	for _, o := range m.objects {
		var w bytes.Buffer
		switch {
		case o.array:
			w.WriteByte(0x22)
			id(&w, o.id)
			u4(&w, 0)
			u4(&w, uint32(len(o.elements)))
			id(&w, m.classes[o.class].id)
			for _, e := range o.elements {
				id(&w, e)
			}
		case o.bytes != nil:
			w.WriteByte(0x23)
			id(&w, o.id)
			u4(&w, 0)
			u4(&w, uint32(len(o.bytes)))
			w.WriteByte(hprof.TypeByte)
			w.Write(o.bytes)
		default:
			var fields bytes.Buffer
			i := 0
			for c := o.class; c >= 0; c = m.classes[c].super {
				for _, f := range m.classes[c].fields {
					value(&fields, f.Type, o.values[i])
					i++
				}
			}
			w.WriteByte(0x21)
			id(&w, o.id)
			u4(&w, 0)
			id(&w, m.classes[o.class].id)
			u4(&w, uint32(fields.Len()))
			w.Write(fields.Bytes())
		}
		subs = append(subs, w.Bytes())
	}
	if s.classesLast {
		subs = slices.Concat(subs[len(m.classes):], subs[:len(m.classes)])
	}
	var roots [][]byte
	for _, r := range m.roots {
		var w bytes.Buffer
		w.WriteByte(r.tag)
		id(&w, r.id)
		switch r.tag {
		case hprof.RootJNIGlobal:
			id(&w, 0)
		case hprof.RootThreadObject, hprof.RootJavaFrame, hprof.RootJNILocal:
			u4(&w, 1)
			u4(&w, 1)
		}
		roots = append(roots, w.Bytes())
	}
	if s.shuffle {
		s.interleaved.Shuffle(len(subs), func(i, j int) { subs[i], subs[j] = subs[j], subs[i] })
		s.interleaved.Shuffle(len(roots), func(i, j int) { roots[i], roots[j] = roots[j], roots[i] })
	}
	all := slices.Concat(subs, roots)
	if s.rootsFirst {
		all = slices.Concat(roots, subs)
	}
	body := &out
	var second bytes.Buffer
	if s.split {
		body = &second
	}
	if s.cut {
		for rest := slices.Concat(all...); len(rest) > 0; {
			n := min(s.segment, len(rest))
			record(body, hprof.TagHeapDumpSegment, rest[:n])
			rest = rest[n:]
		}
	} else if s.legacy {
		record(body, hprof.TagHeapDump, slices.Concat(all...))
	} else {
		var seg []byte
		for _, sub := range all {
			seg = append(seg, sub...)
			if len(seg) >= s.segment {
				record(body, hprof.TagHeapDumpSegment, seg)
				seg = seg[:0]
				if s.zeroLength {
					record(body, hprof.TagHeapDumpSegment, nil)
				}
			}
		}
		record(body, hprof.TagHeapDumpSegment, seg)
	}
	record(&out, hprof.TagHeapDumpEnd, nil)
	return out.Bytes(), second.Bytes()
}

// zip compresses a dump as the JDK does: members of up to a block each, the
// first with a comment that names the block size.
func zip(dump []byte, block int) []byte {
	var out bytes.Buffer
	for first := true; len(dump) > 0; first = false {
		n := min(block, len(dump))
		z := gzip.NewWriter(&out)
		if first {
			z.Comment = fmt.Sprintf("HPROF BLOCKSIZE=%d", block)
		}
		_, _ = z.Write(dump[:n])
		_ = z.Close()
		dump = dump[n:]
	}
	return out.Bytes()
}

// modelGraph is the plain Graph over a model. Classes' mirrors are nodes too.
type modelGraph struct {
	m       *model
	ids     []uint64 // by Node, ascending
	at      map[uint64]Node
	classes []Class
}

func newModelGraph(m *model) *modelGraph {
	g := &modelGraph{m: m, at: map[uint64]Node{}}
	for _, c := range m.classes {
		g.ids = append(g.ids, c.id)
	}
	for _, o := range m.objects {
		g.ids = append(g.ids, o.id)
	}
	slices.Sort(g.ids)
	for i, id := range g.ids {
		g.at[id] = Node(i)
	}
	for _, c := range m.classes {
		g.classes = append(g.classes, Class{Name: c.name, Super: ClassID(c.super), Fields: c.fields, Mirror: g.at[c.id]})
	}
	return g
}

func (g *modelGraph) node(id uint64) Node {
	if n, ok := g.at[id]; ok && id != 0 {
		return n
	}
	return None
}

func (g *modelGraph) object(n Node) *modelObject {
	i, ok := slices.BinarySearchFunc(g.m.objects, g.ids[n], func(o modelObject, id uint64) int { return int(int64(o.id) - int64(id)) })
	if !ok {
		return nil
	}
	return &g.m.objects[i]
}

func (g *modelGraph) Classes() []Class { return g.classes }

func (g *modelGraph) Objects(classes []ClassID) ([]Node, error) {
	var found []Node
	for n := range g.ids {
		if o := g.object(Node(n)); o != nil && slices.Contains(classes, ClassID(o.class)) {
			found = append(found, Node(n))
		}
	}
	return found, nil
}

func (g *modelGraph) Len() int              { return len(g.ids) }
func (g *modelGraph) Address(n Node) uint64 { return g.ids[n] }

func (g *modelGraph) Class(n Node) ClassID {
	if o := g.object(n); o != nil {
		return ClassID(o.class)
	}
	return ClassID(slices.IndexFunc(g.classes, func(c Class) bool { return c.Name == "java.lang.Class" }))
}

func (g *modelGraph) Values(nodes []Node, fields []int32, out []uint64, ok []bool) error {
	for i, n := range nodes {
		o := g.object(n)
		layout := Layout(g.classes, ClassID(o.class))
		for j, f := range fields {
			at := i*len(fields) + j
			v := o.values[f]
			switch layout[f].Type {
			case Object:
				v = uint64(g.node(v))
			case Int:
				v = uint64(int64(int32(v)))
			}
			out[at], ok[at] = v, true
		}
	}
	return nil
}

func (g *modelGraph) Static(c ClassID, name string) (uint64, Type, bool) {
	for _, s := range g.m.classes[c].statics {
		if s.name == name {
			return uint64(g.node(s.value)), s.typ, true
		}
	}
	return 0, 0, false
}

func (g *modelGraph) StaticNames(c ClassID) []string {
	var names []string
	for _, s := range g.m.classes[c].statics {
		names = append(names, s.name)
	}
	return names
}

func (g *modelGraph) References(nodes []Node, yield func(Node, int32, Node)) error {
	for _, n := range nodes {
		o := g.object(n)
		if o == nil {
			c := slices.IndexFunc(g.m.classes, func(c modelClass) bool { return c.id == g.ids[n] })
			for i, s := range g.m.classes[c].statics {
				if to := g.node(s.value); to != None {
					yield(n, int32(i), to)
				}
			}
			continue
		}
		for _, e := range o.elements {
			if to := g.node(e); to != None {
				yield(n, Element, to)
			}
		}
		i := 0
		for c := o.class; c >= 0 && !o.array && o.bytes == nil; c = g.m.classes[c].super {
			for _, f := range g.m.classes[c].fields {
				if to := g.node(o.values[i]); f.Type == Object && to != None && !WeakField(g.m.classes[c].name, f.Name) {
					yield(n, int32(i), to)
				}
				i++
			}
		}
	}
	return nil
}

func (g *modelGraph) Referrers(set []Node, yield func(Node, int32, Node)) error {
	all := make([]Node, len(g.ids))
	for i := range all {
		all[i] = Node(i)
	}
	return g.References(all, func(from Node, field int32, to Node) {
		if slices.Contains(set, to) {
			yield(from, field, to)
		}
	})
}

func (g *modelGraph) Roots(yield func(Node, RootKind)) bool {
	for _, r := range g.m.roots {
		kind := RootOther
		switch r.tag {
		case hprof.RootStickyClass:
			kind = RootStatic
		case hprof.RootThreadObject, hprof.RootJavaFrame, hprof.RootNativeStack, hprof.RootThreadBlock:
			kind = RootThread
		case hprof.RootJNIGlobal, hprof.RootJNILocal:
			kind = RootJNI
		}
		if n := g.node(r.id); n != None {
			yield(n, kind)
		}
	}
	return true
}

func (g *modelGraph) Address6(Node) (address [16]byte, ok bool) { return address, false }

// randomModel draws a heap: connections, buffers, keys, maps, and a tangle of
// application objects, some of it garbage.
func randomModel(r *rand.Rand, size int) *model {
	b := newBuilder()
	var things []uint64
	pick := func() uint64 {
		if len(things) == 0 || r.IntN(5) == 0 {
			return 0
		}
		return things[r.IntN(len(things))]
	}
	var channels []uint64
	for i := range size {
		var id uint64
		switch r.IntN(10) {
		case 0, 1:
			id = b.buffer(0x7f0000000000+uint64(i)<<16, 4096*(1+r.IntN(8)))
		case 2:
			id = b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"fdVal": uint64(10 + i), "state": 2, "closed": uint64(r.IntN(2)), "extra": pick()})
			channels = append(channels, id)
		case 3:
			key := map[string]uint64{"attachment": pick(), "interestOps": uint64(r.IntN(5))}
			if len(channels) > 0 {
				key["channel"] = channels[r.IntN(len(channels))]
			}
			id = b.object("sun.nio.ch.SelectionKeyImpl", key)
		case 4:
			elements := make([]uint64, r.IntN(6))
			for j := range elements {
				elements[j] = pick()
			}
			id = b.array(elements...)
		case 5:
			node := b.object("java.util.HashMap$Node", map[string]uint64{"key": pick(), "value": pick()})
			id = b.object("java.util.HashMap", map[string]uint64{"table": b.array(node, pick())})
		case 6:
			id = b.object("app.Special", map[string]uint64{"a": pick(), "b": pick(), "c": pick(), "d": pick(), "n": 7, "y": 9})
		case 7:
			id = b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": 0x7e0000000000 + uint64(i), "capacity": 64, "att": pick()})
		default:
			id = b.object("app.Node", map[string]uint64{"a": pick(), "b": pick(), "c": pick(), "n": uint64(r.IntN(100))})
		}
		things = append(things, id)
	}
	for range size / 4 { // references backwards and in circles
		b.set(things[r.IntN(len(things))], []string{"a", "b", "c", "extra"}[r.IntN(4)], pick())
	}
	for i := range r.IntN(4) {
		b.static("app.Registry", fmt.Sprintf("field%d", i), pick())
	}
	thread := b.object("java.lang.Thread", map[string]uint64{"threadLocals": pick()})
	b.root(thread, hprof.RootThreadObject)
	for range r.IntN(5) {
		if id := pick(); id != 0 {
			b.root(id, []byte{hprof.RootJNIGlobal, hprof.RootJavaFrame, hprof.RootMonitorUsed, hprof.RootUnknown}[r.IntN(4)])
		}
	}
	return b.build()
}

func asText(t testing.TB, r *Result) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "complete %v %s\n", r.Complete, r.Reason)
	for _, a := range r.Allocations {
		fmt.Fprintf(&b, "%x %d %s %s remainder=%v sharers=%d", a.Address, a.Bytes, a.Kind, a.Fate, a.Remainder, a.Sharers)
		if a.Connection >= 0 {
			fmt.Fprintf(&b, " connection=%x", r.Connections[a.Connection].Object)
		}
		if a.Holder >= 0 {
			fmt.Fprintf(&b, " %s: %s", r.Holders[a.Holder].Root, strings.Join(r.Holders[a.Holder].Path, " > "))
		}
		b.WriteByte('\n')
	}
	for _, c := range r.Connections {
		fmt.Fprintf(&b, "connection %s %x %v", c.Class, c.Object, c.Evidence)
		if c.Closed != nil {
			fmt.Fprintf(&b, " closed=%v", *c.Closed)
		}
		if c.Reachable != nil {
			fmt.Fprintf(&b, " reachable=%v", *c.Reachable)
		}
		b.WriteByte('\n')
	}
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "check %+v\n", c)
	}
	return b.String()
}
