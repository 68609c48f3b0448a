package capture

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/heap"
	"github.com/leakscope/leakscope/snapshot"
)

// jvm asks the virtual machine about itself, where the target is one.
func (r *recorder) jvm() {
	r.openOutside()
	var facts *hotspot.Facts
	r.record(snapshot.SourceAttach, func(s *snapshot.Source) error {
		var err error
		facts, err = r.facts()
		describeJVM(s, err)
		if err == nil && facts.Missing != nil {
			s.Status, s.Reason = snapshot.StatusPartial, facts.Missing.Error()
		}
		return err
	})
	if facts == nil {
		r.factsFromOutside()
		return
	}
	r.s.JVM = facts.JVM
	for _, h := range facts.Heap {
		r.heapRanges = append(r.heapRanges, proc.Range{Start: h.Start, End: h.End, Kind: snapshot.MappingJavaHeap})
	}
	r.record(snapshot.SourceNMT, func(s *snapshot.Source) error {
		if facts.NMT != nil {
			s.Status, s.Reason, s.Hint = snapshot.StatusAbsent, facts.NMT.Error(), "start the JVM with -XX:NativeMemoryTracking=summary"
		}
		return nil
	})
}

// facts asks over the attach socket. To have the JVM open one takes a signal:
// that is only done where it was asked for, or a dump needs it anyway.
func (r *recorder) facts() (*hotspot.Facts, error) {
	open := hotspot.OpenQuiet
	if r.options.Attach || r.options.wants(PartHeap) {
		open = hotspot.Open
	}
	j, err := open(r.options.PID)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	return j.Facts(r.ctx)
}

// describeJVM turns an error of the hotspot package into a status with its way
// out.
func describeJVM(s *snapshot.Source, err error) {
	if err == nil {
		return
	}
	s.Reason = err.Error()
	var space *hotspot.SpaceError
	switch {
	case errors.Is(err, hotspot.ErrNoListener):
		s.Status, s.Hint = snapshot.StatusAbsent, "--attach sends it: for system properties and native memory tracking"
	case errors.Is(err, hotspot.ErrNotJVM):
		s.Status = snapshot.StatusAbsent
	case errors.Is(err, hotspot.ErrGone):
		s.Status = snapshot.StatusAbsent
	case errors.Is(err, hotspot.ErrUnsupported):
		s.Status = snapshot.StatusUnsupported
	case errors.Is(err, hotspot.ErrDenied):
		s.Status, s.Hint = snapshot.StatusDenied, "run as the user of the target, or as root"
	case errors.Is(err, hotspot.ErrDisabled):
		s.Status, s.Hint = snapshot.StatusUnsupported, "start the JVM without -XX:+DisableAttachMechanism"
	case errors.Is(err, hotspot.ErrStopped):
		s.Status, s.Hint = snapshot.StatusPartial, "kill -CONT the process"
	case errors.Is(err, hotspot.ErrNoAnswer):
		s.Status, s.Hint = snapshot.StatusPartial, "another command may hold the JVM's one attach thread: try again"
	case errors.As(err, &space):
		s.Status, s.Hint = snapshot.StatusPartial, "give another directory of the target with --heap-dump-dir"
	default:
		s.Status = snapshot.StatusPartial
	}
}

// heap reads the heap section: from the dump file that was given, or from the
// running JVM.
func (r *recorder) heap() {
	r.record(snapshot.SourceHeapDump, func(s *snapshot.Source) error {
		var err error
		if r.options.HeapDumpFile != "" {
			err = r.readDumpFile(s)
		} else {
			err = r.dumpHeap(s)
		}
		if s.Status == "" {
			describeJVM(s, err)
		}
		if s.Status == "" && r.s.Heap != nil && !r.s.Heap.Complete {
			s.Status, s.Reason = snapshot.StatusPartial, r.s.Heap.Reason
		}
		return nil
	})
}

// heapDumpFile is a capture of a dump file alone.
func (r *recorder) heapDumpFile() error {
	var err error
	r.record(snapshot.SourceHeapDump, func(s *snapshot.Source) error {
		err = r.readDumpFile(s)
		if err == nil && !r.s.Heap.Complete {
			s.Status, s.Reason = snapshot.StatusPartial, r.s.Heap.Reason
		}
		return err
	})
	if err != nil && r.ctx.Err() == nil {
		return err
	}
	return nil
}

func (r *recorder) readDumpFile(s *snapshot.Source) error {
	info, err := os.Stat(r.options.HeapDumpFile)
	if err != nil {
		return fmt.Errorf("heap dump: %w", err)
	}
	result, err := heap.ReadFile(r.ctx, r.options.HeapDumpFile, r.walkOptions(info.Size()))
	if err != nil {
		return fmt.Errorf("heap dump %q: %w", r.options.HeapDumpFile, err)
	}
	r.keepHeap(s, "heap-dump-file", result)
	return nil
}

func (r *recorder) keepHeap(s *snapshot.Source, method string, result *heap.Result) {
	r.s.Heap = heapSection(method, result)
	s.BytesRead = r.s.Heap.Bytes
}

func (r *recorder) walkOptions(expected int64) heap.Options {
	o := heap.Options{MaxMemoryBytes: r.options.Heap.MaxMemoryBytes}
	if report := r.options.Progress; report != nil {
		o.Progress = func(done int64) { report(done, expected) }
	}
	return o
}

// dumpHeap streams a dump out of the running JVM.
func (r *recorder) dumpHeap(s *snapshot.Source) error {
	if r.s.JVM == nil { // capture of the heap alone
		facts, err := r.facts()
		if err != nil {
			return err
		}
		r.s.JVM = facts.JVM
	}
	feature, known := r.s.JVM.Feature.Get()
	if !known {
		return fmt.Errorf("%w: its version is not known", hotspot.ErrUnsupported)
	}
	j, err := hotspot.Open(r.options.PID)
	if err != nil {
		return err
	}
	defer j.Close()
	used := r.s.JVM.HeapUsedBytes.Or(r.s.JVM.MaxHeapBytes.Or(0))
	options := hotspot.DumpOptions{
		Live: r.options.Heap.Live, Directory: r.options.Heap.Directory, Feature: feature, UsedBytes: used,
		Announce: func(e hotspot.Estimate) {
			s.EstimateSeconds = snapshot.Known(e.PauseSeconds)
			if r.options.Announce != nil {
				r.options.Announce(Estimate{PauseSeconds: e.PauseSeconds, HeapBytes: used, Method: e.Method})
			}
		},
	}
	var result *heap.Result
	describe, done := r.describer(feature)
	defer done()
	report, err := j.DumpHeap(r.ctx, options, func(ctx context.Context, stream hotspot.DumpStream) (err error) {
		o := r.walkOptions(used)
		o.Segments, o.Describe = stream.Segments, describe
		result, err = heap.ReadStream(ctx, stream.Main, o)
		return err
	})
	s.PauseSeconds = report.Pause
	s.Detail = map[string]string{"method": report.Method}
	if report.PauseSource != "" {
		s.Detail["pause_source"] = report.PauseSource
	}
	if r.options.Heap.Live {
		s.Detail["collected_first"] = "true"
	}
	if result != nil {
		r.keepHeap(s, "heap-dump", result)
	}
	return err
}

// describedLate is the first JDK whose streamed dump has its classes at the end:
// they wait in a buffer of the JVM until it has written all objects.
const describedLate = 22

// describer tells of the classes of a JVM whose dump describes them late, nil
// where that is not needed or its memory may not be read. done lets go of it.
func (r *recorder) describer(feature int) (describe func() []heap.KnownClass, done func()) {
	if feature < describedLate {
		return nil, func() {}
	}
	target, err := vmstructs.Open(r.options.ProcMountPoint, r.options.PID)
	if err != nil {
		return nil, func() {}
	}
	classes, err := target.Describe()
	if err != nil {
		target.Close()
		return nil, func() {}
	}
	return func() []heap.KnownClass {
		all, err := classes.Classes()
		if err != nil {
			return nil // the instances wait for the dump to describe them
		}
		return all
	}, target.Close
}
