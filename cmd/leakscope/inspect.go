package main

import (
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/internal/term"
	"github.com/leakscope/leakscope/report"
	"github.com/leakscope/leakscope/snapshot"
)

func (a *app) inspectCommand() *cobra.Command {
	var out outputs
	formats := []string{"table", "json"}
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "show what is in a snapshot and how good its evidence is",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := out.parse(formats)
			if err != nil {
				return err
			}
			if _, err := term.ParseColorMode(a.color); err != nil {
				return usageError("--color auto, always or never", "--color: %w", err)
			}
			s, err := snapshot.ReadFile(args[0])
			if err != nil {
				return err
			}
			name := filepath.Base(args[0])
			return out.write(a.stdout, all, func(w io.Writer, format string, file bool) error {
				if format == "json" {
					return report.InspectJSON(w, name, s)
				}
				return report.Inspect(w, name, s, a.reportOptions(file, &resultFlags{top: 10}))
			})
		},
	}
	out.register(cmd, formats)
	return cmd
}
