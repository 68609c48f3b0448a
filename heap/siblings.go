package heap

import (
	"errors"
	"maps"
	"slices"
)

// siblings gives what no connection reaches to the connection that its holder
// refers to: the value of a map entry whose key is a channel, the buffers of a
// session object with a field for its channel. A holder that refers to several
// connections, or to a server socket, is no owner.
type siblings struct {
	w       *walk
	wanting []Node         // what allocations stand for that no connection reaches
	owner   map[Node]int32 // by holder: its connection; noOwner for several
	holders []Node
	unsure  []Node // of these it is not known whether they are garbage, or which connections they refer to
}

// siblingDepth is how far below an object that refers to a connection its
// allocations are looked for.
const siblingDepth = 8

// walkSiblings finds out what is held beside connections.
func (w *walk) walkSiblings() error {
	if len(w.connections) == 0 {
		return nil
	}
	s := &siblings{w: w, owner: map[Node]int32{}}
	for i := range w.allocations {
		if n := w.allocations[i].node; n != None && s.wants(n) {
			s.wanting = append(s.wanting, n)
		}
	}
	if len(s.wanting) == 0 {
		return nil
	}
	if all, err := s.find(); err != nil || !all {
		w.back.leaveOpen(s.wanting...)
		return err
	}
	if w.rootsKnown {
		_, err := s.spread()
		return err
	}
	// Most of what refers to a connection holds nothing else, and whether it is
	// garbage is no matter then.
	leads, err := s.leads()
	if err != nil {
		return err
	}
	if leads {
		if g, ok := w.g.(recaller); !ok || !g.Hurried() {
			if err := w.searchForward(s.holders); err != nil {
				return err
			}
		}
		if err := w.back.search(w, s.holders); err != nil {
			return err
		}
	}
	s.holders = slices.DeleteFunc(s.holders, func(n Node) bool {
		yes, known := w.reachable(n)
		if leads && !known && s.owner[n] >= 0 {
			s.unsure = append(s.unsure, n)
		}
		return !yes
	})
	if _, err := s.spread(); err != nil || len(s.unsure) == 0 {
		return err
	}
	return s.leaveOpen()
}

// wants tells of what an allocation stands for whether something beside a
// connection may hold it. What only threads refer to is not, nor is what is the
// JVM's own.
func (s *siblings) wants(n Node) bool {
	w := s.w
	if w.connWay.met(n) || w.images[n] {
		return false
	}
	yes, known := w.reachable(n)
	if yes && known {
		return w.nearHolder(n)&(runtimeHolder|threadCache) == 0
	}
	return !known
}

// find finds what refers to connections. all is false where there may be more.
func (s *siblings) find() (all bool, err error) {
	w := s.w
	var set []Node
	for _, nodes := range w.connNodes {
		set = append(set, nodes...)
	}
	slices.Sort(set)
	visit := func(from Node, _ int32, to Node) {
		if w.trait(from)&hub != 0 || w.connWay.met(from) {
			return
		}
		if yes, known := w.reachable(from); known && !yes {
			return
		}
		c := w.connAt[to]
		if w.connections[c].Listening {
			return
		}
		if before, ok := s.owner[from]; !ok {
			s.owner[from] = c
			s.holders = append(s.holders, from)
		} else if before != c {
			s.owner[from] = noOwner
		}
	}
	if g, ok := w.g.(recaller); ok {
		s.unsure, all, err = g.ConnectionReferrers(set, visit)
	} else if err = w.g.Referrers(set, visit); errors.Is(err, ErrPartial) {
		return false, nil
	} else {
		all = true
	}
	slices.Sort(s.holders)
	return all, err
}

// leads tells whether the holders lead to what is wanting at all, if none of them
// is garbage.
func (s *siblings) leads() (bool, error) {
	w := s.w
	met, err := s.spread()
	found := false
	for _, n := range s.wanting {
		found = found || w.connWay.met(n)
	}
	for _, n := range met {
		w.connWay.from[n], w.owners.of[n], w.owners.level[n] = None, noOwner, 0
	}
	return found, err
}

// spread gives what holders lead to to their connections, and returns what it met.
func (s *siblings) spread() (met []Node, err error) {
	w := s.w
	w.connWay.grow(w.reached())
	w.owners.grow(w.reached())
	single := s.singles()
	for _, n := range s.holders {
		if s.owner[n] >= 0 {
			w.connWay.meet(n, n, Element)
			w.owners.of[n] = s.owner[n]
			met = append(met, n)
		}
	}
	return met, w.own(slices.Clone(met), siblingDepth, func(from, to Node, field int32) bool {
		enter := w.trait(to)&entry == 0 || w.trait(from)&entry == 0 && !single[from]
		if single[from] {
			single[to] = true
		}
		if enter {
			met = append(met, to)
		}
		return enter
	})
}

// singles are holders that are the only ones of their class. Such a one may be
// the application itself: then its maps are not the connection's.
func (s *siblings) singles() map[Node]bool {
	count := map[ClassID]int{}
	for _, n := range s.holders {
		if s.owner[n] >= 0 {
			count[s.w.g.Class(n)]++
		}
	}
	single := map[Node]bool{}
	for _, n := range s.holders {
		if s.owner[n] >= 0 && s.w.trait(n)&entry == 0 && count[s.w.g.Class(n)] == 1 {
			single[n] = true
		}
	}
	return single
}

// leaveOpen marks what could belong to connections by holders that are unsure, or
// by those that seem to be the only ones of their class and may not be.
func (s *siblings) leaveOpen() error {
	w := s.w
	level := slices.AppendSeq(slices.Clone(s.unsure), maps.Keys(s.singles()))
	for depth := 0; depth < siblingDepth && len(level) > 0 && len(w.back.open) < forwardNodes; depth++ {
		slices.Sort(level)
		var next []Node
		err := w.g.References(level, func(_ Node, _ int32, to Node) {
			if w.back.open[to] || w.connWay.met(to) || w.trait(to)&hub != 0 {
				return
			}
			next = append(next, to)
			w.back.leaveOpen(to)
		})
		if err != nil {
			return err
		}
		level = next
	}
	return nil
}
