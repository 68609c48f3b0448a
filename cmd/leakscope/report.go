package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/term"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/report"
	"github.com/leakscope/leakscope/snapshot"
)

func (a *app) reportCommand() *cobra.Command {
	var f resultFlags
	cmd := &cobra.Command{
		Use:   "report FILE",
		Short: "render one snapshot, or a saved JSON result, in any format",
		Example: `  leakscope report first.lscope
  leakscope diff a.lscope b.lscope --format json=result.json
  leakscope report result.json --format markdown`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			outputs, err := f.check(a)
			if err != nil {
				return err
			}
			limits, err := f.limits()
			if err != nil {
				return err
			}
			result, gate, err := readResult(args[0], limits)
			if err != nil {
				return err
			}
			return renderError(f.render(a, outputs, result, gate))
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	return cmd
}

// readResult reads a snapshot or a saved result; it is told by its first byte.
func readResult(path string, o analyze.Options) (*analyze.Result, *policy.Outcome, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	var first [1]byte
	if _, err := f.ReadAt(first[:], 0); err == nil && first[0] == '{' {
		result, gate, err := report.ReadJSON(io.NewSectionReader(f, 0, 1<<62))
		if err != nil {
			return nil, nil, fmt.Errorf("file %q: %w", path, err)
		}
		return result, gate, nil
	}
	s, err := snapshot.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return analyze.Report(analyze.Named{Name: filepath.Base(path), Snapshot: s}, o), nil, nil
}

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
