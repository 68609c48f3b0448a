package heap

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/leakscope/leakscope/heap/hprof"
)

// registry collects what a dump says of its classes, in whatever order it says
// it, and makes a plan for each class as soon as all it needs is known: its
// name, the names of its fields, and the same of its superclasses.
type registry struct {
	idSize int

	mu      sync.RWMutex
	strings map[uint64]symbol
	text    []byte
	names   map[uint64]uint64 // string identifier by class identifier
	dumps   map[uint64]*hprof.ClassDump
	plans   map[uint64]*plan
	ahead   map[uint64]*plan // of arrays whose classes are not described yet

	describe func() []KnownClass // until it was called
	known    map[uint64]*KnownClass
	changes  atomic.Uint64 // of dumps

	classes []Class // by ClassID, in the order of their plans
	mirrors []uint64
	statics [][]hprof.Static
	kinds   []rowKind
	byClass []*plan
}

// symbol is a place in registry.text.
type symbol struct{ start, end uint32 }

// maxSymbols bounds the text of all symbols kept.
const maxSymbols = 1<<31 - 1

// plan says how to read the instances of a class.
type plan struct {
	id     ClassID
	size   int  // of the field values of an instance
	leaf   bool // an instance can hold no object of interest
	groups []refGroup
	want   *wanted
	// anchored says that what refers to an instance is looked at even if the
	// instance holds nothing.
	anchored bool
	keep     []keptField
	kept     int // bytes of a kept row
	kind     uint32
	early    atomic.Int64 // arrays that were met before their class
	assumed  bool         // made from a KnownClass
}

// refGroup is up to groupFields reference fields that share a row.
type refGroup struct {
	kind    uint32
	offsets []uint32
}

// groupFields is the number of fields a row's mask tells apart.
const groupFields = 7

// rowKind says whose fields the bits of a row's mask are: fields of the class,
// or static fields of it; of an array none.
type rowKind struct {
	class   ClassID
	statics bool
	fields  []int32
}

// keptField is a field whose value is kept for each instance.
type keptField struct {
	field  int32 // number
	typ    Type
	isSet  bool // of a reference only whether it is null
	offset int  // in the dump's instance record
	at     int  // in the kept row
	size   int
}

func newRegistry(idSize int) *registry {
	return &registry{
		idSize:  idSize,
		strings: map[uint64]symbol{},
		names:   map[uint64]uint64{},
		dumps:   map[uint64]*hprof.ClassDump{},
		plans:   map[uint64]*plan{},
		ahead:   map[uint64]*plan{},
	}
}

// addString keeps a STRING record: only symbols (names) are in those.
func (r *registry) addString(id uint64, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.text)+len(text) > maxSymbols {
		return
	}
	start := uint32(len(r.text))
	r.text = append(r.text, text...)
	r.strings[id] = symbol{start, uint32(len(r.text))}
}

func (r *registry) addName(class, name uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[class] = name
}

func (r *registry) addDump(c *hprof.ClassDump) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.dumps[c.ID]; !known {
		r.dumps[c.ID] = c
		r.changes.Add(1)
	}
}

// plan returns the plan for a class, or nil when it cannot be made yet. With
// force, what is missing is done without.
func (r *registry) plan(class uint64, force bool) *plan {
	r.mu.RLock()
	p := r.plans[class]
	r.mu.RUnlock()
	if p != nil {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p = r.make(class, force)
	if p == nil && r.describe != nil && !force {
		all := r.describe()
		r.describe = nil
		r.known = make(map[uint64]*KnownClass, len(all))
		for i := range all {
			r.known[all[i].ID] = &all[i]
		}
		p = r.make(class, force)
	}
	return p
}

// arrayPlan returns the plan for the class of an array. It is there at once: to
// keep what an array refers to takes no more than a number for its class, whose
// description may come later. described says that it has come.
func (r *registry) arrayPlan(class uint64) (p *plan, described bool) {
	if p = r.plan(class, false); p != nil {
		return p, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p = r.plans[class]; p != nil {
		return p, true
	}
	if p = r.ahead[class]; p == nil {
		p = r.add(class)
		r.ahead[class] = p
	}
	return p, false
}

// add numbers a class.
func (r *registry) add(class uint64) *plan {
	p := &plan{id: ClassID(len(r.classes)), kind: uint32(len(r.kinds))}
	r.classes = append(r.classes, Class{Super: NoClass, Mirror: None})
	r.mirrors = append(r.mirrors, class)
	r.statics = append(r.statics, nil)
	r.kinds = append(r.kinds, rowKind{class: p.id})
	r.byClass = append(r.byClass, p)
	return p
}

// end does without what has not been described, and returns how many objects
// are of such classes.
func (r *registry) end() (unknown int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for class, p := range r.ahead {
		if name, ok := r.string(r.names[class]); ok {
			r.classes[p.id].Name = className(name)
		}
		unknown += p.early.Load()
	}
	return unknown
}

func (r *registry) string(id uint64) (string, bool) {
	s, ok := r.strings[id]
	return string(r.text[s.start:s.end]), ok
}

// make builds the plans of a class and its superclasses, topmost first.
func (r *registry) make(class uint64, force bool) *plan {
	var chain []*KnownClass
	seen := map[uint64]bool{}
	for id := class; id != 0 && r.plans[id] == nil && !seen[id]; {
		c := r.known[id]
		if d := r.dumps[id]; d != nil && (force || r.ready(d)) {
			c = r.described(d)
		}
		if c == nil {
			if !force || id == class {
				return nil
			}
			break
		}
		seen[id] = true
		chain = append(chain, c)
		if len(chain) > maxSupers {
			break
		}
		id = c.Super
	}
	for i := len(chain) - 1; i >= 0; i-- {
		r.makeOne(chain[i])
	}
	return r.plans[class]
}

// described is what the dump says of a class. Names that it lacks are empty.
func (r *registry) described(d *hprof.ClassDump) *KnownClass {
	c := &KnownClass{ID: d.ID, Super: d.Super}
	if name, ok := r.string(r.names[d.ID]); ok {
		c.Name = className(name)
	}
	for _, f := range d.Fields {
		name, _ := r.string(f.Name)
		c.Fields = append(c.Fields, Field{Name: name, Type: Type(f.Type)})
	}
	return c
}

// hold takes from the dump what a plan that was assumed lacks, and returns the
// names of classes that the dump describes otherwise, sorted.
func (r *registry) hold() (otherwise []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.plans {
		d := r.dumps[id]
		if d == nil || !p.assumed {
			continue
		}
		r.statics[p.id] = d.Statics
		c := r.described(d)
		if c.Super != r.known[id].Super || !slices.Equal(c.Fields, r.known[id].Fields) {
			otherwise = append(otherwise, c.Name)
		}
	}
	slices.Sort(otherwise)
	return otherwise
}

// ready reports whether all names that a class needs have been read.
func (r *registry) ready(d *hprof.ClassDump) bool {
	name, ok := r.names[d.ID]
	if !ok {
		return false
	}
	if _, ok := r.strings[name]; !ok {
		return false
	}
	for _, f := range d.Fields {
		if _, ok := r.strings[f.Name]; !ok {
			return false
		}
	}
	return true
}

func (r *registry) makeOne(k *KnownClass) {
	super := NoClass
	if p := r.plans[k.Super]; p != nil && k.Super != 0 {
		super = p.id
	}
	p := r.ahead[k.ID]
	if p == nil {
		p = r.add(k.ID)
	}
	delete(r.ahead, k.ID)
	c := &r.classes[p.id]
	c.Name, c.Super, c.Fields = k.Name, super, k.Fields
	p.assumed = r.known[k.ID] == k
	if d := r.dumps[k.ID]; d != nil {
		r.statics[p.id] = d.Statics
	}
	offset := 0
	type ref struct {
		field  int32
		offset int
	}
	var refs []ref
	for i, f := range k.Fields {
		if f.Type == Object && !WeakField(k.Name, f.Name) {
			refs = append(refs, ref{int32(i), offset})
		}
		offset += hprof.TypeSize(uint8(f.Type), r.idSize)
	}

	// The superclass's references follow at the same relative places.
	if super != NoClass {
		s := r.byClass[super]
		for _, g := range s.groups {
			kind := r.kinds[g.kind]
			for i, o := range g.offsets {
				refs = append(refs, ref{kind.fields[i] + int32(len(k.Fields)), offset + int(o)})
			}
		}
		p.size = s.size
	}
	p.size += offset
	if c.Name == "java.lang.String" {
		refs = nil // its only one is to its characters
	}
	p.want = lookWanted(r.classes, p.id)
	if p.want != nil && (p.want.role == roleCleaner || p.want.role == roleBuffer) {
		// The queue of a Cleaner is one that nothing is taken from, and a Cleaner is
		// looked up from its buffer.
		l := Layout(r.classes, p.id)
		refs = slices.DeleteFunc(refs, func(f ref) bool { return l[f.field].Name == "queue" || l[f.field].Name == "cleaner" })
	}
	for len(refs) > 0 {
		n := min(groupFields, len(refs))
		g := refGroup{kind: uint32(len(r.kinds))}
		kind := rowKind{class: p.id}
		for _, f := range refs[:n] {
			g.offsets = append(g.offsets, uint32(f.offset))
			kind.fields = append(kind.fields, f.field)
		}
		r.kinds = append(r.kinds, kind)
		p.groups = append(p.groups, g)
		refs = refs[n:]
	}
	if p.want != nil {
		r.planKept(p)
		p.anchored = !p.want.role.frees()
	}
	p.leaf = len(p.groups) == 0 && p.want == nil
	r.plans[k.ID] = p
}

// planKept works out which bytes of an instance are kept.
func (r *registry) planKept(p *plan) {
	offset := 0
	for i, f := range Layout(r.classes, p.id) {
		size := hprof.TypeSize(uint8(f.Type), r.idSize)
		kept := size
		if f.Type == Object {
			kept = 4 // packed
		}
		for _, name := range p.want.fields {
			name, isSet := strings.CutSuffix(name, "?")
			if isSet {
				kept = 1
			}
			if name == f.Name || name == "*" && f.Type != Object {
				p.keep = append(p.keep, keptField{int32(i), f.Type, isSet, offset, p.kept, size})
				p.kept += kept
				break
			}
		}
		offset += size
	}
}

// staticRows returns the reference statics of a class in groups, as row kinds,
// and makes those kinds.
func (r *registry) staticRows(c *hprof.ClassDump, id ClassID) (kinds []uint32, values [][]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range c.Statics {
		if s.Type != hprof.TypeObject || s.Value == 0 {
			continue
		}
		if n := len(kinds); n == 0 || len(values[n-1]) == groupFields {
			kinds = append(kinds, uint32(len(r.kinds)))
			values = append(values, nil)
			r.kinds = append(r.kinds, rowKind{class: id, statics: true})
		}
		last := len(kinds) - 1
		k := &r.kinds[kinds[last]]
		k.fields = append(k.fields, int32(i))
		values[last] = append(values[last], s.Value)
	}
	return kinds, values
}

// className turns a name as the JVM keeps it ("java/util/Map$Entry", "[I",
// "[Ljava/lang/String;") into the one people read.
func className(name string) string {
	dims := 0
	for dims < len(name) && name[dims] == '[' {
		dims++
	}
	element := name[dims:]
	if dims > 0 {
		if n := len(element); n > 1 && element[0] == 'L' && element[n-1] == ';' {
			element = element[1 : n-1]
		} else if len(element) == 1 {
			if p := strings.IndexByte("ZCFDBSIJ", element[0]); p >= 0 {
				element = primitiveNames[p]
			}
		}
	}
	return strings.ReplaceAll(element, "/", ".") + strings.Repeat("[]", dims)
}

var primitiveNames = [...]string{"boolean", "char", "float", "double", "byte", "short", "int", "long"}
