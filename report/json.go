package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// document is the JSON form: the result, and beside it the gate when a policy
// was held against it.
type document struct {
	*analyze.Result
	Gate *policy.Outcome `json:"gate,omitempty"`
}

// JSON writes a result as the contract in doc/json.md: indented, sorted as the
// result is, no HTML escapes, arrays never null. gate is nil when no policy was
// held against the result.
func JSON(w io.Writer, r *analyze.Result, gate *policy.Outcome) error {
	return encodeJSON(w, document{rewritten(r, nil), rewritten(gate, nil)})
}

func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON report: %w", err)
	}
	return nil
}

// maxJSONBytes bounds a saved result that is read back.
const maxJSONBytes = 256 << 20

// FormatError says why a file is no saved result.
type FormatError struct{ Err error }

func (e *FormatError) Error() string { return "JSON report: " + e.Err.Error() }
func (e *FormatError) Unwrap() error { return e.Err }

// ReadJSON reads what [JSON] wrote, and the gate if it has one. It ignores
// unknown keys and refuses another schema or major version with a
// [FormatError].
func ReadJSON(from io.Reader) (*analyze.Result, *policy.Outcome, error) {
	d := document{Result: &analyze.Result{}}
	if err := readSaved(from, &d, func() (string, string) {
		if d.Result == nil {
			return "", ""
		}
		return d.Schema, d.FormatVersion
	}, analyze.Schema); err != nil {
		return nil, nil, err
	}
	return d.Result, d.Gate, nil
}

// ReadProof reads what [WriteProof] wrote as JSON, and refuses likewise.
func ReadProof(from io.Reader) (*analyze.Proof, error) {
	p := &analyze.Proof{}
	if err := readSaved(from, &p, func() (string, string) {
		if p == nil {
			return "", ""
		}
		return p.Schema, p.FormatVersion
	}, analyze.ProofSchema); err != nil {
		return nil, err
	}
	return p, nil
}

// readSaved decodes a saved document of a schema; version tells the schema and
// the format version that were read.
func readSaved(from io.Reader, into any, version func() (schema, format string), want string) error {
	bounded := &io.LimitedReader{R: from, N: maxJSONBytes + 1}
	dec := json.NewDecoder(bounded)
	if err := dec.Decode(into); err != nil {
		if bounded.N <= 0 {
			err = fmt.Errorf("longer than %d bytes", maxJSONBytes)
		}
		return &FormatError{err}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return &FormatError{fmt.Errorf("more text follows the result at offset %d", dec.InputOffset())}
	}
	schema, format := version()
	if schema == "" {
		return &FormatError{errors.New(`no "schema": not a result of leakscope`)}
	}
	wantMajor, _, _ := strings.Cut(analyze.FormatVersion, ".")
	if major, _, _ := strings.Cut(format, "."); schema != want || major != wantMajor {
		return &FormatError{fmt.Errorf("schema %q version %q; this leakscope reads %q version %s.x", schema, format, want, wantMajor)}
	}
	return nil
}

// IsProof reports whether a saved document says that it is a comparison of two
// runs. It reads no further than to its schema, which leakscope writes first.
func IsProof(from io.Reader) bool {
	dec := json.NewDecoder(io.LimitReader(from, maxSchemaBytes))
	for _, want := range []json.Token{json.Delim('{'), "schema", analyze.ProofSchema} {
		if got, err := dec.Token(); err != nil || got != want {
			return false
		}
	}
	return true
}

// maxSchemaBytes is more than the start of a document up to its schema.
const maxSchemaBytes = 4 << 10
