package report

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// Format is one way to write a result.
type Format struct {
	Name        string
	Extension   string // of a file in it, with the dot
	Description string // for --help
	Binary      bool   // never for a terminal
	NeedsGate   bool   // it shows rules: a policy must have been held against the result

	write func(io.Writer, *analyze.Result, *policy.Outcome, Options) error
}

// Formats lists every format, in the order --help shows them.
func Formats() []Format {
	return []Format{
		{Name: "table", Extension: ".txt", Description: "for a terminal", write: Table},
		{
			Name: "json", Extension: ".json", Description: "the whole result, by a published schema",
			write: func(w io.Writer, r *analyze.Result, gate *policy.Outcome, _ Options) error { return JSON(w, r, gate) },
		},
		{Name: "markdown", Extension: ".md", Description: "a comment for a pull request", write: Markdown},
		{Name: "github", Extension: ".txt", Description: "workflow annotations, and the step summary", write: GitHub},
		{Name: "sarif", Extension: ".sarif", Description: "SARIF 2.1.0: a result for each rule that does not pass", NeedsGate: true, write: SARIF},
		{Name: "junit", Extension: ".xml", Description: "a test case for each rule", NeedsGate: true, write: JUnit},
		{Name: "prometheus", Extension: ".prom", Description: "text exposition", write: Prometheus},
		{Name: "pprof", Extension: ".pb.gz", Description: "the difference as a profile", Binary: true, write: Pprof},
	}
}

// ErrNeedsGate is returned by [Write] for a format that shows rules when there
// is no outcome of any.
var ErrNeedsGate = errors.New("the format shows the rules of a policy, and none was held against the result")

// UnknownFormatError says that there is no format of a name.
type UnknownFormatError struct{ Name string }

func (e *UnknownFormatError) Error() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return fmt.Sprintf("unknown format %q: the formats are %s", e.Name, strings.Join(names, ", "))
}

// Write writes a result in the format of that name. gate is nil when no policy
// was held against the result.
func Write(format string, w io.Writer, r *analyze.Result, gate *policy.Outcome, o Options) error {
	for _, f := range Formats() {
		if f.Name != format {
			continue
		}
		if f.NeedsGate && gate == nil {
			return fmt.Errorf("format %s: %w", format, ErrNeedsGate)
		}
		return f.write(w, r, gate, o)
	}
	return &UnknownFormatError{format}
}
