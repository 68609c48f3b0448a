package snapshot

import (
	"fmt"
	"sort"
	"strings"

	"github.com/google/pprof/profile"
)

// HeapProfile renders the allocations as a pprof profile: one sample for each
// holder path, kind, fate and connection; values allocations/count and
// space/bytes; labels fate, kind and connection. The stack is the holder path,
// its root outermost.
func (s *Snapshot) HeapProfile() *profile.Profile {
	b := newProfile(s, "allocations", "space")
	if s.Heap == nil {
		return b.done()
	}
	type key struct {
		holder, connection int32
		kind               Kind
		fate               Fate
	}
	sums := map[key]*[2]int64{}
	for i := range s.Heap.Allocations {
		a := &s.Heap.Allocations[i]
		k := key{a.Holder, a.Connection, a.Kind, a.Fate}
		sum := sums[k]
		if sum == nil {
			sum = new([2]int64)
			sums[k] = sum
		}
		sum[0]++
		sum[1] += a.Bytes
	}
	keys := make([]key, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		a, b := keys[i], keys[j]
		switch {
		case a.holder != b.holder:
			return a.holder < b.holder
		case a.connection != b.connection:
			return a.connection < b.connection
		case a.kind != b.kind:
			return a.kind < b.kind
		}
		return a.fate < b.fate
	})
	for _, k := range keys {
		labels := map[string][]string{"fate": {string(k.fate)}, "kind": {string(k.kind)}}
		if k.connection >= 0 && int(k.connection) < len(s.Heap.Connections) {
			labels["connection"] = []string{s.Heap.Connections[k.connection].Label()}
		}
		stack := []string{fmt.Sprintf("[%s]", k.fate)}
		if k.holder >= 0 && int(k.holder) < len(s.Heap.Holders) && len(s.Heap.Holders[k.holder].Path) > 0 {
			stack = s.Heap.Holders[k.holder].Path
		}
		sum := sums[k]
		b.sample(stack, labels, sum[0], sum[1])
	}
	return b.done()
}

// RetainedProfile renders the tree of retained sizes as a pprof profile: the
// stack is the way down the tree, the kind of root outermost; values
// allocations/count and space/bytes. The cumulative value of a frame is what
// its step retains, the flat value what stands at the step itself.
func (s *Snapshot) RetainedProfile() *profile.Profile {
	b := newProfile(s, "allocations", "space")
	if s.Heap == nil || s.Heap.Retainers == nil {
		return b.done()
	}
	type branch struct {
		r     *Retainer
		stack []string
	}
	work := []branch{{r: s.Heap.Retainers}}
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		flat, count := at.r.Bytes, at.r.Allocations
		for _, child := range at.r.Children {
			flat -= child.Bytes
			count -= child.Allocations
			stack := at.stack[:len(at.stack):len(at.stack)]
			if child.Root != "" {
				stack = append(stack, "["+child.Root+"]")
			}
			work = append(work, branch{child, append(stack, child.Step)})
		}
		if flat > 0 && len(at.stack) > 0 {
			b.sample(at.stack, nil, count, flat)
		}
	}
	return b.done()
}

// Label is a connection's short name: its addresses, or its class when it has
// none.
func (c *HeapConnection) Label() string {
	switch {
	case c.Remote.IsValid():
		return c.Local.String() + " -> " + c.Remote.String()
	case c.Local.IsValid():
		return c.Local.String()
	}
	if i := strings.LastIndexByte(c.Class, '.'); i >= 0 {
		return c.Class[i+1:]
	}
	return c.Class
}

// MmapProfile renders the mappings as a pprof profile: values mappings/count,
// space/bytes (virtual) and rss/bytes; the stack is kind and name. Unknown rss
// counts nothing.
func (s *Snapshot) MmapProfile() *profile.Profile {
	b := newProfile(s, "mappings", "space", "rss")
	type key struct {
		kind MappingKind
		name string
	}
	sums := map[key]*[3]int64{}
	var keys []key
	for i := range s.Mappings {
		m := &s.Mappings[i]
		k := key{m.Kind, m.Name}
		sum := sums[k]
		if sum == nil {
			sum = new([3]int64)
			sums[k] = sum
			keys = append(keys, k)
		}
		sum[0]++
		sum[1] += int64(m.End - m.Start)
		sum[2] += m.RSSBytes.Or(0)
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].kind != keys[j].kind {
			return keys[i].kind < keys[j].kind
		}
		return keys[i].name < keys[j].name
	})
	for _, k := range keys {
		stack := []string{string(k.kind)}
		if k.name != "" {
			stack = append(stack, k.name)
		}
		sum := sums[k]
		b.sample(stack, map[string][]string{"kind": {string(k.kind)}}, sum[0], sum[1], sum[2])
	}
	return b.done()
}

// profileBuilder assembles a profile whose frames are plain names.
type profileBuilder struct {
	p         *profile.Profile
	locations map[string]*profile.Location
}

func newProfile(s *Snapshot, count string, sizes ...string) *profileBuilder {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: count, Unit: "count"}}}
	for _, size := range sizes {
		p.SampleType = append(p.SampleType, &profile.ValueType{Type: size, Unit: "bytes"})
	}
	p.DefaultSampleType = sizes[len(sizes)-1]
	if !s.Manifest.Clock.Started.IsZero() {
		p.TimeNanos = s.Manifest.Clock.Started.UnixNano()
	}
	if name := s.Manifest.Target.Name; name != "" {
		p.Comments = []string{fmt.Sprintf("leakscope: %s, pid %d", name, s.Manifest.Target.PID)}
	}
	return &profileBuilder{p: p, locations: map[string]*profile.Location{}}
}

// sample adds one sample; stack is outermost first.
func (b *profileBuilder) sample(stack []string, labels map[string][]string, values ...int64) {
	frames := make([]*profile.Location, len(stack))
	for i, name := range stack {
		loc := b.locations[name]
		if loc == nil {
			id := uint64(len(b.p.Location) + 1)
			fn := &profile.Function{ID: id, Name: name, SystemName: name}
			loc = &profile.Location{ID: id, Line: []profile.Line{{Function: fn}}}
			b.p.Function = append(b.p.Function, fn)
			b.p.Location = append(b.p.Location, loc)
			b.locations[name] = loc
		}
		frames[len(stack)-1-i] = loc
	}
	b.p.Sample = append(b.p.Sample, &profile.Sample{Location: frames, Value: values, Label: labels})
}

func (b *profileBuilder) done() *profile.Profile { return b.p }
