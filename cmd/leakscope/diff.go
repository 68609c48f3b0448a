package main

import (
	"github.com/spf13/cobra"
)

func (a *app) diffCommand() *cobra.Command {
	var f diffFlags
	var runs runsFlags
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
			if len(runs.before) > 0 || len(runs.after) > 0 {
				return a.prove(&f, runs, args)
			}
			return a.compare(&f, args, nil)
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	f.registerGate(cmd)
	runs.register(cmd)
	return cmd
}
