package doctor

import (
	"errors"
	"fmt"
	"time"

	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// What the cheap levels take: a thousand sockets 10 ms, the counters of a JVM
// 12 to 19 ms.
const (
	connectionsSeconds = 0.02
	countersSeconds    = 0.02
	ownMemory          = 50 << 20 // bytes, of a reading that copies nothing
)

// levels says of each level of capture whether it can be had, and for what.
func (p *patient) levels(m *machine) {
	pid := fmt.Sprint(p.pid)
	none, silent := snapshot.Known(0.0), snapshot.Known(false)
	small, nothing := snapshot.Known(int64(ownMemory)), snapshot.Known(int64(0))

	connections := snapshot.Level{
		Name: "connections", Command: "leakscope capture connections " + pid, Available: snapshot.AvailableYes,
		Seconds: snapshot.Known(connectionsSeconds), Pause: none, Memory: small, Disk: nothing, Signals: silent,
	}
	if !p.files {
		connections.Reason, connections.Hint = "without its descriptors, connections are told by user alone", p.accessHint()
	}
	counters := snapshot.Level{
		Name: "counters", Command: "leakscope capture " + pid, Available: snapshot.AvailableYes,
		Seconds: snapshot.Known(countersSeconds), Pause: none, Memory: small, Disk: nothing, Signals: silent,
	}
	owners := snapshot.Level{
		Name: "zero-pause", Command: "leakscope capture " + pid, Available: snapshot.AvailableYes,
		Pause: none, Memory: small, Disk: nothing, Signals: silent,
	}
	freeze := snapshot.Level{
		Name: "freeze", Command: "leakscope capture --freeze " + pid, Available: snapshot.AvailableYes,
		Disk: nothing, Signals: silent,
	}
	dump := snapshot.Level{
		Name: "heap-dump", Command: "leakscope capture --heap " + pid, Available: snapshot.AvailableYes,
		Memory: small,
	}
	if m == nil {
		for _, l := range []*snapshot.Level{&counters, &owners, &freeze, &dump} {
			refuse(l, errors.New("it is no HotSpot JVM"), "")
			if p.target.Runtime == snapshot.RuntimeUnknown {
				l.Available, l.Reason, l.Hint = snapshot.AvailableUnknown, "whether it is a JVM is not known", p.accessHint()
			}
		}
		p.out.Levels = append(p.out.Levels, connections, counters, owners, freeze, dump)
		return
	}
	defer m.close()
	refuse(&counters, m.counters, p.outsideHint(m.counters))
	refuse(&owners, m.owners, p.outsideHint(m.owners))
	refuse(&freeze, m.owners, p.outsideHint(m.owners))
	if m.heapBytes >= 0 && m.owners == nil {
		owners.Seconds = snapshot.Known(vmstructs.ReadSeconds(m.heapBytes))
		freeze.Seconds = owners.Seconds
		freeze.Pause = snapshot.Known(vmstructs.CopySeconds(m.heapBytes))
		freeze.Memory = snapshot.Known(ownMemory + vmstructs.CopyBytes(m.heapBytes))
	}
	if p.traced {
		refuse(&freeze, errors.New("another process traces it"), "end what traces it")
	}
	if pause, ok := freeze.Pause.Get(); ok && freeze.Available == snapshot.AvailableYes && pause > defaultMaxPause {
		freeze.Reason = fmt.Sprintf("the limit of %s is shorter than the stop may be", units.Seconds(defaultMaxPause))
		freeze.Hint = "--max-pause " + time.Duration(2*pause*float64(time.Second)).Round(100*time.Millisecond).String()
	}
	if m.attach != nil && !errors.Is(m.attach, hotspot.ErrNoListener) {
		refuse(&dump, m.attach, attachHint(m.attach, p))
	} else {
		dump.Signals = snapshot.Known(m.attach != nil)
	}
	refuse(&dump, m.dump, "give a directory with --heap-dump-dir")
	if m.heapBytes >= 0 && m.feature > 0 && dump.Available == snapshot.AvailableYes {
		pause := hotspot.EstimateDump(m.feature, m.heapBytes).PauseSeconds
		dump.Pause, dump.Seconds = snapshot.Known(pause), snapshot.Known(pause)
		dump.Disk = snapshot.Known(hotspot.DumpRoom(m.feature, m.heapBytes))
	}
	p.out.Levels = append(p.out.Levels, connections, counters, owners, freeze, dump)
}

// defaultMaxPause is that of capture --freeze, in seconds.
const defaultMaxPause = 0.5

// refuse marks a level that can't be had; the first reason stays.
func refuse(l *snapshot.Level, err error, hint string) {
	if err != nil && l.Available == snapshot.AvailableYes {
		*l = snapshot.Level{Name: l.Name, Command: l.Command, Available: snapshot.AvailableNo, Reason: err.Error(), Hint: hint}
	}
}

// outsideHint is the way out of a JVM that can't be read from outside.
func (p *patient) outsideHint(err error) string {
	if errors.Is(err, vmstructs.ErrDenied) {
		return p.accessHint()
	}
	return "--heap takes a heap dump instead"
}

func attachHint(err error, p *patient) string {
	switch {
	case errors.Is(err, hotspot.ErrDisabled):
		return "start the JVM without -XX:+DisableAttachMechanism"
	case errors.Is(err, hotspot.ErrStopped):
		return fmt.Sprintf("kill -CONT %d", p.pid)
	}
	return p.accessHint()
}
