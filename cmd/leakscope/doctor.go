package main

import (
	"errors"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/capture/doctor"
	"github.com/leakscope/leakscope/internal/term"
	"github.com/leakscope/leakscope/report"
)

func (a *app) doctorCommand() *cobra.Command {
	var out outputs
	var pid int
	formats := []string{"table", "json"}
	cmd := &cobra.Command{
		Use:   "doctor PID",
		Short: "show what can be captured of a process, what not, and what each level costs",
		Long: `doctor looks at a running process and says what can be captured of it and what
not, each with the way out, and what each level of capture would cost: how long
it takes, how long the target pauses, and what memory and disk it needs.

It only looks: no signal is sent, nothing is asked of the target, nothing is
written, and none of its threads stops. What it finds does not change its exit
code: 0 when it could look, 1 when there is no such process.`,
		Example: `  leakscope doctor 4242
  leakscope doctor --format json 4242`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := out.parse(formats)
			if err != nil {
				return err
			}
			if _, err := term.ParseColorMode(a.color); err != nil {
				return usageError("--color auto, always or never", "--color: %w", err)
			}
			if pid, err = onePID(pid, args); err != nil {
				return err
			}
			e, err := doctor.Examine(cmd.Context(), doctor.Options{PID: pid, Version: version})
			if errors.Is(err, doctor.ErrNoTarget) {
				return &failure{code: exitError, err: err, hint: "pgrep -a java lists JVMs"}
			}
			if err != nil {
				return err
			}
			return out.write(a.stdout, all, func(w io.Writer, format string, file bool) error {
				if format == "json" {
					return report.ExaminationJSON(w, e)
				}
				return report.Examination(w, e, a.reportOptions(file, &resultFlags{}))
			})
		},
	}
	cmd.Flags().IntVarP(&pid, "pid", "p", 0, "the process, instead of an argument")
	out.register(cmd, formats)
	return cmd
}

// onePID is the process that a flag or an argument names.
func onePID(flag int, args []string) (int, error) {
	const list = "pgrep -a java lists JVMs"
	pid := flag
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		switch {
		case err != nil || n <= 0:
			return 0, usageError(list, "%q is no process id", args[0])
		case flag != 0 && flag != n:
			return 0, usageError("give one of them", "two process ids: %d and --pid %d", n, flag)
		}
		pid = n
	}
	switch {
	case pid < 0:
		return 0, usageError(list, "--pid %d is no process id", pid)
	case pid == 0:
		return 0, usageError("leakscope doctor PID; "+list, "which process?")
	}
	return pid, nil
}
