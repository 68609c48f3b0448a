// Package doctor finds out what can be captured of a process and what not.
//
// What flows in: a pid. What flows out: a [snapshot.Examination]: the conditions
// that a capture depends on, each with the way out, and what each level of
// capture would cost. It looks and does not touch: no signal is sent, nothing is
// asked of the target, nothing is written, none of its threads stops.
package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/capture/sockets"
	"github.com/leakscope/leakscope/snapshot"
)

// Options say what to examine.
type Options struct {
	PID     int
	Version string // of the tool
}

// ErrNoTarget is wrapped when there is no process to examine.
var ErrNoTarget = errors.New("no such process")

// patient is an examination under way.
type patient struct {
	pid    int
	out    *snapshot.Examination
	target *snapshot.Target
	status map[string]string // of /proc/PID/status
	self   map[string]string // of /proc/self/status

	readable bool // its memory can be read from outside
	files    bool // its descriptors can be listed
	traced   bool // by another process
	stopped  bool
}

// Examine looks at a process. The error says that there is none.
func Examine(ctx context.Context, o Options) (*snapshot.Examination, error) {
	fs := proc.NewFS("")
	target, err := fs.Target(o.PID, proc.TargetOptions{})
	switch {
	case errors.Is(err, proc.ErrGone):
		return nil, fmt.Errorf("pid %d: %w", o.PID, ErrNoTarget)
	case err != nil && target.StartTimeTicks == 0:
		return nil, fmt.Errorf("pid %d: %w", o.PID, err)
	}
	p := &patient{pid: o.PID, target: &target, out: &snapshot.Examination{
		Schema: snapshot.ExaminationSchema, FormatVersion: snapshot.ExaminationVersion,
		Tool: snapshot.Tool{Name: "leakscope", Version: o.Version}, Conditions: []snapshot.Condition{}, Levels: []snapshot.Level{},
	}}
	if p.self, err = readStatus("self"); err != nil {
		return nil, err
	}
	if p.status, err = readStatus(fmt.Sprint(o.PID)); err != nil {
		return nil, fmt.Errorf("pid %d: %w", o.PID, ErrNoTarget)
	}
	p.process()
	p.memory()
	p.namespaces()
	p.seccomp()
	p.tracer()
	p.runState()
	p.descriptors(ctx, fs)
	j := p.virtualMachine()
	p.levels(j)
	if err := fs.Check(o.PID, target.StartTimeTicks); err != nil {
		return nil, fmt.Errorf("pid %d: %w", o.PID, ErrNoTarget)
	}
	p.out.Target = target
	return p.out, nil
}

func (p *patient) note(name string, state snapshot.ConditionState, hint, format string, args ...any) {
	p.out.Conditions = append(p.out.Conditions, snapshot.Condition{Name: name, State: state, Found: fmt.Sprintf(format, args...), Hint: hint})
}

// process says what the target is.
func (p *patient) process() {
	what := map[snapshot.Runtime]string{
		snapshot.RuntimeHotSpot: "a HotSpot JVM", snapshot.RuntimeOpenJ9: "an OpenJ9 JVM", snapshot.RuntimeGo: "a Go program",
		snapshot.RuntimeNative: "a native program", snapshot.RuntimeUnknown: "a program of a kind that can't be told without reading its mappings",
	}[p.target.Runtime]
	owner := "an unknown user"
	if uid, ok := p.target.UID.Get(); ok {
		owner = fmt.Sprintf("uid %d", uid)
	}
	threads := p.status["Threads"] + " threads"
	if threads == "1 threads" {
		threads = "one thread"
	}
	p.note("process", snapshot.ConditionOK, "", "%s, %s, of %s, with %s", p.target.Name, what, owner, threads)
}

// descriptors looks at what ties connections to the target.
func (p *patient) descriptors(ctx context.Context, fs proc.FS) {
	fds, err := fs.FDs(p.pid)
	if err != nil {
		p.note("descriptors", snapshot.ConditionLimits, p.accessHint(), "can't be listed: connections are found by user, not by process: %v", err)
	} else {
		p.files = true
		p.note("descriptors", snapshot.ConditionOK, "", "%d open", len(fds))
	}
	table := sockets.Read(ctx, sockets.Request{PID: p.pid, FDs: fds, UID: p.target.UID})
	switch {
	case table.Status == snapshot.StatusOK:
		p.note("connections", snapshot.ConditionOK, "", "%d sockets, read by %s", len(table.Sockets), table.Detail["method"])
	case table.Sockets != nil:
		p.note("connections", snapshot.ConditionLimits, table.Hint, "%d sockets: %s", len(table.Sockets), table.Reason)
	default:
		p.note("connections", snapshot.ConditionLimits, table.Hint, "can't be read: %s", table.Reason)
	}
}
