package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/demo"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

const (
	// demoIdle is a shorter limit than that of diff, to keep the demo short.
	demoIdle = 2 * time.Second
	// demoSettle is how long the target is left alone before a snapshot, so
	// that its silent connections are idle by that limit.
	demoSettle = demoIdle + 500*time.Millisecond
)

// demoFlags are those of demo.
type demoFlags struct {
	resultFlags
	keep     string
	recorded bool
}

func (a *app) demoCommand() *cobra.Command { return a.demoCommandOn(demo.FindJava) }

// demoCommandOn is the command on the JDK that find returns.
func (a *app) demoCommandOn(find func() (string, error)) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "show a leak: start a small Java server that leaks, capture it twice, diff",
		Long: `demo starts a small Java server and its clients on loopback. Its sessions keep
direct buffers in several lifecycle states at once (peer-closed, closed, stalled,
idle) beside healthy traffic. It is captured twice, with its heap, and the two
snapshots are compared. Nothing that was started keeps running.

It needs a JDK (11 or newer): that of JAVA_HOME, of PATH, or below /usr/lib/jvm.
Without one it shows a pair of snapshots recorded from the same program.

The report goes to stdout, what is done to stderr. The exit code is 0 when the
demo worked: a leak is what it shows.`,
		Example: `  leakscope demo
  leakscope demo --keep snapshots && leakscope inspect snapshots/second.lscope
  leakscope demo --format json | jq .summary`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), &f, find) },
	}
	f.register(cmd)
	f.registerLimits(cmd)
	idle := cmd.Flags().Lookup("idle")
	f.idle, idle.DefValue = demoIdle, demoIdle.String()
	cmd.Flags().StringVar(&f.keep, "keep", "", "keep the two snapshots in `DIR`")
	cmd.Flags().BoolVar(&f.recorded, "recorded", false, "show the recorded snapshots, start nothing")
	return cmd
}

// demo runs the demo on the JDK that find returns, else on what was recorded.
func (a *app) demo(ctx context.Context, f *demoFlags, find func() (string, error)) error {
	outputs, err := f.check(a)
	if err != nil {
		return err
	}
	limits, err := f.limits()
	if err != nil {
		return err
	}
	if err := f.checkKept(); err != nil {
		return err
	}
	inputs, err := a.demoSnapshots(ctx, f, find)
	if err != nil {
		return err
	}
	if err := f.write(inputs); err != nil {
		return err
	}
	result, err := analyze.Diff(inputs, limits)
	if err != nil {
		return err
	}
	if err := f.render(a, outputs, result, nil); err != nil {
		return renderError(err)
	}
	a.repeat(f)
	return nil
}

func (a *app) demoSnapshots(ctx context.Context, f *demoFlags, find func() (string, error)) ([]analyze.Named, error) {
	if f.recorded {
		a.note("snapshots recorded earlier from the demo's program; nothing is started")
		return recordedSnapshots()
	}
	home, err := find()
	if errors.Is(err, demo.ErrNoJDK) {
		a.warn("%v", err)
		a.note("shown instead: snapshots recorded earlier from the demo's program")
		return recordedSnapshots()
	}
	if err != nil {
		return nil, err
	}
	return a.liveDemo(ctx, home)
}

func recordedSnapshots() ([]analyze.Named, error) {
	first, second, err := demo.Recorded()
	if err != nil {
		return nil, err
	}
	inputs := []analyze.Named{{Name: demo.First}, {Name: demo.Second}}
	for i, content := range [][]byte{first, second} {
		if inputs[i].Snapshot, err = snapshot.Read(bytes.NewReader(content), int64(len(content))); err != nil {
			return nil, fmt.Errorf("recorded snapshot %s: %w", inputs[i].Name, err)
		}
	}
	return inputs, nil
}

// liveDemo starts the program, captures it after each of its two phases, and
// stops it.
func (a *app) liveDemo(ctx context.Context, home string) (inputs []analyze.Named, err error) {
	a.note("starting a Java server that leaks, with its clients, on %s", home)
	process, err := demo.Start(ctx, home)
	if err != nil {
		return nil, &failure{code: exitError, err: err, hint: "leakscope demo --recorded needs no JDK"}
	}
	defer func() { err = errors.Join(err, process.Stop()) }()
	for _, name := range []string{demo.First, demo.Second} {
		phase, err := process.Next(ctx)
		if err != nil {
			return nil, err
		}
		a.note("phase %d: %s", phase.Number, describePhase(phase))
		if !sleepUntil(ctx, time.Now().Add(demoSettle)) {
			return nil, context.Cause(ctx)
		}
		s, err := a.demoCapture(ctx, process.PID())
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, analyze.Named{Name: name, Snapshot: s})
	}
	return inputs, nil
}

// demoCapture captures the program from outside, or by a heap dump where that
// can't be.
func (a *app) demoCapture(ctx context.Context, pid int) (*snapshot.Snapshot, error) {
	o := capture.Options{PID: pid, Version: version, Announce: a.announce}
	for {
		bar := a.progress()
		o.Progress = bar.report
		s, err := capture.Run(ctx, o)
		bar.finish()
		switch {
		case err != nil:
			return nil, captureError(err, 0)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		a.describe(s)
		if s.Heap != nil {
			return s, nil
		}
		if err := missing(s, o); err != nil {
			return nil, err
		}
		o.Parts = []capture.Part{capture.PartMmap, capture.PartConnections, capture.PartJVM, capture.PartHeap}
	}
}

// describePhase is what the program says it holds, to compare the report with.
func describePhase(phase demo.Phase) string {
	var sum demo.Held
	for _, held := range phase.States {
		sum.Connections += held.Connections
		sum.Bytes += held.Bytes
	}
	return fmt.Sprintf("the server says that %d sessions hold %s", sum.Connections, units.Bytes(sum.Bytes))
}

// checkKept refuses a directory whose files are taken before anything starts.
func (f *demoFlags) checkKept() error {
	if f.keep == "" || f.outputs.force {
		return nil
	}
	for _, name := range []string{demo.First, demo.Second} {
		file := filepath.Join(f.keep, name)
		if _, err := os.Lstat(file); err == nil {
			return &snapshot.ExistsError{Path: file}
		}
	}
	return nil
}

// write keeps the snapshots where that was asked for.
func (f *demoFlags) write(inputs []analyze.Named) error {
	if f.keep == "" {
		return nil
	}
	if err := os.MkdirAll(f.keep, 0o755); err != nil {
		return fmt.Errorf("keep the snapshots: %w", err)
	}
	for _, input := range inputs {
		if err := snapshot.WriteFile(filepath.Join(f.keep, input.Name), input.Snapshot, f.outputs.force); err != nil {
			return err
		}
	}
	return nil
}

// repeat says how to do by hand what the demo did.
func (a *app) repeat(f *demoFlags) {
	if f.keep != "" {
		a.note("the snapshots are kept; the same report: leakscope diff %s %s --idle %s",
			filepath.Join(f.keep, demo.First), filepath.Join(f.keep, demo.Second), f.idle)
	}
	a.note("the same by hand, on a JVM of your own:")
	for _, line := range []string{
		"leakscope capture PID -o " + demo.First,
		"leakscope capture PID -o " + demo.Second + "     # a minute later",
		"leakscope diff " + demo.First + " " + demo.Second,
	} {
		_, _ = fmt.Fprintf(a.stderr, "  %s\n", line)
	}
}
