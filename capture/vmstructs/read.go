package vmstructs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/leakscope/leakscope/heap"
)

// Options say how to read a JVM.
type Options struct {
	ProcMountPoint string        // "": /proc
	Budget         time.Duration // for all tries; 0: 10 s
	Workers        int           // goroutines that read; 0: two, or one where there is one processor
	CountersOnly   bool          // leave the heap alone
}

// Reading is what a JVM's memory said.
type Reading struct {
	Version   string            // e.g. "17.0.15+6-Debian-1"
	Collector string            // e.g. "G1"
	Flags     map[string]uint64 // of knownFlags: 8 bytes each, a bool the lowest
	HeapUsed  int64             // bytes between the bounds of the regions

	// Heap is the accepted reading; nil where none was, and Rejected says why.
	Heap     *heap.Result
	Counters []heap.Counter // also where Heap is nil
	Tries    int
	Rejected []string // why each try but the last was thrown away
	Cost     Cost
}

const (
	defaultBudget = 10 * time.Second
	maxTries      = 64
)

// ErrUnstable says that no try could be accepted: the heap changed under each.
var ErrUnstable = errors.New("the heap changed under every reading")

// Read reads a running JVM from outside. It fails with one of the errors of
// this package when there is nothing to read; the Reading it returns beside
// ErrUnstable and ErrUnsupported has what could be read all the same.
func Read(ctx context.Context, pid int, o Options) (*Reading, error) {
	p, err := openProcess(o.ProcMountPoint, pid)
	if err != nil {
		return nil, err
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(ctx, orDefault(o.Budget, defaultBudget))
	defer cancel()
	return read(ctx, p, func() []mapping { return p.mappings }, p.refresh, o)
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return fallback
}

// read makes tries until one is accepted or the budget is spent.
func read(ctx context.Context, m memory, mappings func() []mapping, refresh func() error, o Options) (*Reading, error) {
	j, err := openJVM(m, mappings())
	if err != nil {
		return nil, err
	}
	workers := o.Workers
	if workers < 1 {
		workers = min(2, runtime.GOMAXPROCS(0))
	}
	out := &Reading{Collector: j.collector(), Flags: j.flag}
	out.Version, _ = j.version()
	defer func() { out.Cost = m.cost() }()
	var last error
	for out.Tries < maxTries {
		out.Tries++
		result, err := j.try(ctx, workers, out, o.CountersOnly)
		switch {
		case err == nil:
			out.Heap = result
			return out, nil
		case isFatal(err), errors.Is(err, ErrUnsupported) && out.Tries > 2:
			return out, err
		case ctx.Err() != nil:
			if last == nil {
				last = err
			}
			return out, fmt.Errorf("%w: %d tries, the last one: %w", ErrUnstable, out.Tries, last)
		}
		last = err
		out.Rejected = append(out.Rejected, err.Error())
		if !wait(ctx, out.Tries) {
			return out, fmt.Errorf("%w: %d tries, the last one: %w", ErrUnstable, out.Tries, last)
		}
		if err := refresh(); err != nil {
			return out, err
		}
		j.r.err = nil
	}
	return out, fmt.Errorf("%w: %d tries, the last one: %w", ErrUnstable, out.Tries, last)
}

// wait lets a moment pass before the next try, longer after more of them.
func wait(ctx context.Context, tries int) bool {
	t := time.NewTimer(min(time.Duration(tries)*2*time.Millisecond, 50*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// state is what changes when a collection runs.
type state struct {
	active      bool
	collections uint32
}

func (j *jvm) state() (state, error) {
	j.r.err = nil
	s := state{active: j.r.u8(j.layout.gcActive) != 0, collections: j.r.u32(j.layout.collections)}
	return s, j.r.err
}

// errMoved says that a collection has run since the reading began.
var errMoved = errors.New("a collection ran meanwhile")

// try reads the heap once. Between collections objects keep their places, so a
// reading with none inside is of objects that were all there.
func (j *jvm) try(ctx context.Context, workers int, out *Reading, countersOnly bool) (*heap.Result, error) {
	before, err := j.state()
	switch {
	case err != nil:
		return nil, err
	case before.active:
		return nil, errors.New("a collection was running")
	}
	if err := j.loadClasses(); err != nil {
		return nil, err
	}
	runs, err := j.extents()
	if errors.Is(err, ErrUnsupported) || countersOnly {
		g, gerr := newGraph(ctx, j, []extent{{0, 1 << 47}}, nil, 1)
		if gerr == nil {
			out.Counters = heap.Counters(g)
		}
		return nil, errors.Join(err, gerr)
	}
	if err != nil {
		return nil, err
	}
	threads, err := j.threads()
	if err != nil {
		return nil, err
	}
	g, err := newGraph(ctx, j, runs, threads, workers)
	if err != nil {
		return nil, err
	}
	out.Counters = heap.Counters(g)
	if err := g.stackRoots(); err != nil {
		return nil, err
	}
	result, err := heap.Attribute(g)
	after, stateErr := j.state()
	switch {
	case stateErr != nil:
		return nil, stateErr
	case after != before:
		return nil, errMoved
	case err != nil:
		return nil, err
	}
	out.HeapUsed = 0
	for _, r := range runs {
		out.HeapUsed += int64(r.end - r.start)
	}
	result.Objects, result.Bytes = g.objects, j.r.cost().Bytes
	return result, g.accept(result)
}

// accept holds a result against what the target itself keeps.
func (g *graph) accept(r *heap.Result) error {
	if g.skipped > 0 {
		return fmt.Errorf("%d bytes of the heap held no object that is known", g.skipped)
	}
	for _, c := range r.Checks {
		if !c.OK {
			return fmt.Errorf("%s: %d against %d", c.Name, c.Actual, c.Expected)
		}
	}
	for _, w := range r.Warnings {
		if strings.HasPrefix(w, "pool chunk") {
			return errors.New(w)
		}
	}
	return nil
}

// version reads the JDK's version.
func (j *jvm) version() (string, bool) {
	f, ok := j.tables.find("Abstract_VM_Version::_s_vm_release")
	if !ok {
		return "", false
	}
	at := j.r.u64(f.at)
	texts, err := j.lib.texts([]uint64{at})
	if err != nil || j.r.err != nil {
		j.r.err = nil
		return "", false
	}
	return texts[at], true
}
