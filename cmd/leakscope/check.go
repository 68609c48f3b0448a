package main

import (
	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

func (a *app) checkCommand() *cobra.Command {
	var f diffFlags
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
		RunE: func(cmd *cobra.Command, args []string) error {
			if initialize {
				return a.initPolicy(&f, args)
			}
			rules, err := f.readPolicy(cmd)
			if err != nil {
				return err
			}
			return a.compare(&f, args, rules)
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	f.registerPolicy(cmd)
	cmd.Flags().BoolVar(&initialize, "init", false, "print a policy derived from this healthy pair of snapshots")
	return cmd
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
