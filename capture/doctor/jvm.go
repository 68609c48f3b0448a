package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// machine is what was found of a HotSpot JVM.
type machine struct {
	hotspot   *hotspot.JVM // nil: not to be attached to
	feature   int          // of the JDK; 0: unknown
	heapBytes int64        // in use; -1: unknown
	counters  error        // why its counters can't be read from outside; nil: they can
	owners    error        // why its heap can't be
	attach    error        // why it can't be asked: nil, ErrNoListener, or an obstacle
	dump      error        // why a heap dump has no place
}

func (m *machine) close() {
	if m.hotspot != nil {
		m.hotspot.Close()
	}
}

// virtualMachine looks at the JVM; nil when the target is none.
func (p *patient) virtualMachine() *machine {
	switch p.target.Runtime {
	case snapshot.RuntimeHotSpot:
	case snapshot.RuntimeUnknown:
		p.note("virtual machine", snapshot.ConditionUnknown, p.accessHint(), "whether it is a JVM is not known: its mappings can't be read")
		return nil
	case snapshot.RuntimeOpenJ9:
		p.note("virtual machine", snapshot.ConditionLimits, "", "OpenJ9 speaks another attach protocol and dumps another format: memory and connections alone")
		return nil
	default:
		p.note("virtual machine", snapshot.ConditionLimits, "", "it is no JVM: memory and connections alone")
		return nil
	}
	m := &machine{heapBytes: -1}
	facts := p.outside(m)
	p.attaching(m, facts)
	p.dumping(m)
	return m
}

// outside reads the JVM's configuration from its memory.
func (p *patient) outside(m *machine) *vmstructs.Facts {
	t, err := vmstructs.Open("", p.pid)
	if err != nil {
		m.counters, m.owners = err, err
		state, hint := snapshot.ConditionLimits, "--heap takes a heap dump instead"
		if errors.Is(err, vmstructs.ErrDenied) {
			hint = p.accessHint()
		}
		p.note("virtual machine", state, hint, "can't be read from outside: %v", err)
		return nil
	}
	defer t.Close()
	f := t.Facts()
	m.feature = vmstructs.Feature(f.Version)
	m.heapBytes, m.owners = t.HeapBytes()
	jdk := "of an unknown version"
	if m.feature > 0 {
		jdk = fmt.Sprintf("of JDK %d", m.feature)
	}
	p.note("virtual machine", snapshot.ConditionOK, "", "HotSpot %s %s", f.Version, jdk)
	collector := f.Collector
	if collector == "" {
		collector = "unknown"
	}
	limit := ""
	if n, err := strconv.ParseInt(f.Flags["MaxHeapSize"], 10, 64); err == nil {
		limit = " of at most " + units.Bytes(n)
	}
	if m.owners != nil {
		m.heapBytes = -1
		p.note("collector", snapshot.ConditionLimits, "--heap takes a heap dump instead", "%s: counters and Cleaners can be read from outside, owners can't: %v", collector, m.owners)
	} else {
		p.note("collector", snapshot.ConditionOK, "", "%s, a heap of %s%s, %d collections so far", collector, units.Bytes(m.heapBytes), limit, f.Collections)
	}
	switch tracking := f.Flags["NativeMemoryTracking"]; tracking {
	case "summary", "detail":
		p.note("native memory tracking", snapshot.ConditionOK, "", "%s", tracking)
	default:
		p.note("native memory tracking", snapshot.ConditionNote, "start the JVM with -XX:NativeMemoryTracking=summary (costs 5 to 10 %)", "off: memory beside the heap and direct buffers can't be split")
	}
	return &f
}

// attaching looks at what asking the JVM would take.
func (p *patient) attaching(m *machine, f *vmstructs.Facts) {
	j, err := hotspot.Open(p.pid)
	if err != nil {
		m.attach = err
		p.note("attach", snapshot.ConditionLimits, p.accessHint(), "not possible: %v", err)
		return
	}
	m.hotspot = j
	m.attach = j.AttachProblem()
	if f != nil && f.Flags["DisableAttachMechanism"] == "true" {
		m.attach = hotspot.ErrDisabled
	}
	switch {
	case m.attach == nil:
		p.note("attach", snapshot.ConditionOK, "", "it listens: it can be asked without a signal")
	case errors.Is(m.attach, hotspot.ErrNoListener):
		p.note("attach", snapshot.ConditionNote, "the default capture needs none of it", "it does not listen yet: --attach and --heap send it SIGQUIT once, which it takes as a request")
	case errors.Is(m.attach, hotspot.ErrDisabled):
		p.note("attach", snapshot.ConditionLimits, "start the JVM without -XX:+DisableAttachMechanism", "switched off: no heap dump, no native memory tracking")
	case errors.Is(m.attach, hotspot.ErrStopped):
		p.note("attach", snapshot.ConditionLimits, fmt.Sprintf("kill -CONT %d", p.pid), "it does not answer while it is stopped")
	default:
		p.note("attach", snapshot.ConditionLimits, p.accessHint(), "not possible: %v", m.attach)
	}
	if err := j.PerfDataProblem(); err != nil {
		p.note("hsperfdata", snapshot.ConditionNote, "start the JVM without -XX:-UsePerfData and -XX:+PerfDisableSharedMem", "not published: the pause of a heap dump is then measured from its command to its reply")
	} else {
		p.note("hsperfdata", snapshot.ConditionOK, "", "published")
	}
}

// dumping looks for a directory that a heap dump can pass through.
func (p *patient) dumping(m *machine) {
	if m.hotspot == nil {
		return
	}
	if m.heapBytes < 0 || m.feature == 0 {
		p.note("dump directory", snapshot.ConditionUnknown, "", "the size of a dump is not known")
		return
	}
	directory, err := m.hotspot.DumpDirectory(hotspot.DumpOptions{Feature: m.feature, UsedBytes: m.heapBytes})
	if err != nil {
		m.dump = err
		p.note("dump directory", snapshot.ConditionLimits, "give one with --heap-dump-dir", "none for a heap dump: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	if directory == "." {
		directory = "its working directory"
	}
	if need := hotspot.DumpRoom(m.feature, m.heapBytes); need > 0 {
		p.note("dump directory", snapshot.ConditionOK, "", "%s is writable and has the %s that a dump may need", directory, units.Bytes(need))
	} else {
		p.note("dump directory", snapshot.ConditionOK, "", "%s is writable; a dump passes through a FIFO and takes no room", directory)
	}
}
