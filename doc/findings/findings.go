// Package findings holds the full page of each cause that a report can name:
// what it means, how it is recognised, how to fix it, how to verify the fix.
// The pages are Markdown, read as they are in a terminal.
package findings

import (
	"embed"
	"path"
	"slices"
	"strings"
)

//go:embed *.md
var pages embed.FS

// Causes lists the causes that have a page, sorted.
func Causes() []string {
	entries, err := pages.ReadDir(".")
	if err != nil {
		return nil // an embedded directory is always there
	}
	var causes []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), path.Ext(e.Name())); ok {
			causes = append(causes, name)
		}
	}
	slices.Sort(causes)
	return causes
}

// Page returns the page of a cause, or of a finding's id, whose part before
// the first slash is its cause.
func Page(id string) (string, bool) {
	cause, _, _ := strings.Cut(id, "/")
	text, err := pages.ReadFile(cause + ".md")
	return string(text), err == nil
}
