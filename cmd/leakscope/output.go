package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/snapshot"
)

// outputs is the --format flag: NAME or NAME=FILE, repeatable, at most one to
// stdout.
type outputs struct {
	specs []string
	force bool
}

// output is one format and where it goes; an empty file is stdout.
type output struct{ format, file string }

func (o *outputs) register(cmd *cobra.Command, formats []string) {
	cmd.Flags().StringArrayVarP(&o.specs, "format", "f", nil,
		"output NAME[=FILE], repeatable: "+strings.Join(formats, ", ")+" (default table)")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace existing files")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// parse checks the flag before any work is done.
func (o *outputs) parse(formats []string) ([]output, error) {
	specs := o.specs
	if len(specs) == 0 {
		specs = []string{"table"}
	}
	var all []output
	toStdout := ""
	for _, spec := range specs {
		name, file, named := strings.Cut(spec, "=")
		if !slices.Contains(formats, name) {
			return nil, usageError("the formats are "+strings.Join(formats, ", "), "unknown format %q", name)
		}
		if named && file == "" {
			return nil, usageError("write --format "+name+"=FILE, or --format "+name+" for stdout", "format %q has an empty file name", name)
		}
		if file == "-" {
			file = ""
		}
		if file == "" {
			if toStdout != "" {
				return nil, usageError("give one of them a file: --format "+name+"=FILE", "formats %s and %s would both go to stdout", toStdout, name)
			}
			toStdout = name
		}
		if file != "" && slices.ContainsFunc(all, func(x output) bool { return x.file != "" && filepath.Clean(x.file) == filepath.Clean(file) }) {
			return nil, usageError("give each format a file of its own", "two formats would go to %q", file)
		}
		if file != "" && !o.force {
			if _, err := os.Lstat(file); err == nil {
				return nil, &snapshot.ExistsError{Path: file}
			}
		}
		all = append(all, output{name, file})
	}
	return all, nil
}

// write renders every output. All are rendered before any is written, so that
// an error leaves nothing half done.
func (o *outputs) write(stdout io.Writer, all []output, render func(w io.Writer, format string, file bool) error) error {
	rendered := make([]bytes.Buffer, len(all))
	for i, out := range all {
		if err := render(&rendered[i], out.format, out.file != ""); err != nil {
			return fmt.Errorf("format %s: %w", out.format, err)
		}
	}
	for i, out := range all {
		if out.file == "" {
			continue
		}
		err := snapshot.WriteFileAtomically(out.file, o.force, func(w io.Writer) error {
			_, err := rendered[i].WriteTo(w)
			return err
		})
		if err != nil {
			return err
		}
	}
	for i, out := range all {
		if out.file != "" {
			continue
		}
		if _, err := rendered[i].WriteTo(stdout); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
	}
	return nil
}
