package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/doc/findings"
	"github.com/leakscope/leakscope/schema"
)

func (a *app) explainCommand() *cobra.Command {
	return a.pageCommand(&cobra.Command{
		Use:   "explain CAUSE",
		Short: "print the full page of a finding: what it means and how to fix it",
		Long: `explain prints what a finding means, how it is recognised, how to fix it and how
to verify the fix. It takes a cause, or the id of a finding.`,
		Example: "  leakscope explain no-release\n  leakscope explain no-termination/socket/NioSocketChannel/Entry.msg",
	}, "finding", "causes", findings.Causes(), findings.Page)
}

func (a *app) schemaCommand() *cobra.Command {
	return a.pageCommand(&cobra.Command{
		Use:   "schema NAME",
		Short: "print a published JSON Schema",
		Long:  "schema prints the JSON Schema of a format that leakscope writes or reads.",
	}, "schema", "schemas", schema.Names(), func(name string) (string, bool) {
		text, ok := schema.Named(name)
		return string(text), ok
	})
}

// pageCommand completes a command that prints one of the pages built into the
// binary; one and many say what they are called.
func (a *app) pageCommand(cmd *cobra.Command, one, many string, names []string, page func(string) (string, bool)) *cobra.Command {
	list := "the " + many + " are " + strings.Join(names, ", ")
	cmd.Long += "\n\nT" + list[1:] + "."
	cmd.ValidArgs = names
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError(list, "which %s?", one)
		}
		text, ok := page(args[0])
		if !ok {
			return usageError(list, "no %s is called %q", one, args[0])
		}
		_, err := io.WriteString(a.stdout, text)
		return err
	}
	return cmd
}
