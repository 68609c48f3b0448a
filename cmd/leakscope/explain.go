package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/doc/findings"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "explain CAUSE",
		Short:     "print the full page of a finding: what it means and how to fix it",
		Long:      "explain prints what a finding means, how it is recognised, how to fix it and how\nto verify the fix. It takes a cause, or the id of a finding.\n\nThe causes: " + strings.Join(findings.Causes(), ", ") + ".",
		Example:   "  leakscope explain no-release\n  leakscope explain no-termination/socket/NioSocketChannel/Entry.msg",
		Args:      cobra.ExactArgs(1),
		ValidArgs: findings.Causes(),
		RunE: func(_ *cobra.Command, args []string) error {
			page, ok := findings.Page(args[0])
			if !ok {
				return usageError("the causes are "+strings.Join(findings.Causes(), ", "), "no finding is called %q", args[0])
			}
			_, err := io.WriteString(a.stdout, page)
			return err
		},
	}
}
