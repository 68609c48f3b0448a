package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// The causes a finding can name; doc/findings has a page for each.
const (
	CauseNoBackpressure = "no-backpressure"
	CauseNoTermination  = "no-termination"
	CauseNoKeepalive    = "no-keepalive"
	CauseNoTimeout      = "no-timeout"
	CauseNoRelease      = "no-release"
	CausePendingGC      = "pending-gc"
	CauseNearLimit      = "near-limit"
	CauseLimitTooLow    = "limit-too-low"
)

// Causes lists every cause, sorted.
func Causes() []string {
	return []string{
		CauseLimitTooLow, CauseNearLimit, CauseNoBackpressure, CauseNoKeepalive, CauseNoRelease,
		CauseNoTermination, CauseNoTimeout, CausePendingGC,
	}
}

// subject is one connection as the rules for findings see it.
type subject struct {
	conn        *Connection // at the head
	from        State       // at the base; "" when it was not there
	bytes       amounts
	holder      string // the last step of the path that keeps most of it
	path        []string
	reconnected bool // a live connection to the same peer is there too
	nobodyEnds  bool // the base's peer-closed connections are still there
}

func (s *subject) grown() int64 { return s.bytes.bytes.head - s.bytes.bytes.base }

func (s *subject) evidence(name string) (int64, bool) {
	if s.conn.Heap == nil {
		return 0, false
	}
	v, ok := s.conn.Heap.Evidence[name]
	return v, ok
}

// group is the connections of one cause at one place.
type group struct {
	rule     connectionRule
	place    string
	subjects []*subject
}

// findings applies every rule and orders what they find: worst first, then by
// bytes.
func (c *comparison) findings(r *Result) []Finding {
	all := c.connectionFindings(r)
	all = append(all, c.fateFindings(r)...)
	all = append(all, c.holderFindings(r)...)
	all = append(all, c.limitFindings(r)...)
	rank := map[Severity]int{SeverityError: 0, SeverityWarning: 1, SeverityNote: 2}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), byGrowth(a.Bytes, b.Bytes, a.ID, b.ID))
	})
	return all
}

// subjects prepares the connections of the head for the rules.
func (c *comparison) subjects() []*subject {
	live := map[string]bool{}
	for i := range c.head.Connections {
		if conn := &c.head.Connections[i]; conn.State != StateClosed && conn.remote.IsValid() {
			live[conn.remote.String()] = true
		}
	}
	top := c.mainHolders()
	nobodyEnds := c.keepsPeerClosed()
	var all []*subject
	for i, p := range c.connections {
		if p.head < 0 {
			continue
		}
		s := &subject{conn: &c.head.Connections[p.head], bytes: c.held[i], path: top[i], nobodyEnds: nobodyEnds}
		if n := len(s.path); n > 0 {
			s.holder = shortStep(s.path[n-1])
		}
		if p.base >= 0 {
			s.from = c.base.Connections[p.base].State
		}
		s.reconnected = s.conn.remote.IsValid() && live[s.conn.remote.String()]
		all = append(all, s)
	}
	return all
}

// mainHolders finds, for each connection pair, the path that keeps most of its
// bytes at the head.
func (c *comparison) mainHolders() [][]string {
	type key struct {
		pair   int
		holder int32
	}
	sums := map[key]int64{}
	allocations := c.head.allocations()
	for i := range allocations {
		if s := &allocations[i]; s.Connection >= 0 && s.Holder >= 0 && c.head.ByHeap[s.Connection] >= 0 {
			sums[key{c.headConn[c.head.ByHeap[s.Connection]], s.Holder}] += s.Bytes
		}
	}
	best := make([][]string, len(c.connections))
	most := make([]int64, len(c.connections))
	for k, bytes := range sums {
		path := c.head.Snapshot.Heap.Holders[k.holder].Path
		if len(path) == 0 {
			continue
		}
		if bytes > most[k.pair] || (bytes == most[k.pair] && slices.Compare(path, best[k.pair]) < 0) {
			best[k.pair], most[k.pair] = path, bytes
		}
	}
	return best
}

// connectionFindings groups connections by the rules that hold for them and
// the place that keeps their memory.
func (c *comparison) connectionFindings(r *Result) []Finding {
	subjects := c.subjects()
	var all []Finding
	for _, rule := range connectionRules {
		groups := map[string]*group{}
		for _, s := range subjects {
			if !rule.applies(s) {
				continue
			}
			place := cmp.Or(s.holder, "connection")
			if s.conn.Heap != nil {
				place = shortClass(s.conn.Heap.Class) + "/" + place
			}
			if groups[place] == nil {
				groups[place] = &group{rule: rule, place: place}
			}
			groups[place].subjects = append(groups[place].subjects, s)
		}
		for _, g := range groups {
			all = append(all, c.groupFinding(r, g))
		}
	}
	return all
}

func (c *comparison) groupFinding(r *Result, g *group) Finding {
	var bytes amounts
	var connections tally
	confidence := Exact
	states := map[State]bool{}
	for _, s := range g.subjects {
		bytes.add(s.bytes)
		connections.head++
		if s.from == s.conn.State {
			connections.base++
		}
		states[s.conn.State] = true
		confidence = worse(confidence, s.conn.Confidence)
	}
	f := Finding{
		ID: g.rule.cause + "/" + g.rule.form + "/" + g.place, Cause: g.rule.cause, Form: g.rule.form,
		Title:       g.rule.title(len(g.subjects)),
		Confidence:  worse(confidence, c.confidence()),
		States:      []State{},
		Connections: connections.pair(c.connectionsKnown()),
		Bytes:       bytes.bytes.delta(c.heapKnown()),
		Evidence:    g.rule.evidence(g.subjects),
		Disproof:    g.rule.disproof,
	}
	for _, s := range States() {
		if states[s] {
			f.States = append(f.States, s)
		}
	}
	var keys []string
	for _, s := range f.States {
		keys = append(keys, string(s))
	}
	w := c.weigh(r, bytes.bytes, "state", keys...)
	w.connections = len(g.subjects)
	for _, s := range g.subjects {
		if withinLimit(s) {
			w.grown -= s.grown()
		}
	}
	f.Severity = g.rule.severity(w)
	f.Remedy, f.Verify = remedy(g.rule.cause, g.rule.form, libraryOf(g))
	return f
}

// add sums two amounts.
func (a *amounts) add(b amounts) {
	a.count.add(b.count)
	a.bytes.add(b.bytes)
}

func (t *tally) add(u tally) {
	t.base += u.base
	t.head += u.head
	t.retained += u.retained
	t.created += u.created
	t.freed += u.freed
}

// weight is what severity is decided by: how much, and whether it grows.
type weight struct {
	head        int64
	grown       int64 // since the base
	single      bool  // there is no base, or nothing is known of its memory
	leveled     bool  // over three snapshots or more it has stopped growing
	connections int
}

// grows reports growth that matters and has not stopped.
func (w weight) grows() bool { return !w.single && !w.leveled && w.grown >= structuralBytes }

// weigh weighs a sum; of and keys name the trends that tell whether it still
// grows.
func (c *comparison) weigh(r *Result, t tally, of string, keys ...string) weight {
	w := weight{head: t.head, grown: t.head - t.base, single: !c.heapKnown().base}
	for _, key := range keys {
		if shape, ok := shapeOf(r, of, key); ok && shape != Rising && shape != Undecided {
			w.leveled = true
		}
	}
	return w
}

func shapeOf(r *Result, of, key string) (Shape, bool) {
	for _, t := range r.Trends {
		if t.Of == of && t.Key == key && t.Per == "second" {
			return t.Shape, true
		}
	}
	return "", false
}

// fateFindings are those of memory without a connection.
func (c *comparison) fateFindings(r *Result) []Finding {
	var all []Finding
	known := c.heapKnown()
	if lost := c.fates[snapshot.FateLost]; lost.bytes.head >= structuralBytes {
		w := c.weigh(r, lost.bytes, "fate", string(snapshot.FateLost))
		severity := SeverityWarning
		if w.grows() {
			severity = SeverityError
		}
		f := Finding{
			ID: CauseNoRelease + "/lost/pool", Cause: CauseNoRelease, Form: "lost",
			Title:    "pooled buffers were dropped without release()",
			Severity: severity, Confidence: c.confidence(), States: []State{}, Bytes: lost.bytes.delta(known),
			Evidence: []Evidence{{
				Text:   fmt.Sprintf("%s in %d %s are marked used, but no live buffer and no thread's cache has them", units.Bytes(lost.bytes.head), lost.count.head, plural(int(lost.count.head), "chunk")),
				Source: "heap: PoolChunk.freeBytes, live buffers, PoolThreadCache",
			}},
			Disproof: "the chunks' free bytes rise again without a restart",
		}
		f.Remedy, f.Verify = remedy(CauseNoRelease, "lost", "netty")
		all = append(all, f)
	}
	garbage, total := c.fates[snapshot.FateUnreachable], c.total.bytes.head
	if garbage.bytes.head >= pendingBytes && garbage.bytes.head >= total/pendingShare {
		f := Finding{
			ID: CausePendingGC + "//heap", Cause: CausePendingGC, Title: "direct buffers wait for a collection: not a leak",
			Severity: SeverityNote, Confidence: c.confidence(), States: []State{}, Bytes: garbage.bytes.delta(known),
			Evidence: []Evidence{{
				Text:   fmt.Sprintf("%s in %d buffers are reachable from their Cleaners alone", units.Bytes(garbage.bytes.head), garbage.count.head),
				Source: "heap: Cleaner list",
			}},
			Disproof: "they are still there after a full collection",
		}
		f.Remedy, f.Verify = remedy(CausePendingGC, "", "")
		all = append(all, f)
	}
	return all
}

const (
	pendingBytes     = 16 << 20 // garbage worth a note
	pendingShare     = 4        // and at least that part of all
	threadCacheBytes = 16 << 20 // thread-local buffers worth a warning
)

// holderFindings are those of memory that the application alone holds.
func (c *comparison) holderFindings(r *Result) []Finding {
	var all []Finding
	caches := amounts{}
	for _, key := range sortedHolderKeys(c.holders) {
		h := c.holders[key]
		if isThreadLocal(h.path) {
			caches.add(h.amounts)
			continue
		}
		if key.fate != snapshot.FateApplication {
			continue
		}
		name := strings.Join(h.path, " → ")
		w := c.weigh(r, h.bytes, "holder", name)
		if !w.grows() || w.grown <= c.options.noise(h.bytes.base) || len(h.path) == 0 {
			continue
		}
		severity := SeverityWarning
		if shape, _ := shapeOf(r, "holder", name); shape == Rising {
			severity = SeverityError
		}
		place := shortStep(h.path[len(h.path)-1])
		f := Finding{
			ID: CauseNoRelease + "/application-map/" + place, Cause: CauseNoRelease, Form: "application-map",
			Title:    "the application holds ever more direct memory through " + place,
			Severity: severity, Confidence: c.confidence(), States: []State{}, Bytes: h.bytes.delta(c.heapKnown()),
			Evidence: []Evidence{{
				Text:   fmt.Sprintf("%s more in %d more buffers, held from a %s through %s", units.Bytes(w.grown), h.count.head-h.count.base, cmp.Or(key.root, "root"), strings.Join(shortSteps(h.path), " → ")),
				Source: "heap: reference path from a root",
			}},
			Disproof: "its size levels off: a cache that is filling up does the same at first",
		}
		f.Remedy, f.Verify = remedy(CauseNoRelease, "application-map", "")
		all = append(all, f)
	}
	if caches.bytes.head >= threadCacheBytes {
		f := Finding{
			ID: CauseNoRelease + "/thread-local-cache/Util$BufferCache", Cause: CauseNoRelease, Form: "thread-local-cache",
			Title:    "threads cache temporary direct buffers as large as the largest heap buffer they ever wrote",
			Severity: SeverityWarning, Confidence: c.confidence(), States: []State{}, Bytes: caches.bytes.delta(c.heapKnown()),
			Evidence: append([]Evidence{{
				Text:   fmt.Sprintf("%s in %d buffers of sun.nio.ch.Util$BufferCache", units.Bytes(caches.bytes.head), caches.count.head),
				Source: "heap: thread locals",
			}}, threadEvidence(c.head.Snapshot.Heap.ThreadCaches)...),
			Disproof: "the threads end, and the buffers with them",
		}
		f.Remedy, f.Verify = remedy(CauseNoRelease, "thread-local-cache", "")
		all = append(all, f)
	}
	return all
}

// threadEvidence names the threads that cache most, and says how many there are.
func threadEvidence(caches []snapshot.ThreadCache) []Evidence {
	const shown = 3
	if len(caches) == 0 {
		return nil
	}
	ended := 0
	for _, t := range caches {
		if live, ok := t.Live.Get(); ok && !live {
			ended++
		}
	}
	text := fmt.Sprintf("cached by %d %s", len(caches), plural(len(caches), "thread"))
	if ended > 0 {
		text += fmt.Sprintf(", %d of which have ended", ended)
	}
	e := []Evidence{{Text: text, Source: "heap: java.lang.Thread.eetop"}}
	for _, t := range caches[:min(shown, len(caches))] {
		e = append(e, Evidence{
			Text:   fmt.Sprintf("%s keeps %s in %d %s", cmp.Or(t.Thread, "a thread"), units.Bytes(t.Bytes), t.Buffers, plural(int(t.Buffers), "buffer")),
			Source: "heap: java.lang.Thread.threadLocals",
		})
	}
	return e
}

func sortedHolderKeys(m map[holderKey]*holderSums) []holderKey {
	keys := make([]holderKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b holderKey) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.root, b.root), cmp.Compare(a.fate, b.fate))
	})
	return keys
}

// isThreadLocal reports whether a path runs through the JDK's cache of
// temporary direct buffers.
func isThreadLocal(path []string) bool {
	return slices.ContainsFunc(path, func(step string) bool { return strings.HasPrefix(step, "sun.nio.ch.Util$BufferCache.") })
}

func shortSteps(path []string) []string {
	short := make([]string, len(path))
	for i, step := range path {
		short[i] = shortStep(step)
	}
	return short
}
