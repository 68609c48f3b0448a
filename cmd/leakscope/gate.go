package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/report"
)

// diffFlags are those of the commands that compare snapshots and may hold rules
// against the result.
type diffFlags struct {
	resultFlags
	policyFile string
	failOn     []string
	exitZero   bool
	explain    bool
}

func (f *diffFlags) registerGate(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.failOn, "fail-on", nil, "exit with 3 when the `CONDITION` holds, with 4 when it cannot be judged; repeatable")
	cmd.Flags().BoolVar(&f.exitZero, "exit-zero", false, "report only: a gate that fails, or cannot be judged, does not change the exit code")
}

// registerPolicy adds the flags of the commands that are a gate with or without
// rules of the user's.
func (f *diffFlags) registerPolicy(cmd *cobra.Command) {
	f.registerGate(cmd)
	cmd.Flags().StringVar(&f.policyFile, "policy", "", "the rules, in a YAML `FILE` (doc/policy.md; default: built in)")
	cmd.Flags().BoolVar(&f.explain, "explain", false, "show each metric's value, where it comes from, and how each rule was judged")
}

// plan is what a comparison is to do. It is made before any work is done, so
// that what is wrong with it costs nothing.
type plan struct {
	outputs []output
	limits  analyze.Options
	rules   *policy.Policy // nil: no gate
}

// plan checks the flags. rules, which may be nil, are joined by those of
// --fail-on.
func (f *diffFlags) plan(a *app, rules *policy.Policy) (*plan, error) {
	outputs, err := f.check(a)
	if err != nil {
		return nil, err
	}
	limits, err := f.limits()
	if err != nil {
		return nil, err
	}
	if len(f.failOn) > 0 {
		extra, err := policy.FromExpressions(f.failOn)
		if err != nil {
			return nil, &failure{code: exitUsage, err: err}
		}
		if rules == nil {
			rules = extra
		} else if rules, err = policy.Join(rules, extra); err != nil {
			return nil, &failure{code: exitUsage, err: err}
		}
	}
	if rules == nil {
		for _, format := range report.Formats() {
			if format.NeedsGate && slices.ContainsFunc(outputs, func(o output) bool { return o.format == format.Name }) {
				return nil, renderError(fmt.Errorf("format %s: %w", format.Name, report.ErrNeedsGate))
			}
		}
	}
	return &plan{outputs, limits, rules}, nil
}

// compare diffs snapshots of files.
func (a *app) compare(f *diffFlags, paths []string, rules *policy.Policy) error {
	p, err := f.plan(a, rules)
	if err != nil {
		return err
	}
	inputs, err := readSnapshots(paths)
	if err != nil {
		return err
	}
	return a.hold(f, p, inputs)
}

// hold diffs the inputs, holds the rules against the result, renders, and
// judges.
func (a *app) hold(f *diffFlags, p *plan, inputs []analyze.Named) error {
	result, err := analyze.Diff(inputs, p.limits)
	var differ *analyze.NotComparableError
	switch {
	case errors.As(err, &differ) && p.rules != nil:
		return a.refuse(f, p, differ)
	case err != nil:
		return err
	}
	var gate *policy.Outcome
	if p.rules != nil {
		gate = policy.Evaluate(p.rules, result, time.Now())
	}
	if err := f.render(a, p.outputs, result, gate); err != nil {
		return renderError(err)
	}
	if f.explain && gate != nil {
		to := a.stderr // stdout has another format
		if slices.Contains(p.outputs, output{format: "table"}) {
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
func (a *app) refuse(f *diffFlags, p *plan, differ *analyze.NotComparableError) error {
	gate := policy.CannotJudge(p.rules, differ.Error(), time.Now())
	if err := f.render(a, p.outputs, analyze.Nothing(differ), gate); err != nil {
		return renderError(err)
	}
	if f.exitZero {
		return nil
	}
	return differ
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

func renderError(err error) error {
	if errors.Is(err, report.ErrNeedsGate) {
		return &failure{code: exitUsage, err: err, hint: "use leakscope check, or add --fail-on"}
	}
	return err
}

// readPolicy reads the file that --policy names, or falls back to the built-in
// rules when there is no rule at all. An empty name, such as that of a variable
// which is not set, is no way to say that there is no policy.
func (f *diffFlags) readPolicy(cmd *cobra.Command) (*policy.Policy, error) {
	if f.policyFile == "" {
		switch {
		case cmd.Flags().Changed("policy"):
			return nil, usageError("leave --policy out for the built-in one", "--policy names no file")
		case len(f.failOn) > 0:
			return nil, nil
		}
		return policy.Default(), nil
	}
	text, err := os.ReadFile(f.policyFile)
	if err != nil {
		return nil, &failure{code: exitUsage, err: fmt.Errorf("policy: %w", err), hint: "leakscope check BASE HEAD --init writes one"}
	}
	rules, err := policy.Parse(text, f.policyFile)
	if err != nil {
		return nil, &failure{code: exitUsage, err: err}
	}
	return rules, nil
}
