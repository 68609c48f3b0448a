package analyze

import (
	"fmt"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// NotComparableError says why snapshots cannot be set against each other.
type NotComparableError struct {
	Base, Head string // names of the inputs
	Reasons    []string
}

func (e *NotComparableError) Error() string {
	return fmt.Sprintf("%s and %s are not snapshots of one target: %s", e.Base, e.Head, strings.Join(e.Reasons, "; "))
}

// comparable refuses snapshots of different targets: pid, start time and boot
// together are a process's identity. A snapshot made from a heap dump file
// alone has none; it is let through with a warning.
func comparable(base, head Named) (warning string, err error) {
	b, h := base.Snapshot.Manifest.Target, head.Snapshot.Manifest.Target
	if b.PID == 0 || h.PID == 0 {
		return fmt.Sprintf("%s or %s was made from a heap dump file alone: nothing proves that they are of one process", base.Name, head.Name), nil
	}
	var reasons []string
	differ := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	switch {
	case b.BootID != h.BootID:
		differ("boot %s and %s: another machine, or a restart of it", b.BootID, h.BootID)
	case b.PID != h.PID:
		differ("pid %d and %d", b.PID, h.PID)
	case b.StartTimeTicks != h.StartTimeTicks:
		differ("pid %d was started at tick %d and at tick %d: the process was restarted, or its pid reused", b.PID, b.StartTimeTicks, h.StartTimeTicks)
	}
	if len(reasons) > 0 {
		return "", &NotComparableError{Base: base.Name, Head: head.Name, Reasons: reasons}
	}
	return "", nil
}

// elapsed is the time between two captures: by the clock since boot where both
// have it, because the wall clock can be set in between.
func elapsed(base, head *snapshot.Snapshot) Float {
	b, h := base.Manifest.Clock, head.Manifest.Clock
	if bu, ok := b.UptimeSeconds.Get(); ok && base.Manifest.Target.BootID == head.Manifest.Target.BootID {
		if hu, ok := h.UptimeSeconds.Get(); ok {
			return snapshot.Known(hu - bu)
		}
	}
	if b.Started.IsZero() || h.Started.IsZero() {
		return Float{}
	}
	return snapshot.Known(h.Started.Sub(b.Started).Seconds())
}
