package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/analyze"
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
			if f.retainers < 0 {
				return usageError("e.g. --top-retainers=10", "--top-retainers %d: want 0 or more", f.retainers)
			}
			limits, err := f.limits()
			if err != nil {
				return err
			}
			result, gate, proof, err := readResult(args[0], limits)
			switch {
			case err != nil:
				return err
			case proof != nil:
				if err := checkProofFormats(outputs); err != nil {
					return err
				}
				return f.renderProof(a, outputs, proof)
			}
			return renderError(f.render(a, outputs, result, gate))
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	cmd.Flags().IntVar(&f.retainers, "top-retainers", 0, "show so many steps of the tree of retained sizes: what would be freed if they were gone")
	cmd.Flags().Lookup("top-retainers").NoOptDefVal = "10"
	return cmd
}

// readResult reads a snapshot, a saved result, or a saved proof; it is told by
// its first bytes.
func readResult(path string, o analyze.Options) (*analyze.Result, *policy.Outcome, *analyze.Proof, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { _ = f.Close() }()
	whole := func() io.Reader { return io.NewSectionReader(f, 0, 1<<62) }
	var first [1]byte
	if _, err := f.ReadAt(first[:], 0); err == nil && first[0] == '{' {
		var result *analyze.Result
		var gate *policy.Outcome
		var proof *analyze.Proof
		if report.IsProof(whole()) {
			proof, err = report.ReadProof(whole())
		} else {
			result, gate, err = report.ReadJSON(whole())
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("file %q: %w", path, err)
		}
		return result, gate, proof, nil
	}
	s, err := snapshot.ReadFile(path)
	if err != nil {
		return nil, nil, nil, err
	}
	return analyze.Report(analyze.Named{Name: filepath.Base(path), Snapshot: s}, o), nil, nil, nil
}
