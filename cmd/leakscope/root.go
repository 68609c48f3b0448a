package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// app is what commands share: the two streams and the flags that hold for all.
type app struct {
	stdout, stderr io.Writer
	color          string
}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	ctx, stop := withSignals(context.Background())
	defer stop()
	root := a.rootCommand()
	root.SetArgs(expandRuns(args))
	err := root.ExecuteContext(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	code, hint := exitCode(err)
	if err != nil {
		complain(stderr, err, hint)
	}
	return code
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "leakscope",
		Short: "find off-heap memory leaks in running processes",
		Long: `leakscope tells which off-heap memory a running process keeps, which connection
keeps it, in which lifecycle state that connection is, and whether it is a leak.

  leakscope capture PID            take a snapshot; again a minute later
  leakscope diff FIRST SECOND      verdict, states, holders

The default capture sends no signal to the target, stops none of its threads
and writes no file in it. Exit codes: 0 done, 1 it did not work, 2 wrong usage,
3 the gate failed, 4 the gate could not be judged, 130 and 143 interrupted.`,
		SuggestionsMinimumDistance: 2,

		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.color, "color", "auto", "colour the output: auto, always or never")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(cmd.CommandPath()+" --help lists the flags", "%w", err)
	})
	root.AddCommand(a.captureCommand(), a.diffCommand(), a.checkCommand(), a.runCommand(), a.reportCommand(),
		a.inspectCommand(), a.doctorCommand(), a.explainCommand(), a.schemaCommand(), a.demoCommand(), a.versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	completionNeedsShell(root)
	strictArguments(root)
	return root
}

// completionNeedsShell makes completion without a shell, or with one that there
// is no script for, a usage error.
func completionNeedsShell(root *cobra.Command) {
	cmd, _, err := root.Find([]string{"completion"})
	if err != nil || cmd == root {
		return
	}
	var shells []string
	for _, sub := range cmd.Commands() {
		shells = append(shells, sub.Name())
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		list := "the shells are " + strings.Join(shells, ", ")
		if len(args) == 0 {
			return usageError(list, "which shell?")
		}
		return usageError(list, "no completion for %q", args[0])
	}
}

// strictArguments makes every wrong number of arguments and every unknown
// command a usage error with a hint, also where cobra would print help and
// succeed.
func strictArguments(cmd *cobra.Command) {
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			hint := cmd.CommandPath() + " --help shows what it takes"
			if near := cmd.SuggestionsFor(firstOf(args)); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, " or ") + "?"
			}
			return usageError(hint, "%w", err)
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		strictArguments(sub)
	}
}

func firstOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// warn prints a warning.
func (a *app) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, "leakscope: warning: %s\n", fmt.Sprintf(format, args...))
}

// note prints a line of progress or advice.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, "leakscope: %s\n", fmt.Sprintf(format, args...))
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "leakscope %s\n", version)
			return err
		},
	}
}
