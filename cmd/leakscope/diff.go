package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/report"
)

// diffFlags are those of diff and check.
type diffFlags struct {
	resultFlags
	failOn   []string
	exitZero bool
	before   []string
	after    []string
	explain  bool
}

func (a *app) diffCommand() *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff BASE HEAD...",
		Short: "compare two or more snapshots of one process: verdict, states, holders",
		Long: `diff compares snapshots of one process, the first with the last, and follows the
trend over all of them. It says first whether off-heap memory leaks, then which
connections in which lifecycle state hold it, and through which objects.

Two snapshots prove a leak by structure: more memory that nothing will ever use
again. Four or more prove it by growth. Snapshots of different processes are
refused with exit code 4.

With --before and --after it compares two runs of a program instead, one before
a change and one after it: exit code 0 means fixed, 3 not fixed, 4 not decided.`,
		Example: `  leakscope diff first.lscope second.lscope
  leakscope diff *.lscope --format json | jq .summary
  leakscope diff a.lscope b.lscope --fail-on 'delta.retained_bytes{state="peer-closed"} > 8MiB'
  leakscope diff --before a1.lscope a2.lscope --after b1.lscope b2.lscope`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(f.before) > 0 || len(f.after) > 0 {
				return a.prove(&f, args)
			}
			return a.compare(&f, args, nil)
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	f.registerGate(cmd)
	cmd.Flags().StringArrayVar(&f.before, "before", nil, "the `SNAPSHOTS` of a run before a change")
	cmd.Flags().StringArrayVar(&f.after, "after", nil, "the `SNAPSHOTS` of a run after it")
	return cmd
}

func (f *diffFlags) registerGate(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.failOn, "fail-on", nil, "exit with 3 when the `CONDITION` holds, with 4 when it cannot be judged; repeatable")
	cmd.Flags().BoolVar(&f.exitZero, "exit-zero", false, "report only: a gate that fails, or cannot be judged, does not change the exit code")
}

// runFlags are the flags of diff that take every following argument.
var runFlags = map[string]bool{"--before": true, "--after": true}

// expandRuns writes "--before A B" as "--before A --before B", which is what
// the flag package understands.
func expandRuns(args []string) []string {
	var out []string
	current := ""
	for _, arg := range args {
		switch {
		case runFlags[arg]:
			current = arg
		case strings.HasPrefix(arg, "-") && arg != "-":
			if current != "" && len(out) > 0 && out[len(out)-1] == current {
				out = append(out, "")
			}
			current = ""
			out = append(out, arg)
		case current != "":
			out = append(out, current, arg)
		default:
			out = append(out, arg)
		}
	}
	return out
}

// compare diffs, holds the rules against the result, renders, and judges.
func (a *app) compare(f *diffFlags, paths []string, rules *policy.Policy) error {
	outputs, err := f.check(a)
	if err != nil {
		return err
	}
	limits, err := f.limits()
	if err != nil {
		return err
	}
	if len(f.failOn) > 0 {
		extra, err := policy.FromExpressions(f.failOn)
		if err != nil {
			return &failure{code: exitUsage, err: err}
		}
		if rules == nil {
			rules = extra
		} else if rules, err = policy.Join(rules, extra); err != nil {
			return &failure{code: exitUsage, err: err}
		}
	}
	inputs, err := readSnapshots(paths)
	if err != nil {
		return err
	}
	result, err := analyze.Diff(inputs, limits)
	var differ *analyze.NotComparableError
	switch {
	case errors.As(err, &differ) && rules != nil:
		return a.refuse(f, outputs, rules, differ)
	case err != nil:
		return err
	}
	var gate *policy.Outcome
	if rules != nil {
		gate = policy.Evaluate(rules, result, time.Now())
	}
	if err := f.render(a, outputs, result, gate); err != nil {
		return renderError(err)
	}
	if f.explain && gate != nil {
		to := a.stderr // stdout has another format
		if len(outputs) == 0 || outputs[0].format == "table" && outputs[0].file == "" {
			to = a.stdout
		}
		if err := explainGate(to, gate); err != nil {
			return err
		}
	}
	return f.judge(gate)
}

// refuse reports a gate that cannot be judged because there is nothing to
// judge: the files a pipeline waits for are written all the same.
func (a *app) refuse(f *diffFlags, outputs []output, rules *policy.Policy, differ *analyze.NotComparableError) error {
	gate := policy.CannotJudge(rules, differ.Error(), time.Now())
	if err := f.render(a, outputs, analyze.Nothing(differ), gate); err != nil {
		return renderError(err)
	}
	if f.exitZero {
		return nil
	}
	return differ
}

func renderError(err error) error {
	if errors.Is(err, report.ErrNeedsGate) {
		return &failure{code: exitUsage, err: err, hint: "use leakscope check, or add --fail-on"}
	}
	return err
}

// judge turns a gate into an exit code.
func (f *diffFlags) judge(gate *policy.Outcome) error {
	if gate == nil || f.exitZero {
		return nil
	}
	why := strings.Join(gate.Reasons, "; ")
	switch gate.Gate {
	case policy.Failed:
		return &failure{code: exitGate, err: fmt.Errorf("the gate failed: %s", why)}
	case policy.Unjudged:
		return &failure{code: exitUnjudged, err: fmt.Errorf("the gate could not be judged: %s", why), hint: "leakscope inspect FILE shows what evidence is missing"}
	}
	return nil
}

// prove compares two runs.
func (a *app) prove(f *diffFlags, args []string) error {
	if len(f.before) < 2 || len(f.after) < 2 || len(args) > 0 {
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
	before, err := readSnapshots(f.before)
	if err != nil {
		return err
	}
	after, err := readSnapshots(f.after)
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

func (a *app) checkCommand() *cobra.Command {
	var f diffFlags
	var file string
	var initialize bool
	cmd := &cobra.Command{
		Use:   "check BASE HEAD...",
		Short: "compare snapshots and hold a policy against the result: the CI gate",
		Long: `check is diff and a gate. Rules come from --policy FILE, from --fail-on, or,
where neither is given, from a built-in policy that fails on a leak. No policy
file is ever looked for elsewhere, and none passes because evidence is missing.

Exit codes: 0 the gate passed, 3 it failed, 4 it could not be judged (evidence
missing, snapshots not comparable, too few samples), 1 it did not work, 2 wrong
usage or policy. 1 and 2 come before 3, 3 before 4.`,
		Example: `  leakscope check first.lscope second.lscope
  leakscope check first.lscope second.lscope --policy leakscope.yaml --format junit=leakscope.xml
  leakscope check healthy1.lscope healthy2.lscope --init > leakscope.yaml`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if initialize {
				return a.initPolicy(&f, args)
			}
			rules, err := readPolicy(file, len(f.failOn) > 0)
			if err != nil {
				return err
			}
			return a.compare(&f, args, rules)
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	f.registerGate(cmd)
	cmd.Flags().StringVar(&file, "policy", "", "the rules, in YAML (doc/policy.md)")
	cmd.Flags().BoolVar(&initialize, "init", false, "print a policy derived from this healthy pair of snapshots")
	cmd.Flags().BoolVar(&f.explain, "explain", false, "show each metric's value, where it comes from, and how each rule was judged")
	return cmd
}

// readPolicy reads the file that was named, or falls back to the built-in
// rules when there is no rule at all.
func readPolicy(file string, others bool) (*policy.Policy, error) {
	if file == "" {
		if others {
			return nil, nil
		}
		return policy.Default(), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &failure{code: exitUsage, err: fmt.Errorf("policy: %w", err), hint: "leakscope check BASE HEAD --init writes one"}
	}
	rules, err := policy.Parse(text, file)
	if err != nil {
		return nil, &failure{code: exitUsage, err: err}
	}
	return rules, nil
}

func (a *app) initPolicy(f *diffFlags, paths []string) error {
	limits, err := f.limits()
	if err != nil {
		return err
	}
	inputs, err := readSnapshots(paths)
	if err != nil {
		return err
	}
	result, err := analyze.Diff(inputs, limits)
	if err != nil {
		return err
	}
	text, err := policy.Init(result)
	if err != nil {
		return &failure{code: exitUnjudged, err: err, hint: "take a pair of snapshots of a healthy run, with --heap"}
	}
	_, err = a.stdout.Write(text)
	return err
}
