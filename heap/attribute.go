package heap

import (
	"slices"
	"strings"
)

// Attribute finds the allocations of a heap and gives each its fate, its
// holder and its connection. The Result has no Objects and Bytes; its Complete
// is set unless the graph failed, and then Reason says how.
//
// The walk goes forward from all connections at once, level by level, and does
// not enter what many connections share; so the nearest connection wins. What
// no connection reaches that way but something that refers to a connection
// does, such as a map entry with the channel as its key, belongs to that
// connection. The rest is held by the application, or garbage.
func Attribute(g Graph) (*Result, error) {
	w := &walk{g: g, classes: g.Classes()}
	err := w.run()
	r := w.result()
	if err != nil {
		r.Complete, r.Reason = false, err.Error()
	}
	return r, err
}

// walk is the state of one attribution. Tables indexed by Node grow as a graph
// discovers objects.
type walk struct {
	g       Graph
	classes []Class
	roles   []*wanted // by ClassID; nil where the walk looks for nothing
	traits  []trait   // by ClassID
	layouts map[ClassID][]Field
	statics map[ClassID][]string
	mirrors map[Node]ClassID

	objects map[role][]Node // of the wanted classes, by address

	some   []uint64 // for fill, again and again
	someOK []bool

	// by Node
	rootWay way // from the roots
	connWay way // from the connections

	rootsKnown bool
	back       backward // where they are not
	matters    []Node   // what it has to judge

	connections []Connection
	connNodes   [][]Node // by connection: the objects that stand for it
	connAt      map[Node]int32
	owners      ownerSets

	chunks   []chunkState
	chunkAt  map[Node]int32
	memories map[Node]bool // buffers that are the memory of a chunk
	images   map[Node]bool // buffers that are the JVM's module image

	thunkBytes   int64 // that deallocators have still to free
	foreignBytes int64 // that arenas have still to free

	allocations []Allocation // sorted once they are settled
	paths       paths
	retainers   *Retainer
	counters    []Counter
	checks      []Check
	warnings    []string

	threadCaches []ThreadCache

	framesMissing bool // what only the frames of virtual threads hold is not known to be held
}

// way is how the objects that a search met were reached.
type way struct {
	from  []Node   // None: not met; the node itself: where the search began
	field []uint16 // of from, elementField for an element
}

// reached bounds the nodes that references lead to, so far: what is kept of each
// of those need not be kept of the others.
func (w *walk) reached() int {
	if g, ok := w.g.(interface{ reached() int }); ok {
		return g.reached()
	}
	return w.g.Len()
}

func (w *way) grow(n int) {
	if old := len(w.from); n > old {
		w.field = grown(w.field, n)
		w.from = grown(w.from, n)
		for i := old; i < n; i++ {
			w.from[i] = None
		}
	}
}

// grown returns s at length n, what is new of it zero.
func grown[T any](s []T, n int) []T {
	old := len(s)
	s = slices.Grow(s, n-old)[:n]
	clear(s[old:])
	return s
}

func (w *way) met(n Node) bool { return int(n) < len(w.from) && w.from[n] != None }

func (w *way) meet(n, from Node, field int32) {
	w.from[n] = from
	if field == Element {
		w.field[n] = elementField
	} else {
		w.field[n] = uint16(min(field, elementField-1))
	}
}

func (w *walk) run() error {
	w.classify()
	if err := w.find(); err != nil {
		return err
	}
	w.readCounters()
	if err := w.readConnections(); err != nil {
		return err
	}
	if err := w.readChunks(); err != nil {
		return err
	}
	if err := w.walkRoots(); err != nil {
		return err
	}
	if err := w.walkConnections(); err != nil {
		return err
	}
	if !w.rootsKnown {
		if err := w.searchBackward(); err != nil {
			return err
		}
	}
	if err := w.readAllocations(); err != nil {
		return err
	}
	w.forget(roleDeallocator, roleUnmapper, roleCleaner, roleBuffer, rolePooled)
	if err := w.walkSiblings(); err != nil {
		return err
	}
	w.settle()
	w.noteStacks()
	w.noteUnknown()
	if err := w.readThreadCaches(); err != nil {
		return err
	}
	if err := w.readEvidence(); err != nil {
		return err
	}
	return w.readRetainers()
}

// forget lets go of what was read of objects in some roles: on heaps with
// millions of buffers that is most of all memory.
func (w *walk) forget(roles ...role) {
	g, ok := w.g.(interface{ forget(class ClassID) })
	if !ok {
		return
	}
	for _, r := range roles {
		delete(w.objects, r)
	}
	for c := range w.roles {
		if w.roles[c] != nil && slices.Contains(roles, w.roles[c].role) {
			g.forget(ClassID(c))
		}
	}
	collectLarge(w.g.Len())
}

// find asks the graph for the objects of all wanted classes.
func (w *walk) find() error {
	var classes []ClassID
	for c := range w.roles {
		if w.roles[c] != nil {
			classes = append(classes, ClassID(c))
		}
	}
	nodes, err := w.g.Objects(classes)
	if err != nil {
		return err
	}
	// What lies behind the nodes that references lead to is listed by eachFreeing.
	reached := Node(w.reached())
	var counts [roles]int
	for _, n := range nodes {
		if r := w.roleOf(n); n < reached || !r.frees() {
			counts[r]++
		}
	}
	var lists [roles][]Node
	for r, count := range counts {
		lists[r] = make([]Node, 0, count)
	}
	for _, n := range nodes {
		if r := w.roleOf(n); n < reached || !r.frees() {
			lists[r] = append(lists[r], n)
		}
	}
	w.objects = map[role][]Node{}
	for r, list := range lists {
		if role(r) != roleNone && len(list) > 0 {
			w.objects[role(r)] = list
		}
	}
	return nil
}

// columns reads fields by name from nodes of any classes: row i is nodes[i],
// and ok tells the fields that its class has and the graph could read.
func (w *walk) columns(nodes []Node, names ...string) (values []uint64, ok []bool, err error) {
	values = make([]uint64, len(nodes)*len(names))
	ok = make([]bool, len(nodes)*len(names))
	return values, ok, w.fill(nodes, names, values, ok)
}

// fill is columns into tables that are empty.
func (w *walk) fill(nodes []Node, names []string, values []uint64, ok []bool) error {
	width := len(names)
	fields := make([]int32, 0, width)
	var column []int
	for start := 0; start < len(nodes); {
		c := w.g.Class(nodes[start])
		end := start + 1
		for end < len(nodes) && w.g.Class(nodes[end]) == c {
			end++
		}
		fields, column = fields[:0], column[:0]
		for j, name := range names {
			if f := w.fieldNumber(c, name); f >= 0 {
				fields = append(fields, f)
				column = append(column, j)
			}
		}
		var err error
		switch {
		case len(fields) == width:
			err = w.g.Values(nodes[start:end], fields, values[start*width:end*width], ok[start*width:end*width])
		case len(fields) > 0:
			w.some, w.someOK = resized(w.some, (end-start)*len(fields)), resized(w.someOK, (end-start)*len(fields))
			v, k := w.some, w.someOK
			err = w.g.Values(nodes[start:end], fields, v, k)
			for i := range v {
				at := (start+i/len(fields))*width + column[i%len(fields)]
				values[at], ok[at] = v[i], k[i]
			}
		}
		if err != nil {
			return err
		}
		start = end
	}
	return nil
}

func (w *walk) layout(c ClassID) []Field {
	if l, ok := w.layouts[c]; ok {
		return l
	}
	l := Layout(w.classes, c)
	w.layouts[c] = l
	return l
}

func (w *walk) fieldNumber(c ClassID, name string) int32 {
	if c < 0 {
		return -1
	}
	for i, f := range w.layout(c) {
		if f.Name == name {
			return int32(i)
		}
	}
	return -1
}

// isA reports whether c or one of its superclasses is the class of that name,
// relocated or not.
func (w *walk) isA(c ClassID, class string) bool {
	for steps := 0; c >= 0 && int(c) < len(w.classes) && steps <= maxSupers; steps++ {
		if hasSuffix(w.classes[c].Name, class) {
			return true
		}
		c = w.classes[c].Super
	}
	return false
}

func (w *walk) className(n Node) string {
	if c := w.g.Class(n); c >= 0 && int(c) < len(w.classes) {
		return w.classes[c].Name
	}
	return ""
}

func (w *walk) result() *Result {
	r := &Result{
		Complete: true, Objects: -1, Bytes: -1,
		Counters: w.counters, Checks: w.checks, Warnings: w.warnings,
		Connections: w.connections, Allocations: w.allocations, Holders: w.paths.holders,
		Retainers: w.retainers, ThreadCaches: w.threadCaches,
	}
	slices.SortFunc(r.Counters, func(a, b Counter) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Checks, func(a, b Check) int { return strings.Compare(a.Name, b.Name) })
	return r
}
