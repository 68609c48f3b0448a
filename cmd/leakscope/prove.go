package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/report"
	"github.com/leakscope/leakscope/snapshot"
)

// runsFlags name the snapshots of two runs.
type runsFlags struct{ before, after []string }

func (f *runsFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.before, "before", nil, "the `SNAPSHOTS` of a run before a change")
	cmd.Flags().StringArrayVar(&f.after, "after", nil, "the `SNAPSHOTS` of a run after it")
}

// listFlags are the flags of diff that take every following argument.
var listFlags = []string{"--before", "--after"}

// expandRuns writes "diff --before A B" as "diff --before=A --before=B", which
// is what the flag package understands. Command lines of other commands are
// left as they are.
func expandRuns(args []string) []string {
	at := slices.Index(args, "diff")
	if at < 0 || slices.Contains(args[:at], "run") {
		return args
	}
	out := slices.Clone(args[:at])
	current, taken := "", false
	leave := func() {
		if current != "" && !taken {
			out = append(out, current+"=") // so that it is missed
		}
		current, taken = "", false
	}
	for i, arg := range args[at:] {
		switch {
		case arg == "--":
			leave()
			return append(out, args[at+i:]...)
		case slices.Contains(listFlags, arg):
			leave()
			current = arg
		case strings.HasPrefix(arg, "-") && arg != "-":
			leave()
			out = append(out, arg)
		case current != "":
			out, taken = append(out, current+"="+arg), true
		default:
			out = append(out, arg)
		}
	}
	leave()
	return out
}

// prove compares two runs.
func (a *app) prove(f *diffFlags, runs runsFlags, args []string) error {
	switch {
	case len(runs.before) < 2 || len(runs.after) < 2 || len(args) > 0:
		return usageError("leakscope diff --before A1 A2 --after B1 B2", "--before and --after take two snapshots or more each")
	case len(f.failOn) > 0:
		return usageError("leakscope check judges one run; the exit code of two runs says whether the second is fixed", "--fail-on is about one run, not two")
	}
	outputs, err := f.check(a)
	if err != nil {
		return err
	}
	if err := checkProofFormats(outputs); err != nil {
		return err
	}
	limits, err := f.limits()
	if err != nil {
		return err
	}
	before, err := readSnapshots(runs.before)
	if err != nil {
		return err
	}
	after, err := readSnapshots(runs.after)
	if err != nil {
		return err
	}
	proof, err := analyze.Prove(before, after, limits)
	var differ *analyze.NotComparableError
	if errors.As(err, &differ) {
		proof = analyze.NotProven(err) // the files a pipeline waits for are written all the same
	} else if err != nil {
		return err
	}
	if err := f.renderProof(a, outputs, proof); err != nil || f.exitZero {
		return err
	}
	switch {
	case differ != nil:
		return differ
	case proof.Outcome == analyze.Fixed:
		return nil
	case proof.Outcome == analyze.Unproven:
		return &failure{code: exitUnjudged, err: errors.New("not decided whether it is fixed"), hint: "capture both runs with --heap, under the same load"}
	}
	return &failure{code: exitGate, err: fmt.Errorf("not fixed: %s", proof.Outcome)}
}

// checkProofFormats refuses formats that are about one run.
func checkProofFormats(outputs []output) error {
	for _, out := range outputs {
		if !slices.Contains(report.ProofFormats(), out.format) {
			return usageError("two runs can be shown as "+strings.Join(report.ProofFormats(), ", "), "format %s is about one run, not two", out.format)
		}
	}
	return nil
}

// renderProof writes a proof in every format asked for.
func (f *resultFlags) renderProof(a *app, outputs []output, proof *analyze.Proof) error {
	tool := snapshot.Tool{Name: "leakscope", Version: version}
	proof.Tool = tool
	for _, r := range []*analyze.Result{proof.Before, proof.After} {
		if r != nil {
			r.Tool = tool
		}
	}
	err := f.outputs.write(a.stdout, outputs, func(w io.Writer, format string, file bool) error {
		return report.WriteProof(format, w, proof, a.reportOptions(file, f))
	})
	if err != nil {
		return err
	}
	return a.githubSummary(outputs, func(w io.Writer) error {
		return report.ProofSummary(w, proof, a.reportOptions(true, f))
	})
}
