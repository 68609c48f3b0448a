package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/launch"
	"github.com/leakscope/leakscope/snapshot"
)

// crashDelay is how long a load that has failed is held against a command that
// may have ended at the same moment, and so be the cause.
const crashDelay = 250 * time.Millisecond

// leakTest is one run of a program under load, captured several times.
type leakTest struct {
	app     *app
	flags   *leakTestFlags
	plan    *plan
	args    []string // COMMAND; empty: a process that runs already
	ready   *launch.Readiness
	wanted  *regexp.Regexp // name of the process to capture; nil: any
	options capture.Options

	command *launch.Group // nil: a process that runs already
	output  io.Writer     // of the command and the load
	hurry   chan struct{} // closed when nobody wants to wait any more
	inputs  []analyze.Named
}

// goneError says that the command has ended by itself.
type goneError struct{ when string }

func (e *goneError) Error() string { return "the command ended " + e.when }

// run performs the test and returns its snapshots. Whatever happens, nothing
// that it started is left when it returns.
func (t *leakTest) run(ctx context.Context) (inputs []analyze.Named, err error) {
	t.app.stderr = shareable(t.app.stderr)
	t.output = t.app.stderr
	if t.flags.log != "" {
		file, err := t.openLog()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		t.output = shareable(file)
	}
	t.hurry = make(chan struct{})
	defer secondSignal(ctx, t.hurry)()
	if len(t.args) > 0 {
		if err := t.start(ctx); err != nil {
			return nil, err
		}
		defer func() { err = t.finish(err) }()
	}
	if err := t.observe(ctx); err != nil {
		return nil, err
	}
	return t.inputs, nil
}

func (t *leakTest) start(ctx context.Context) error {
	err := t.ready.Free(ctx)
	if err == nil {
		t.command, err = launch.Start(launch.Options{Name: "the command", Args: t.args, Output: t.output, Line: t.ready.Line})
	}
	if err != nil {
		return explainLaunch(err)
	}
	t.app.note("started %s, pid %d", filepath.Base(t.args[0]), t.command.PID())
	return nil
}

// finish stops the command, and says why it ended where that is what err is
// about.
func (t *leakTest) finish(err error) error {
	stopErr := t.command.Stop(t.flags.grace, t.hurry)
	var gone *goneError
	var late *launch.NotReadyError
	switch {
	case errors.As(err, &gone):
		err = explainLaunch(t.command.EndedWhen(gone.when))
		t.app.showLines("the command", t.command.LastLines())
	case errors.As(err, &late):
		t.app.showLines("the command", t.command.LastLines())
	}
	if stopErr != nil {
		stopErr = fmt.Errorf("run: %w", stopErr)
	}
	return errors.Join(err, stopErr)
}

// observe takes the snapshots, with the load in between.
func (t *leakTest) observe(ctx context.Context) error {
	f := t.flags
	if t.ready.Given() {
		t.app.note("waiting for it to be ready")
		if err := t.ready.Wait(ctx, f.readyTimeout, t.ended()); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return explainLaunch(err)
		}
	}
	if err := t.wait(ctx, 0, "before it was ready"); err != nil {
		return err
	}
	if err := t.wait(ctx, f.warmup, "while it was warming up"); err != nil {
		return err
	}
	if err := t.findTarget(ctx); err != nil {
		return err
	}
	if err := t.capture(ctx, 0); err != nil {
		return err
	}
	for round := 1; round < f.count; round++ {
		if err := t.part(ctx, round); err != nil {
			return err
		}
		if err := t.capture(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// ended is closed when the command has ended; nil where there is none.
func (t *leakTest) ended() <-chan struct{} {
	if t.command == nil {
		return nil
	}
	return t.command.Ended()
}

// wait lets time pass, unless something ends first.
func (t *leakTest) wait(ctx context.Context, d time.Duration, when string) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.ended():
		return &goneError{when}
	case <-timer.C:
	}
	select {
	case <-t.ended():
		return &goneError{when}
	default:
		return nil
	}
}

// part is the time between two snapshots: the load runs, or time passes.
func (t *leakTest) part(ctx context.Context, round int) error {
	length := t.flags.duration / time.Duration(t.flags.count-1)
	if t.flags.load == "" {
		return t.wait(ctx, length, "between two snapshots")
	}
	began := time.Now()
	if err := t.runLoad(ctx, round, length); err != nil {
		return err
	}
	rest := max(0, length-time.Since(began))
	return t.wait(ctx, rest+t.flags.settle, "after the load")
}

// runLoad runs the load once, at most for limit where that is not 0.
func (t *leakTest) runLoad(ctx context.Context, round int, limit time.Duration) error {
	t.app.note("load %d of %d", round, t.flags.count-1)
	load, err := launch.Start(launch.Options{
		Name: "the load", Args: []string{"/bin/sh", "-c", t.flags.load}, Output: t.output,
		Env: []string{"LEAKSCOPE_PID=" + strconv.Itoa(t.options.PID), "LEAKSCOPE_ROUND=" + strconv.Itoa(round)},
	})
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	const when = "while it was under load"
	finished := false
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-t.ended():
		err = &goneError{when}
	case <-over:
	case <-load.Ended():
		finished = true
	}
	if stopErr := load.Stop(t.flags.grace, t.hurry); stopErr != nil {
		return errors.Join(err, fmt.Errorf("run: %w", stopErr))
	}
	if !finished || load.Succeeded() {
		return err
	}
	if err := t.wait(ctx, crashDelay, when); err != nil {
		return err
	}
	t.app.showLines("the load", load.LastLines())
	return &failure{code: exitError, err: fmt.Errorf("run: the load failed: %s", load.State()), hint: "a load that is meant to be cut off by --duration may run on; one that ends must end with status 0"}
}

// capture takes snapshot i and keeps it.
func (t *leakTest) capture(ctx context.Context, i int) error {
	bar := t.app.progress()
	t.options.Progress = bar.report
	s, err := capture.Run(ctx, t.options)
	bar.finish()
	if gone := t.wait(ctx, 0, "while it was captured"); gone != nil && ctx.Err() == nil {
		return gone
	}
	if err != nil {
		return captureError(err, i)
	}
	name := t.flags.snapshotName(i)
	if t.flags.keep != "" {
		if err := snapshot.WriteFile(filepath.Join(t.flags.keep, name), s, t.flags.outputs.force); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.app.describe(s)
	t.inputs = append(t.inputs, analyze.Named{Name: name, Snapshot: s})
	return nil
}

// showLines prints the last lines of somebody else's output.
func (a *app) showLines(whose string, lines []string) {
	if len(lines) == 0 {
		a.note("%s has printed nothing", whose)
		return
	}
	a.note("the last lines of %s:", whose)
	for _, line := range lines {
		_, _ = fmt.Fprintf(a.stderr, "  | %s\n", line)
	}
}
