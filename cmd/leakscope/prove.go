package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
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
	if len(runs.before) < 2 || len(runs.after) < 2 || len(args) > 0 {
		return usageError("leakscope diff --before A1 A2 --after B1 B2", "--before and --after take two snapshots or more each")
	}
	outputs, err := f.check(a)
	if err != nil {
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
	if err != nil {
		return err
	}
	proof.Tool.Name, proof.Tool.Version = "leakscope", version
	err = f.outputs.write(a.stdout, outputs, func(w io.Writer, format string, _ bool) error {
		switch format {
		case "json":
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(proof)
		case "table":
			return printProof(w, proof)
		}
		return usageError("table or json", "two runs cannot be shown in this format")
	})
	if err != nil || f.exitZero {
		return err
	}
	switch proof.Outcome {
	case analyze.Fixed:
		return nil
	case analyze.Unproven:
		return &failure{code: exitUnjudged, err: errors.New("not decided whether it is fixed"), hint: "capture both runs with --heap, under the same load"}
	}
	return &failure{code: exitGate, err: fmt.Errorf("not fixed: %s", proof.Outcome)}
}

// printProof writes a proof for a terminal.
func printProof(w io.Writer, p *analyze.Proof) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", strings.ToUpper(string(p.Outcome)))
	for _, reason := range p.Reasons {
		fmt.Fprintf(&b, "  %s\n", reason)
	}
	if len(p.Findings) > 0 {
		b.WriteString("\nfindings\n")
	}
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "  %-8s %s\n           before: %s, after: %s\n", f.Change, f.ID, cmp.Or(string(f.Before), "none"), cmp.Or(string(f.After), "none"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
