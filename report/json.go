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
	bounded := &io.LimitedReader{R: from, N: maxJSONBytes + 1}
	dec := json.NewDecoder(bounded)
	d := document{Result: &analyze.Result{}}
	if err := dec.Decode(&d); err != nil {
		if bounded.N <= 0 {
			err = fmt.Errorf("longer than %d bytes", maxJSONBytes)
		}
		return nil, nil, &FormatError{err}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, &FormatError{fmt.Errorf("more text follows the result at offset %d", dec.InputOffset())}
	}
	if d.Result == nil || d.Schema == "" {
		return nil, nil, &FormatError{errors.New(`no "schema": not a result of leakscope`)}
	}
	wantMajor, _, _ := strings.Cut(analyze.FormatVersion, ".")
	if major, _, _ := strings.Cut(d.FormatVersion, "."); d.Schema != analyze.Schema || major != wantMajor {
		return nil, nil, &FormatError{fmt.Errorf("schema %q version %q; this leakscope reads %q version %s.x", d.Schema, d.FormatVersion, analyze.Schema, wantMajor)}
	}
	return d.Result, d.Gate, nil
}
