package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/term"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/report"
	"github.com/leakscope/leakscope/snapshot"
)

// resultFlags are those of every command that renders a result.
type resultFlags struct {
	outputs       outputs
	top           int
	retainers     int
	all           bool
	showAddresses bool
	idle          time.Duration
	noise         string
}

func (f *resultFlags) register(cmd *cobra.Command) {
	f.outputs.register(cmd, formatNames())
	cmd.Flags().IntVar(&f.top, "top", 10, "rows of holders, connections and findings in a table")
	cmd.Flags().BoolVar(&f.all, "all", false, "all rows")
	cmd.Flags().BoolVar(&f.showAddresses, "show-addresses", false, "do not mask addresses in the formats that are published (table and json always show them)")
}

func (f *resultFlags) registerLimits(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.idle, "idle", 10*time.Second, "an established connection on which nothing moved for so long is idle")
	cmd.Flags().StringVar(&f.noise, "noise", "256KiB", "growth of retained memory up to this `SIZE`, or one percent, counts as steady")
}

func formatNames() []string {
	var names []string
	for _, f := range report.Formats() {
		names = append(names, f.Name)
	}
	return names
}

// limits checks the flags that turn evidence into words.
func (f *resultFlags) limits() (analyze.Options, error) {
	if f.idle <= 0 {
		return analyze.Options{}, usageError("e.g. --idle 10s", "--idle %s: want more than nothing", f.idle)
	}
	noise, err := units.ParseBytes(f.noise)
	if err != nil {
		return analyze.Options{}, usageError("e.g. --noise 256KiB", "--noise: %w", err)
	}
	return analyze.Options{IdleSeconds: f.idle.Seconds(), NoiseBytes: noise}, nil
}

// check parses the output flags before any work is done.
func (f *resultFlags) check(a *app) ([]output, error) {
	all, err := f.outputs.parse(formatNames())
	if err != nil {
		return nil, err
	}
	if _, err := term.ParseColorMode(a.color); err != nil {
		return nil, usageError("--color auto, always or never", "--color: %w", err)
	}
	for _, format := range report.Formats() {
		for _, out := range all {
			if out.format == format.Name && out.file == "" && format.Binary && term.IsTerminal(a.stdout) {
				return nil, usageError("--format "+format.Name+"=FILE, or redirect stdout", "format %s is binary and stdout is a terminal", format.Name)
			}
		}
	}
	return all, nil
}

// render writes a result in every format asked for.
func (f *resultFlags) render(a *app, all []output, r *analyze.Result, gate *policy.Outcome) error {
	r.Tool = snapshot.Tool{Name: "leakscope", Version: version}
	err := f.outputs.write(a.stdout, all, func(w io.Writer, format string, file bool) error {
		return report.Write(format, w, r, gate, a.reportOptions(file, f))
	})
	if err != nil {
		return err
	}
	return a.githubSummary(all, func(w io.Writer) error {
		return report.GitHubSummary(w, r, gate, a.reportOptions(true, f))
	})
}

// reportOptions fits a report to where it goes.
func (a *app) reportOptions(file bool, f *resultFlags) report.Options {
	o := report.Options{Top: f.top, Retainers: f.retainers, ShowAddresses: f.showAddresses}
	if f.all {
		o.Top = -1
		if o.Retainers > 0 {
			o.Retainers = -1
		}
	}
	mode, err := term.ParseColorMode(a.color)
	if err != nil || file {
		return o
	}
	o.Color = term.Colored(a.stdout, mode, os.LookupEnv)
	o.Width = term.Width(a.stdout, os.LookupEnv)
	return o
}

// githubSummary appends to the step summary where the format of a workflow was
// asked for and its runner names one.
func (a *app) githubSummary(all []output, write func(io.Writer) error) error {
	path := os.Getenv("GITHUB_STEP_SUMMARY")
	if path == "" || !slices.ContainsFunc(all, func(out output) bool { return out.format == "github" }) {
		return nil
	}
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("step summary: %w", err)
	}
	_, err = text.WriteTo(file)
	return errors.Join(err, file.Close())
}

// readSnapshots reads the snapshots of a diff, named by their base names.
func readSnapshots(paths []string) ([]analyze.Named, error) {
	var all []analyze.Named
	for _, path := range paths {
		s, err := snapshot.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, analyze.Named{Name: filepath.Base(path), Snapshot: s})
	}
	return all, nil
}
