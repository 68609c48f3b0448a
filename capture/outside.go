package capture

import (
	"errors"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/snapshot"
)

// openOutside finds the JVM in the target's memory, where its heap is to be
// read from there.
func (r *recorder) openOutside() {
	if !r.options.wants(PartOwners) || r.options.wants(PartHeap) || r.options.HeapDumpFile != "" {
		return
	}
	if r.s.Manifest.Target.Runtime != snapshot.RuntimeHotSpot {
		r.record(snapshot.SourceVMStructs, func(s *snapshot.Source) error {
			s.Status, s.Reason = snapshot.StatusAbsent, hotspot.ErrNotJVM.Error()
			return nil
		})
		return
	}
	var err error
	if r.outside, err = vmstructs.Open(r.options.ProcMountPoint, r.options.PID); err != nil {
		r.record(snapshot.SourceVMStructs, func(s *snapshot.Source) error {
			describeOutside(s, err)
			return nil
		})
	}
}

func (r *recorder) closeOutside() {
	if r.outside != nil {
		r.outside.Close()
	}
}

// factsFromOutside fills in what a JVM that can't be asked has in its memory.
func (r *recorder) factsFromOutside() {
	if r.outside == nil {
		return
	}
	f := r.outside.Facts()
	jvm := &snapshot.JVM{
		Name: "HotSpot", Version: f.Version, Collector: f.Collector,
		Flags: f.Flags, Properties: map[string]string{}, NMT: []snapshot.NMTCategory{},
		NativeMemoryTracking: f.Flags["NativeMemoryTracking"],
		Collections:          snapshot.Known(f.Collections),
	}
	if feature := vmstructs.Feature(f.Version); feature > 0 {
		jvm.Feature = snapshot.Known(feature)
	}
	flag := func(name string) snapshot.Optional[int64] {
		if n, err := strconv.ParseInt(f.Flags[name], 10, 64); err == nil {
			return snapshot.Known(n)
		}
		return snapshot.Optional[int64]{}
	}
	jvm.MaxHeapBytes, jvm.MaxDirectMemoryBytes = flag("MaxHeapSize"), flag("MaxDirectMemorySize")
	if n, ok := jvm.MaxDirectMemoryBytes.Get(); ok && n == 0 {
		jvm.MaxDirectMemoryBytes = jvm.MaxHeapBytes
	}
	if f.HeapEnd > f.HeapStart {
		r.heapRanges = append(r.heapRanges, proc.Range{Start: f.HeapStart, End: f.HeapEnd, Kind: snapshot.MappingJavaHeap})
	}
	r.s.JVM = jvm
}

// owners reads the heap from outside.
func (r *recorder) owners() {
	r.record(snapshot.SourceVMStructs, func(s *snapshot.Source) error {
		o := vmstructs.Options{Budget: r.options.Budget}
		stops := stops{r: r, source: s}
		if r.options.MaxPause > 0 {
			o.Hold = stops.hold
		}
		cpu := cpuSeconds()
		reading, err := r.outside.Read(r.ctx, o)
		s.Detail = map[string]string{
			"tries": strconv.Itoa(reading.Tries),
			"calls": strconv.FormatInt(reading.Cost.Calls, 10),
			"cpu":   strconv.FormatFloat(cpuSeconds()-cpu, 'f', 3, 64) + " s",
		}
		if reading.Settled > 0 {
			s.Detail["settled"] = strconv.FormatInt(reading.Settled, 10) + " bytes"
		}
		if reading.Dead > 0 {
			s.Detail["dead, of unloaded classes"] = strconv.FormatInt(reading.Dead, 10) + " bytes"
		}
		for reason, n := range tally(reading.Rejected) {
			s.Detail["rejected: "+reason] = strconv.Itoa(n)
		}
		stops.describe()
		s.BytesRead = snapshot.Known(reading.Cost.Bytes)
		if reading.Heap != nil {
			r.s.Heap = heapSection("vmstructs", reading.Heap)
		} else if r.s.JVM != nil {
			r.s.JVM.Counters = counters(reading.Counters)
		}
		if err != nil {
			describeOutside(s, err)
		}
		if r.s.JVM != nil && !r.s.JVM.HeapUsedBytes.IsKnown() && reading.HeapUsed > 0 {
			r.s.JVM.HeapUsedBytes = snapshot.Known(reading.HeapUsed)
		}
		return nil
	})
}

// cpuSeconds is the processor time that this process has taken so far.
func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// tally counts equal reasons; addresses and amounts in them do not matter.
func tally(reasons []string) map[string]int {
	out := map[string]int{}
	for _, reason := range reasons {
		out[digits.ReplaceAllString(reason, "N")]++
	}
	return out
}

var digits = regexp.MustCompile(`(0x[0-9a-f]+|\d+)`)

// describeOutside turns an error of a reading from outside into a status with
// its way out.
func describeOutside(s *snapshot.Source, err error) {
	s.Reason = err.Error()
	var late *freeze.LimitError
	switch {
	case errors.As(err, &late):
		s.Status, s.Hint = snapshot.StatusUnstable, "a longer --max-pause; or without --freeze, which tries again while the target runs"
	case errors.Is(err, errStops):
		s.Status, s.Hint = snapshot.StatusUnstable, "--heap takes a heap dump instead"
	case errors.Is(err, freeze.ErrTraced):
		s.Status, s.Hint = snapshot.StatusDenied, "end what traces it (a debugger, strace), or leave out --freeze"
	case errors.Is(err, vmstructs.ErrDenied), errors.Is(err, freeze.ErrDenied):
		s.Status, s.Hint = snapshot.StatusDenied, "run as the user of the target or as root; leakscope doctor PID says what is in the way"
	case errors.Is(err, vmstructs.ErrGone), errors.Is(err, freeze.ErrGone):
		s.Status = snapshot.StatusAbsent
	case errors.Is(err, vmstructs.ErrUnstable):
		s.Status, s.Hint = snapshot.StatusUnstable, "--freeze stops the target while it is read, --heap takes a heap dump: both pause it; or try again when it allocates less"
	case errors.Is(err, vmstructs.ErrNotHotSpot), errors.Is(err, vmstructs.ErrUnsupported):
		s.Status, s.Hint = snapshot.StatusUnsupported, "--heap takes a heap dump instead, which pauses the target"
	default:
		s.Status, s.Hint = snapshot.StatusPartial, "--heap takes a heap dump instead, which pauses the target"
	}
}
