package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/snapshot"
)

// ErrNoHeap is returned by [Pprof] when the result has no allocations to make
// a profile of: an empty one would say that there is no memory.
var ErrNoHeap = errors.New("the result has no heap evidence to make a profile of")

// baseLabel marks the samples of the base, as `go tool pprof -diff_base` does:
// percentages are then of the base's total.
const baseLabel = "pprof::base"

// Pprof writes the difference as a gzipped pprof profile, for go tool pprof and
// continuous profilers: the head's allocations count up, the base's count down
// and are marked the way pprof marks a difference base. The stack is the
// holder path, its root outermost; values are allocations/count and
// space/bytes; labels are fate and, where a row has one, root and state. The
// profile of one snapshot has the head alone. The values of the samples sum to
// the difference of the totals. Without heap evidence on a side that it needs
// it is [ErrNoHeap].
func Pprof(w io.Writer, r *analyze.Result, _ *policy.Outcome, _ Options) error {
	p, err := differenceProfile(r)
	if err != nil {
		return err
	}
	if err := p.Write(w); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

func differenceProfile(r *analyze.Result) (*profile.Profile, error) {
	diff := len(r.Inputs) > 1
	if !r.Summary.Bytes.Head.IsKnown() || diff && !r.Summary.Bytes.Base.IsKnown() {
		why := whyNoHeap(r)
		if len(why) > 0 {
			return nil, fmt.Errorf("%w: %s", ErrNoHeap, strings.Join(why, "; "))
		}
		return nil, ErrNoHeap
	}
	b := &diffProfile{
		p: &profile.Profile{
			SampleType:        []*profile.ValueType{{Type: "allocations", Unit: "count"}, {Type: "space", Unit: "bytes"}},
			DefaultSampleType: "space",
		},
		locations: map[string]*profile.Location{},
	}
	if n := len(r.Inputs); n > 0 {
		last := &r.Inputs[n-1]
		if !last.Started.IsZero() {
			b.p.TimeNanos = last.Started.UnixNano()
		}
		b.p.Comments = []string{"leakscope: " + describeTarget(&last.Target)}
		if s, ok := r.Summary.ElapsedSeconds.Get(); ok && s > 0 {
			b.p.DurationNanos = int64(s * float64(time.Second))
		}
	}
	// What a fate has beyond its holders is memory without a path.
	bytes, allocations := map[snapshot.Fate]analyze.Delta{}, map[snapshot.Fate]analyze.Delta{}
	for _, f := range r.Fates {
		bytes[f.Fate], allocations[f.Fate] = f.Bytes, f.Allocations
	}
	for _, h := range holdersOf(r) {
		bytes[h.Fate], allocations[h.Fate] = lessSides(bytes[h.Fate], h.Bytes), lessSides(allocations[h.Fate], h.Allocations)
		labels := map[string][]string{"fate": {string(h.Fate)}}
		if h.Root != "" {
			labels["root"] = []string{h.Root}
		}
		for _, s := range h.States {
			labels["state"] = append(labels["state"], string(s))
		}
		b.sides(h.Path, "["+string(h.Fate)+"]", labels, h.Allocations, h.Bytes)
	}
	for _, fate := range snapshot.Fates() {
		if fate != snapshot.FateRuntime {
			b.sides(nil, "["+string(fate)+"]", map[string][]string{"fate": {string(fate)}}, allocations[fate], bytes[fate])
		}
	}
	return b.p, nil
}

// lessSides subtracts what is known of the base and of the head.
func lessSides(a, b analyze.Delta) analyze.Delta {
	return analyze.Delta{
		Base: snapshot.Known(a.Base.Or(0) - b.Base.Or(0)), Head: snapshot.Known(a.Head.Or(0) - b.Head.Or(0)),
	}
}

// diffProfile assembles a profile whose frames are plain names.
type diffProfile struct {
	p         *profile.Profile
	locations map[string]*profile.Location
}

// sides adds a sample for the head and one for the base.
func (b *diffProfile) sides(path []string, otherwise string, labels map[string][]string, allocations, bytes analyze.Delta) {
	if len(path) == 0 {
		path = []string{otherwise}
	}
	b.sample(path, labels, allocations.Head.Or(0), bytes.Head.Or(0))
	based := map[string][]string{baseLabel: {"true"}}
	for name, values := range labels {
		based[name] = values
	}
	b.sample(path, based, -allocations.Base.Or(0), -bytes.Base.Or(0))
}

func (b *diffProfile) sample(path []string, labels map[string][]string, allocations, bytes int64) {
	if allocations == 0 && bytes == 0 {
		return
	}
	frames := make([]*profile.Location, len(path))
	for i, name := range path {
		name = cmp.Or(name, "?")
		loc := b.locations[name]
		if loc == nil {
			id := uint64(len(b.p.Location) + 1)
			fn := &profile.Function{ID: id, Name: name, SystemName: name}
			loc = &profile.Location{ID: id, Line: []profile.Line{{Function: fn}}}
			b.p.Function, b.p.Location = append(b.p.Function, fn), append(b.p.Location, loc)
			b.locations[name] = loc
		}
		frames[len(path)-1-i] = loc
	}
	b.p.Sample = append(b.p.Sample, &profile.Sample{Location: frames, Value: []int64{allocations, bytes}, Label: labels})
}
