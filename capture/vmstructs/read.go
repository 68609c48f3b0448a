package vmstructs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/leakscope/leakscope/heap"
)

// Target is a JVM that is read from outside.
type Target struct {
	j       *jvm
	process *process // nil in tests of a recorded image
	refresh func() error
	same    func() error // the target has still the memory that was opened
}

// Open finds the JVM in a process and reads how it is laid out. procfs is
// where /proc is, "" for the usual place.
func Open(procfs string, pid int) (*Target, error) {
	p, err := openProcess(procfs, pid)
	if err != nil {
		return nil, err
	}
	j, err := openJVM(p, p.mappings)
	if err != nil {
		p.close()
		return nil, err
	}
	return &Target{j: j, process: p, refresh: p.refresh, same: p.same}, nil
}

// Close lets go of the process.
func (t *Target) Close() {
	if t.process != nil {
		t.process.close()
	}
}

// Facts are what a JVM's memory says of its configuration.
type Facts struct {
	Version     string            // e.g. "17.0.15+6-Debian-1"; on 8 "25.402-b06"
	Collector   string            // Serial, Parallel, G1, Z, Shenandoah, Epsilon; "" when not known
	Flags       map[string]string // those of [Flags] that this JVM has
	HeapStart   uint64            // of the reserved address range; 0 when not known
	HeapEnd     uint64
	Collections int64 // since start
}

// Facts returns what was read when the target was opened.
func (t *Target) Facts() Facts {
	f := Facts{Collector: t.j.collector(), Flags: t.j.flagTexts()}
	f.Version, _ = t.j.version()
	f.HeapStart, f.HeapEnd = t.j.reserved()
	if s, err := t.j.state(); err == nil {
		f.Collections = int64(s.collections)
	}
	return f
}

// Options say how to read a heap.
type Options struct {
	Budget  time.Duration // for all tries; 0: 10 s
	Workers int           // goroutines that read; 0: two, or one where there is one processor
	Hold    Hold          // has the target stand still while its heap is copied; nil: it runs
}

// Hold has the target stand still, while so many bytes of its heap are copied. The context that it returns ends when the target
// runs again, which release brings about; an error of release says that it ran
// before.
type Hold func(ctx context.Context, bytes int64) (held context.Context, release func() error, err error)

// HoldError is what went wrong with a [Hold]. It ends the reading.
type HoldError struct{ Err error }

func (e *HoldError) Error() string { return e.Err.Error() }
func (e *HoldError) Unwrap() error { return e.Err }

// Reading is what the heap of a JVM said, and what it took.
type Reading struct {
	Heap     *heap.Result   // the accepted reading; nil where none was
	Counters []heap.Counter // also where Heap is nil
	Cleaners []Buffer       // where Heap is nil: what frees direct buffers
	HeapUsed int64          // bytes between the bounds of the regions
	Settled  int64          // bytes of these that earlier tries have scanned, and this one not again
	Dead     int64          // bytes of dead objects that were passed over, in all scans: their classes are gone
	Tries    int
	Rejected []string // why each try but the last was thrown away
	Cost     Cost
}

const (
	defaultBudget = 10 * time.Second
	maxTries      = 256
	triesAtOnce   = 4 // before a try is prepared, of a small heap
	maxOdd        = 3 // of them that meet what is not supported
)

// ErrUnstable says that no try could be accepted: the heap changed under each.
var ErrUnstable = errors.New("the heap changed under every reading")

func orDefault(d, fallback time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return fallback
}

// Read reads the heap: it makes tries until one is accepted or the budget is
// spent. Beside an error that wraps [ErrUnstable] or [ErrUnsupported], or is a
// [HoldError], the Reading has what could be read all the same.
func (t *Target) Read(ctx context.Context, o Options) (*Reading, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, begunKey{}, time.Now()), orDefault(o.Budget, defaultBudget))
	defer cancel()
	workers := o.Workers
	if workers < 1 {
		workers = min(2, runtime.GOMAXPROCS(0))
	}
	out := &Reading{}
	t.j.dead.Store(0)
	defer func() { out.Cost, out.Dead = t.j.r.cost(), t.j.dead.Load() }()
	var last error
	odd := 0
	unstable := func() error { return fmt.Errorf("%w: %d tries, the last one: %w", ErrUnstable, out.Tries, last) }
	for out.Tries < maxTries {
		out.Tries++
		result, err := t.try(ctx, workers, o.Hold, out)
		switch {
		case err == nil:
			if err := t.same(); err != nil {
				return out, err
			}
			out.Heap = result
			return out, nil
		case isFatal(err):
			return out, err
		case errors.Is(err, ErrUnsupported):
			// What makes no sense may have been read while it was changed.
			if odd++; odd == maxOdd {
				return out, err
			}
		}
		if t.j.tenured != nil {
			t.j.tenured.rejected(err)
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if ctx.Err() != nil || !wait(ctx, out.Tries) {
			return out, unstable()
		}
		out.Rejected = append(out.Rejected, err.Error())
		if err := t.refresh(); err != nil {
			return out, err
		}
		t.j.r.err = nil
	}
	return out, unstable()
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
	pauses      [2]uint64 // safepoints, where the collector does not count what it does
}

func (j *jvm) state() (state, error) {
	j.r.err = nil
	// In this order: a collection that begins or ends between these reads is
	// seen by one of them.
	s := state{pauses: j.pauses(), collections: j.r.u32(j.layout.collections), active: j.r.u8(j.layout.gcActive) != 0}
	s.active = s.active || j.r.u32(j.layout.collections) != s.collections || j.pauses() != s.pauses
	return s, j.r.err
}

// errMoved says that a collection has run since the reading began.
var errMoved = errors.New("a collection ran meanwhile")

// moved returns an error as soon as a collection has run, or runs, since the
// try began. It may be called from several goroutines.
func (j *jvm) moved() error {
	if j.since == nil {
		return nil
	}
	now, err := j.look()
	if err == nil && now != *j.since {
		err = errMoved
	}
	return err
}

// look is what state is, for several goroutines at once.
func (j *jvm) look() (s state, err error) {
	var count [4]byte
	var active [1]byte
	var pauses [2][8]byte
	spans := []span{{j.layout.collections, count[:]}, {j.layout.gcActive, active[:]}}
	for i, at := range j.layout.pauses {
		spans = append(spans, span{at, pauses[i][:]})
	}
	if err := j.r.read(spans); err != nil {
		return s, err
	}
	s.active, s.collections = active[0] != 0, binary.LittleEndian.Uint32(count[:])
	for i := range j.layout.pauses {
		s.pauses[i] = binary.LittleEndian.Uint64(pauses[i][:])
	}
	return s, nil
}

// quiet is the state between collections; an error when there is one.
func (j *jvm) quiet() (state, error) {
	s, err := j.state()
	if err == nil && s.active {
		err = errors.New("a collection was running")
	}
	return s, err
}

// try reads the heap once. Between collections objects keep their places, so a
// reading with none inside is of objects that were all there.
func (t *Target) try(ctx context.Context, workers int, hold Hold, out *Reading) (*heap.Result, error) {
	j := t.j
	prepared := j.tenured != nil && j.tenured.wanted != nil
	if prepared {
		if err := j.prepare(ctx, workers); err != nil {
			return nil, err
		}
	}
	before, err := j.quiet()
	if err != nil {
		return nil, err
	}
	if j.current = !prepared || j.tenured.reload; j.current {
		err = j.loadClasses()
	} else {
		err = j.readMirrors()
	}
	if err != nil {
		return nil, err
	}
	runs, err := j.extents()
	if errors.Is(err, ErrUnsupported) {
		return nil, errors.Join(err, j.withoutHeap(ctx, out))
	}
	if err != nil {
		return nil, err
	}
	if hold != nil {
		return t.tryHeld(ctx, workers, hold, before, runs, out)
	}
	if j.noPauses != nil {
		return nil, errors.Join(j.noPauses, j.withoutHeap(ctx, out))
	}
	v, err := j.viewOf(runs)
	if err != nil {
		return nil, err
	}
	spaces := j.spaces
	if !j.settles && (total(runs) >= leastTenured || out.Tries > triesAtOnce) {
		j.settles, j.tenured = true, j.newTenured(total(runs) < leastTenured)
	}
	j.since = &before
	g, first, err := j.readHeap(ctx, workers, v, out)
	var again *graph
	var result *heap.Result
	if err == nil {
		again, result, err = j.readAgain(g, out)
	}
	var agreed *heap.Result
	var agreeErr error
	if err == nil {
		var handed bool
		if agreed, handed, agreeErr = agree(first, result); agreeErr == nil && (handed || again.handed) && !g.byHints {
			// Where objects change hands, what a scan has not found may be there.
			g.rescan = true
			if _, result, err = j.readAgain(g, out); err == nil {
				agreed, _, agreeErr = agree(agreed, result)
			}
		}
	}
	j.since = nil
	spacesErr := j.sameSpaces(spaces)
	after, stateErr := j.state()
	switch {
	case stateErr != nil:
		return nil, stateErr
	case after != before:
		return nil, errMoved
	case err != nil:
		return nil, err
	case spacesErr != nil:
		return nil, spacesErr
	}
	if err := accept(result); err != nil {
		return nil, err
	}
	if agreeErr == nil && g.byHints {
		agreeErr = tooOpen(agreed, late(ctx))
	}
	return agreed, agreeErr
}

// late tells that less than a third of the time is left.
func late(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	begun, _ := ctx.Value(begunKey{}).(time.Time)
	return ok && time.Until(end) < end.Sub(begun)/3
}

type begunKey struct{}

// view is what a walk starts from.
type view struct {
	runs    []extent // of objects
	threads []thread
	stacks  []extent // that are in use; nil: still to be found
	native  []uint64 // what JNI global references refer to
}

// viewOf reads what a walk starts from, beside the runs of objects and the stacks.
func (j *jvm) viewOf(runs []extent) (v view, err error) {
	v.runs = runs
	if v.threads, err = j.threads(); err != nil {
		return v, err
	}
	v.native, err = j.handles()
	return v, err
}

// readHeap reads what the heap's objects say.
func (j *jvm) readHeap(ctx context.Context, workers int, v view, out *Reading) (*graph, *heap.Result, error) {
	g, err := newGraph(ctx, j, v, workers)
	if err != nil {
		return nil, nil, err
	}
	result, err := j.walk(g, out)
	if err != nil && !errors.Is(err, errMoved) {
		return nil, nil, err
	}
	if j.tenured != nil {
		j.tenured.remember(g)
	}
	return g, result, err
}

// readAgain reads the heap that a graph was of once more. The search for objects is
// used again; what is new since is looked at too.
func (j *jvm) readAgain(before *graph, out *Reading) (*graph, *heap.Result, error) {
	since, err := j.grownSince(before)
	if err != nil {
		return nil, nil, err
	}
	g, err := newGraph(before.ctx, j, since.view, before.workers)
	if err != nil {
		return nil, nil, err
	}
	g.continues(before, since)
	result, err := j.walk(g, out)
	return g, result, err
}

func (j *jvm) walk(g *graph, out *Reading) (*heap.Result, error) {
	out.Counters = heap.Counters(g)
	result, err := heap.Attribute(g)
	if err = cmp.Or(err, g.failed); err != nil {
		return nil, err
	}
	out.HeapUsed, out.Settled = total(g.runs), g.settled
	result.Objects, result.Bytes = g.objects, j.r.cost().Bytes
	return result, nil
}

func total(runs []extent) (sum int64) {
	for _, r := range runs {
		sum += int64(r.end - r.start)
	}
	return sum
}

// withoutHeap reads what takes no look at the heap as a whole.
func (j *jvm) withoutHeap(ctx context.Context, out *Reading) error {
	g, err := newGraph(ctx, j, view{runs: []extent{{pageSize, 1 << 47}}}, 1)
	if err != nil {
		return err
	}
	out.Counters = heap.Counters(g)
	out.Cleaners, err = g.cleaners()
	return cmp.Or(err, g.failed)
}

// accept holds a result against what the target itself keeps.
func accept(r *heap.Result) error {
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

// reserved returns the range of addresses that the heap may take.
func (j *jvm) reserved() (start, end uint64) {
	region, ok := j.tables.find("CollectedHeap::_reserved")
	if !ok {
		return 0, 0
	}
	at := j.layout.collectedHeap + region.offset
	start = j.r.u64(at)
	if size := j.r.u64(at + 8); j.r.err == nil && start != 0 && size < 1<<44 {
		end = start + 8*size
	}
	j.r.err = nil
	return start, end
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
