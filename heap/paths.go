package heap

import (
	"cmp"
	"slices"
	"strings"
)

// paths makes the holder paths that are shown. Paths are laid out as a tree of
// their steps from the root down, so that objects below one another share what
// they have in common, and each object is passed once however many allocations
// lie below it.
type paths struct {
	holders  []Holder
	byText   map[string]int32
	rootKind map[Node]RootKind // where a way from the roots begins

	stepIDs map[stepKey]int32
	texts   []string // of steps; 0 is no step
	byName  map[string]int32

	prefixes []prefix
	children map[prefixKey]int32
	fromRoot []int32 // by Node: its prefix + 1 on the way from the roots; 0: not looked at
	fromConn []int32 // the same on the way from the connections
	stack    []Node
}

// prefix is a path from a root down to some step.
type prefix struct {
	above  int32 // -1 at a root
	step   int32 // at a root the index of its word in rootWords
	depth  int32
	holder int32 // + 1, when an allocation has this path
}

type prefixKey struct{ above, step int32 }

// stepKey is what the text of a step depends on.
type stepKey struct {
	class  ClassID // of the object, or the class whose mirror it is
	field  uint16
	mirror bool
	same   bool // both ends are of one class
}

// rootWords are by RootKind; 0 is not known.
var rootWords = [...]string{
	RootStatic: "static", RootThread: "thread", RootJNI: "jni", RootOther: "other root", rootConnection: "connection",
}

const rootConnection = RootOther + 1

const (
	// maxSteps bounds the steps of a path that is shown.
	maxSteps = 40
	// maxPrefix bounds the steps of a prefix. A path that is longer shows its
	// first steps and those nearest to the allocation.
	maxPrefix = 512
	// maxTail is how many references are followed for the latter.
	maxTail = 256
)

func (p *paths) init() {
	p.byText = map[string]int32{}
	p.stepIDs = map[stepKey]int32{}
	p.byName = map[string]int32{}
	p.texts = []string{""}
	p.children = map[prefixKey]int32{}
	for i := range rootWords {
		p.prefixes = append(p.prefixes, prefix{above: -1, step: int32(i)})
	}
}

// release drops what is needed while paths are made.
func (p *paths) release() {
	*p = paths{holders: p.holders, rootKind: p.rootKind, stepIDs: p.stepIDs, texts: p.texts, byName: p.byName}
}

// below returns the prefix of an object that its prefix's last object refers
// to. Links that follow one another are one step.
func (p *paths) below(above, step int32) int32 {
	if step == 0 {
		return above
	}
	at := &p.prefixes[above]
	if at.above >= 0 {
		switch {
		case at.step == step:
			if step = p.repeated(step); step == at.step {
				return above
			}
			above, at = at.above, &p.prefixes[at.above]
		case p.texts[at.step] == p.texts[step]+"…":
			return above
		}
	}
	if at.depth >= maxPrefix {
		return above
	}
	key := prefixKey{above, step}
	child, ok := p.children[key]
	if !ok {
		child = int32(len(p.prefixes))
		p.prefixes = append(p.prefixes, prefix{above: above, step: step, depth: at.depth + 1})
		p.children[key] = child
	}
	return child
}

// repeated returns the step that stands for several of this one in a row.
func (p *paths) repeated(step int32) int32 {
	text := p.texts[step]
	if strings.HasSuffix(text, "…") {
		return step
	}
	return p.stepID(text + "…")
}

func (p *paths) stepID(text string) int32 {
	if text == "" {
		return 0
	}
	id, ok := p.byName[text]
	if !ok {
		id = int32(len(p.texts))
		p.texts = append(p.texts, text)
		p.byName[text] = id
	}
	return id
}

// rootPrefix returns the prefix of an object that was reached from the roots.
func (p *paths) rootPrefix(w *walk, n Node) int32 {
	if p.fromRoot == nil {
		p.fromRoot = make([]int32, w.reached())
	}
	return p.prefixOf(w, &w.rootWay, p.fromRoot, n, func(start Node) int32 { return int32(p.rootKind[start]) })
}

// connPrefix returns the prefix of an object that was reached from a
// connection. Where the connection is only a sibling, the path starts at the
// root that holds both.
func (p *paths) connPrefix(w *walk, n Node) int32 {
	if p.fromConn == nil {
		p.fromConn = make([]int32, w.reached())
	}
	return p.prefixOf(w, &w.connWay, p.fromConn, n, func(start Node) int32 {
		if _, isConnection := w.connAt[start]; isConnection {
			return int32(rootConnection)
		}
		if !w.rootWay.met(start) {
			return 0
		}
		return p.rootPrefix(w, start)
	})
}

// prefixOf goes back from n to an object that was looked at before or where the
// way began, and down again.
func (p *paths) prefixOf(w *walk, way *way, known []int32, n Node, begin func(Node) int32) int32 {
	base := len(p.stack) // begin may come back here
	for known[n] == 0 && way.from[n] != n {
		p.stack = append(p.stack, n)
		n = way.from[n]
	}
	at := known[n] - 1
	if at < 0 {
		at = begin(n)
		known[n] = at + 1
	}
	for len(p.stack) > base {
		to := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		at = p.below(at, p.step(w, n, to, way.field[to]))
		known[to] = at + 1
		n = to
	}
	return at
}

// holderFromRoot returns the index of the path from a root to n.
func (p *paths) holderFromRoot(w *walk, n Node) int32 {
	if !w.rootWay.met(n) {
		return -1
	}
	return p.holder(w, &w.rootWay, n, p.rootPrefix(w, n))
}

// holderFromConnection returns the index of the path from a connection to n.
func (p *paths) holderFromConnection(w *walk, n Node) int32 {
	return p.holder(w, &w.connWay, n, p.connPrefix(w, n))
}

func (p *paths) holder(w *walk, way *way, n Node, at int32) int32 {
	whole := p.prefixes[at].depth < maxPrefix
	if h := p.prefixes[at].holder; whole && h > 0 {
		return h - 1
	}
	var path []string
	up := at
	for p.prefixes[up].above >= 0 {
		path = append(path, p.texts[p.prefixes[up].step])
		up = p.prefixes[up].above
	}
	slices.Reverse(path)
	if len(path) > maxSteps {
		tail := path[len(path)-maxSteps/2+1:]
		if !whole {
			tail = p.tail(w, way, n)
		}
		path = slices.Concat(path[:maxSteps/2], []string{"…"}, tail)
	}
	h := p.intern(path, rootWords[p.prefixes[up].step])
	if whole {
		p.prefixes[at].holder = h + 1
	}
	return h
}

// tail returns the last steps of the way to n, as many as are shown of a long
// path and a bounded number of references tell.
func (p *paths) tail(w *walk, way *way, n Node) []string {
	var steps []string
	for range maxTail {
		from := way.from[n]
		if from == n || len(steps) == maxSteps/2-1 {
			break
		}
		if step := p.texts[p.step(w, from, n, way.field[n])]; step != "" {
			last := len(steps) - 1
			switch {
			case last < 0 || strings.TrimSuffix(steps[last], "…") != strings.TrimSuffix(step, "…"):
				steps = append(steps, step)
			case !strings.HasSuffix(steps[last], "…"):
				steps[last] += "…"
			}
		}
		n = from
	}
	slices.Reverse(steps)
	return steps
}

// step returns the step that leads from one object to another: 0 for one that
// is not shown.
func (p *paths) step(w *walk, from, to Node, field uint16) int32 {
	key := stepKey{class: w.g.Class(from), field: field}
	if c, isMirror := w.mirrors[from]; isMirror {
		key.class, key.mirror = c, true
	} else {
		key.same = key.class == w.g.Class(to)
	}
	id, ok := p.stepIDs[key]
	if !ok {
		id = p.stepID(w.stepText(key))
		p.stepIDs[key] = id
	}
	return id
}

// stepText names a reference, "" for one that is no step of a path: the inside
// of a collection, an array, a wrapper of a buffer.
func (w *walk) stepText(key stepKey) string {
	c, field := key.class, key.field
	if key.mirror {
		names, ok := w.statics[c]
		if !ok {
			names = w.g.StaticNames(c)
			w.statics[c] = names
		}
		if int(field) < len(names) {
			return w.classes[c].Name + "." + names[field]
		}
		return w.classes[c].Name
	}
	if c < 0 || field == elementField {
		return ""
	}
	l := w.layout(c)
	if int(field) >= len(l) {
		return ""
	}
	name := l[field].Name
	t := w.traits[c]
	switch {
	case t&wrapper != 0:
		return ""
	case t&entry != 0:
		if !valueFields[name] {
			return ""
		}
	case t&internal != 0, t&chain != 0 && linkFields[name]:
		return ""
	}
	step := w.classes[c].Name + "." + name
	if linkFields[name] && key.same {
		step += "…"
	}
	return step
}

// intern returns the index of a path.
func (p *paths) intern(path []string, root string) int32 {
	key := root + "\x00" + strings.Join(path, "\x00")
	if h, ok := p.byText[key]; ok {
		return h
	}
	h := int32(len(p.holders))
	p.holders = append(p.holders, Holder{Path: path, Root: root})
	p.byText[key] = h
	return h
}

// sort orders the holders by path and renumbers the rows.
func (p *paths) sort(rows []Allocation) {
	order := make([]int32, len(p.holders))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(
			slices.Compare(p.holders[a].Path, p.holders[b].Path),
			cmp.Compare(p.holders[a].Root, p.holders[b].Root),
		)
	})
	sorted := make([]Holder, len(order))
	place := make([]int32, len(order))
	for i, o := range order {
		sorted[i] = p.holders[o]
		place[o] = int32(i)
	}
	for i := range rows {
		if rows[i].Holder >= 0 {
			rows[i].Holder = place[rows[i].Holder]
		}
	}
	p.holders = sorted
}
