package analyze

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// ErrTooFew is returned when a diff is asked of fewer than two snapshots.
var ErrTooFew = errors.New("a diff takes two snapshots or more")

// Report turns one snapshot into a result: the figures are those of the head,
// and nothing is said of growth.
func Report(in Named, o Options) *Result {
	head := Attribute(in.Snapshot, o)
	c := comparison{options: o, inputs: []Named{in}, head: head}
	return c.result()
}

// Diff compares the first snapshot with the last, and follows the trend over
// all of them. Snapshots of different targets are a [NotComparableError].
func Diff(in []Named, o Options) (*Result, error) {
	if len(in) < 2 {
		return nil, ErrTooFew
	}
	c := comparison{options: o, inputs: in}
	for _, next := range in[1:] {
		warning, err := comparable(in[0], next)
		if err != nil {
			return nil, err
		}
		if warning != "" && !slices.Contains(c.warnings, warning) {
			c.warnings = append(c.warnings, warning)
		}
	}
	c.base = Attribute(in[0].Snapshot, o)
	c.head = Attribute(in[len(in)-1].Snapshot, o)
	for _, n := range in[1 : len(in)-1] {
		c.between = append(c.between, Attribute(n.Snapshot, o))
	}
	if s, ok := c.elapsed().Get(); ok && s < 0 {
		c.warnings = append(c.warnings, in[0].Name+" was taken after "+in[len(in)-1].Name+": the difference is shown as asked, backwards")
	}
	return c.result(), nil
}

// comparison is the work of one Report (base nil) or Diff.
type comparison struct {
	options  Options
	inputs   []Named
	base     *Attribution // nil for the report of one snapshot
	head     *Attribution
	between  []*Attribution
	warnings []string

	total  amounts // but for fate runtime
	inUse  amounts // what something retains
	fates  map[snapshot.Fate]*amounts
	states map[State]*stateSums
	// The connections of base and head, paired, and what each holds.
	connections []connectionPair
	held        []amounts
	baseConn    []int // connection of the base attribution → index in connections
	headConn    []int
	holders     map[holderKey]*holderSums
}

type stateSums struct {
	amounts
	connections tally
	sendQueue   tally
	confidence  Confidence
}

type holderKey struct {
	path, root string
	fate       snapshot.Fate
}

type holderSums struct {
	amounts
	path       []string
	baseConns  map[int]bool
	headConns  map[int]bool
	headStates map[State]bool
}

// heapKnown says on which sides allocations are known.
func (c *comparison) heapKnown() evidence {
	return evidence{base: c.base != nil && c.base.haveHeap, head: c.head.haveHeap}
}

// connectionsKnown says on which sides connections are known: from the kernel
// or from the heap.
func (c *comparison) connectionsKnown() evidence {
	known := func(a *Attribution) bool { return a != nil && (a.haveHeap || a.Snapshot.Sockets != nil) }
	return evidence{base: known(c.base), head: known(c.head)}
}

func (c *comparison) elapsed() Float {
	if c.base == nil {
		return Float{}
	}
	return elapsed(c.base.Snapshot, c.head.Snapshot)
}

func (c *comparison) result() *Result {
	c.pairConnections()
	c.sumAllocations()
	c.sumConnections()
	r := &Result{
		Schema: Schema, FormatVersion: FormatVersion,
		Inputs:         c.inputRows(),
		States:         c.stateRows(),
		Fates:          c.fateRows(),
		Holders:        c.holderRows(),
		Connections:    c.connectionRows(),
		Transitions:    c.transitionRows(),
		Reconciliation: c.reconcile(),
		Residency:      c.residencyRows(),
		Sources:        c.sourceRows(),
	}
	if h := c.head.Snapshot.Heap; h != nil {
		r.Retainers = h.Retainers
	}
	r.Trends = c.trends()
	r.Findings = append([]Finding{}, c.findings(r)...)
	r.Summary = c.summary(r)
	r.Warnings = c.allWarnings()
	return r
}

func (c *comparison) pairConnections() {
	var base []Connection
	if c.base != nil {
		base = c.base.Connections
	}
	c.connections = matchConnections(base, c.head.Connections)
	c.held = make([]amounts, len(c.connections))
	c.baseConn = make([]int, len(base))
	c.headConn = make([]int, len(c.head.Connections))
	for i, p := range c.connections {
		if p.base >= 0 {
			c.baseConn[p.base] = i
		}
		if p.head >= 0 {
			c.headConn[p.head] = i
		}
	}
}

// side is one allocation as one snapshot sees it, with the sums it belongs to.
type side struct {
	allocation *snapshot.Allocation
	connection int // index in comparison.connections, -1: none
	state      State
	sums       []*amounts
}

func (c *comparison) sumAllocations() {
	c.fates = map[snapshot.Fate]*amounts{}
	c.states = map[State]*stateSums{}
	c.holders = map[holderKey]*holderSums{}
	for _, f := range snapshot.Fates() {
		c.fates[f] = &amounts{}
	}
	for _, s := range States() {
		c.states[s] = &stateSums{confidence: Exact}
	}
	pairs := matchAllocations(c.base.allocations(), c.head.allocations())
	for _, p := range pairs {
		var b, h side
		if p.base >= 0 {
			b = c.side(c.base, p.base, c.baseConn)
			c.noteHolder(c.base, p.base, &b, false)
			for _, s := range b.sums {
				s.addBase(b.allocation.Bytes)
			}
		}
		if p.head >= 0 {
			h = c.side(c.head, p.head, c.headConn)
			c.noteHolder(c.head, p.head, &h, true)
			for _, s := range h.sums {
				s.addHead(h.allocation.Bytes)
			}
		}
		switch {
		case p.base < 0:
			for _, s := range h.sums {
				s.addNew(1, h.allocation.Bytes)
			}
		case p.head < 0:
			for _, s := range b.sums {
				s.addFreed(1, b.allocation.Bytes)
			}
		default: // what is left of it counts where it is now
			kept := min(b.allocation.Bytes, h.allocation.Bytes)
			for _, s := range h.sums {
				s.addRetained(kept)
				s.addNew(0, h.allocation.Bytes-kept)
			}
			for _, s := range b.sums {
				s.addFreed(0, b.allocation.Bytes-kept)
			}
		}
	}
}

func (a *Attribution) allocations() []snapshot.Allocation {
	if a == nil || a.Snapshot.Heap == nil {
		return nil
	}
	return a.Snapshot.Heap.Allocations
}

func (c *comparison) side(a *Attribution, i int, toPair []int) side {
	s := side{allocation: &a.Snapshot.Heap.Allocations[i], connection: -1}
	fate := c.fates[s.allocation.Fate]
	if fate == nil { // a fate of a later minor version
		fate = c.fates[snapshot.FateUnattributed]
	}
	s.sums = append(s.sums, fate)
	if s.allocation.Fate != snapshot.FateRuntime {
		s.sums = append(s.sums, &c.total)
	}
	if inUse(s.allocation) {
		s.sums = append(s.sums, &c.inUse)
	}
	if k := s.allocation.Connection; k >= 0 && a.ByHeap[k] >= 0 {
		n := a.ByHeap[k]
		s.connection = toPair[n]
		s.state = a.Connections[n].State
		s.sums = append(s.sums, &c.states[s.state].amounts, &c.held[s.connection])
	}
	return s
}

// noteHolder finds the holder row of an allocation and adds it to the sums.
func (c *comparison) noteHolder(a *Attribution, i int, s *side, head bool) {
	k := a.Snapshot.Heap.Allocations[i].Holder
	if k < 0 {
		return
	}
	holder := &a.Snapshot.Heap.Holders[k]
	key := holderKey{strings.Join(holder.Path, "\x00"), holder.Root, s.allocation.Fate}
	sums := c.holders[key]
	if sums == nil {
		sums = &holderSums{path: holder.Path, baseConns: map[int]bool{}, headConns: map[int]bool{}, headStates: map[State]bool{}}
		c.holders[key] = sums
	}
	s.sums = append(s.sums, &sums.amounts)
	if s.connection < 0 {
		return
	}
	if head {
		sums.headConns[s.connection] = true
		sums.headStates[s.state] = true
	} else {
		sums.baseConns[s.connection] = true
	}
}

func (c *comparison) sumConnections() {
	count := func(a *Attribution, connections, queue func(*tally) *int64) {
		if a == nil {
			return
		}
		for i := range a.Connections {
			conn := &a.Connections[i]
			s := c.states[conn.State]
			*connections(&s.connections)++
			if conn.Socket != nil && conn.State != StateListening {
				*queue(&s.sendQueue) += conn.Socket.SendQueueBytes.Or(0)
			}
			s.confidence = worse(s.confidence, conn.Confidence)
		}
	}
	base := func(t *tally) *int64 { return &t.base }
	head := func(t *tally) *int64 { return &t.head }
	count(c.base, base, base)
	count(c.head, head, head)
}

// worse returns the weaker of two confidences.
func worse(a, b Confidence) Confidence {
	rank := func(c Confidence) int {
		switch c {
		case Exact:
			return 0
		case Inferred:
			return 1
		}
		return 2
	}
	if rank(a) >= rank(b) {
		return a
	}
	return b
}

// growth is head − base where both are known.
func growth(d Delta) (int64, bool) {
	b, okB := d.Base.Get()
	h, okH := d.Head.Get()
	return h - b, okB && okH
}

// byGrowth orders rows: the most grown first, then the largest, then by name.
func byGrowth(a, b Delta, nameA, nameB string) int {
	ga, _ := growth(a)
	gb, _ := growth(b)
	return cmp.Or(cmp.Compare(gb, ga), cmp.Compare(b.Head.Or(0), a.Head.Or(0)), cmp.Compare(nameA, nameB))
}
