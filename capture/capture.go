// Package capture reads a live target, or files taken from one, into a
// snapshot. It records; it never judges.
//
// What flows in: a pid or a heap dump file. What flows out: a
// [snapshot.Snapshot] in which every source has a status: one that is denied
// or absent does not lose the others. The default sends the target no signal
// it was not proven to take, stops none of its threads and writes no file that
// stays; a heap dump is opt-in and says what it costs.
package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/capture/sockets"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/snapshot"
)

// Part is one part of a capture.
type Part string

// The parts. Identity is always captured.
const (
	PartMmap        Part = "mmap"        // rss split, mappings
	PartConnections Part = "connections" // fds, sockets
	PartJVM         Part = "jvm"         // what the virtual machine says of itself
	PartOwners      Part = "owners"      // the heap, read from outside: no pause
	PartHeap        Part = "heap"        // the heap, by a heap dump: opt-in, it pauses the target
)

// Options say what to capture.
type Options struct {
	PID          int    // 0: none, the heap dump file alone
	Parts        []Part // empty: all but the heap
	HeapDumpFile string // build the heap section from this HPROF file
	Heap         HeapOptions
	Attach       bool          // start the JVM's attach listener, which takes a signal
	Budget       time.Duration // for reading the heap from outside; 0: 10 s
	MaxPause     time.Duration // stop the target while its heap is read from outside, at most so long at a time; 0: do not

	KeepCommandLine bool   // do not redact the command line
	Version         string // of the tool, for the manifest
	ProcMountPoint  string // "": /proc

	// Announce is told of a pause before it is caused, and may be nil. A target
	// that has to be stopped more than once is announced once.
	Announce func(Estimate)
	// Progress is told of the bytes of the heap read so far and of those
	// expected (0: unknown), and may be nil. It is called from any goroutine.
	Progress func(done, expected int64)
}

// HeapOptions are those of a heap dump.
type HeapOptions struct {
	Live           bool   // ask for a collection first
	Directory      string // in the target's view; "": any that is writable
	MaxMemoryBytes int64  // 0: no limit
}

// Estimate is what a heap dump, or a stop, will cost the target.
type Estimate struct {
	PauseSeconds float64
	HeapBytes    int64
	Method       string
	MaxPause     time.Duration // of a stop; 0: a heap dump, which has no limit
}

func (o Options) wants(p Part) bool {
	if len(o.Parts) == 0 {
		return p != PartHeap
	}
	return slices.Contains(o.Parts, p)
}

// PausesForReader reports whether the target stands still for as long as this
// process takes to read: then it must not be slow.
func (o Options) PausesForReader() bool { return slices.Contains(o.Parts, PartHeap) }

// ErrNoTarget is wrapped when there is no process to capture.
var ErrNoTarget = errors.New("no such process")

// Run captures one snapshot. It returns an error only when there is nothing to
// keep: no such process, or no such file. When ctx ends, what was captured is
// returned, marked interrupted, without an error.
func Run(ctx context.Context, o Options) (*snapshot.Snapshot, error) {
	r := &recorder{ctx: ctx, options: o, proc: proc.NewFS(o.ProcMountPoint), s: &snapshot.Snapshot{}}
	r.s.Manifest.Tool = snapshot.Tool{Name: "leakscope", Version: o.Version}
	r.s.Manifest.Clock.Started = time.Now().UTC()
	var since unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) == nil {
		r.s.Manifest.Clock.UptimeSeconds = snapshot.Known(float64(since.Nano()) / 1e9)
	}
	if err := r.identify(); err != nil {
		return nil, err
	}
	if o.PID != 0 {
		r.live()
	} else if err := r.heapDumpFile(); err != nil {
		return nil, err
	}
	r.s.Manifest.Interrupted = ctx.Err() != nil
	r.s.Manifest.Clock.Finished = time.Now().UTC()
	return r.s, nil
}

// recorder is one capture under way.
type recorder struct {
	ctx     context.Context //nolint:containedctx // a recorder lives for one call of Run
	options Options
	proc    proc.FS
	s       *snapshot.Snapshot

	heapRanges []proc.Range      // where the Java heap lies, for the kinds of mappings
	outside    *vmstructs.Target // nil where the JVM is not read from outside
}

// identify fills in the target, or fails when there is none.
func (r *recorder) identify() error {
	if r.options.PID == 0 {
		if _, err := os.Stat(r.options.HeapDumpFile); err != nil {
			return fmt.Errorf("heap dump: %w", err)
		}
		r.s.Manifest.Target = snapshot.Target{
			HeapDumpFile: filepath.Base(r.options.HeapDumpFile), Name: filepath.Base(r.options.HeapDumpFile),
			Runtime: snapshot.RuntimeHotSpot, CommandLine: []string{},
		}
		return nil
	}
	var err error
	r.record(snapshot.SourceProc, func(*snapshot.Source) error {
		r.s.Manifest.Target, err = r.proc.Target(r.options.PID, proc.TargetOptions{KeepCommandLine: r.options.KeepCommandLine})
		return err
	})
	switch {
	case errors.Is(err, proc.ErrGone):
		return fmt.Errorf("pid %d: %w", r.options.PID, ErrNoTarget)
	case err != nil && r.s.Manifest.Target.StartTimeTicks == 0:
		return fmt.Errorf("pid %d: %w", r.options.PID, err)
	}
	return nil
}

// record runs one source and notes how it went.
func (r *recorder) record(name string, read func(*snapshot.Source) error) {
	source := snapshot.Source{Name: name, PauseSeconds: snapshot.Known(0.0)}
	started := time.Now()
	err := r.ctx.Err()
	if err == nil {
		err = read(&source)
	}
	source.DurationSeconds = time.Since(started).Seconds()
	switch {
	case r.ctx.Err() != nil && source.Status == "":
		source.Status, source.Reason = snapshot.StatusPartial, "interrupted"
	case source.Status == "":
		source.Status, source.Reason, source.Hint = proc.Outcome(err)
	}
	r.s.Manifest.Sources = append(r.s.Manifest.Sources, source)
}

// live captures the parts of a running process. The connection table is read
// before a heap step and once more after it.
func (r *recorder) live() {
	pid := r.options.PID
	defer r.closeOutside()
	if r.options.wants(PartJVM) || r.options.wants(PartMmap) {
		r.jvm()
	}
	if r.options.wants(PartMmap) {
		r.record(snapshot.SourceMemory, func(*snapshot.Source) (err error) {
			r.s.Memory, err = r.proc.Memory(pid)
			return err
		})
		r.record(snapshot.SourceMappings, func(*snapshot.Source) (err error) {
			r.s.Mappings, err = r.proc.Mappings(pid, r.heapRanges...)
			return err
		})
	}
	connections := r.options.wants(PartConnections) || r.wantsHeap()
	if connections {
		r.s.FDs, r.s.Sockets = r.connections(snapshot.SourceFDs, snapshot.SourceSockets)
	}
	if r.wantsHeap() {
		if r.outside != nil {
			r.owners()
		} else {
			r.heap()
		}
		_, after := r.connections(snapshot.SourceFDsAfter, snapshot.SourceSocketsAfter)
		if r.s.Sockets != nil && after != nil {
			r.s.Sockets = sockets.Merge(r.s.Sockets, after)
		}
	}
	r.stillThere()
}

// wantsHeap reports whether the heap is read, one way or another.
func (r *recorder) wantsHeap() bool {
	return r.options.wants(PartHeap) || r.options.HeapDumpFile != "" || r.outside != nil
}

func (r *recorder) connections(fdSource, socketSource string) ([]snapshot.FD, []snapshot.Socket) {
	var fds []snapshot.FD
	r.record(fdSource, func(*snapshot.Source) (err error) {
		fds, err = r.proc.FDs(r.options.PID)
		return err
	})
	var rows []snapshot.Socket
	r.record(socketSource, func(s *snapshot.Source) error {
		out := sockets.Read(r.ctx, sockets.Request{PID: r.options.PID, Proc: r.options.ProcMountPoint, FDs: fds, UID: r.s.Manifest.Target.UID})
		rows = out.Sockets
		s.Status, s.Reason, s.Hint, s.Detail = out.Status, out.Reason, out.Hint, out.Detail
		return nil
	})
	return fds, rows
}

// stillThere notes when the target ended, or its pid was given to another
// process, while it was being read.
func (r *recorder) stillThere() {
	if r.ctx.Err() != nil {
		return
	}
	err := r.proc.Check(r.options.PID, r.s.Manifest.Target.StartTimeTicks)
	if err == nil {
		return
	}
	for i := range r.s.Manifest.Sources {
		if s := &r.s.Manifest.Sources[i]; s.Name == snapshot.SourceProc {
			s.Status, s.Reason, s.Hint = snapshot.StatusPartial, "the process ended while it was read", ""
		}
	}
}
