// Package schema holds the published JSON Schemas (draft 2020-12) of what
// leakscope writes and reads: the JSON report, the comparison of two runs, the
// manifest of a snapshot, the output of inspect and of doctor, and the policy
// file.
//
// Nothing flows in; bytes flow out. A published schema is never edited, only
// added to: a new property raises the minor version of its format, anything
// else is a new schema with a new number. Schemas take unknown properties, so
// that a reader of an earlier minor version accepts a later one.
package schema

import (
	"embed"
	"slices"
)

//go:embed *-1.json
var files embed.FS

// names are the schemas by name, in the order help shows them.
var names = []string{"report", "snapshot", "inspection", "policy", "proof", "examination"}

// Names lists the schemas.
func Names() []string { return slices.Clone(names) }

// Named returns the newest schema of that name.
func Named(name string) (text []byte, ok bool) {
	if !slices.Contains(names, name) {
		return nil, false
	}
	text, err := files.ReadFile(name + "-1.json")
	return text, err == nil
}
