package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/schema"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema NAME",
		Short:     "print a published JSON Schema",
		Long:      "schema prints the JSON Schema of a format that leakscope writes or reads.\n\nThe schemas: " + strings.Join(schema.Names(), ", ") + ".",
		Args:      cobra.ExactArgs(1),
		ValidArgs: schema.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			text, ok := schema.Named(args[0])
			if !ok {
				return usageError("the schemas are "+strings.Join(schema.Names(), ", "), "no schema is called %q", args[0])
			}
			_, err := fmt.Fprintf(a.stdout, "%s", text)
			return err
		},
	}
}
