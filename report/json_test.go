package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

var compareAddresses = cmpopts.EquateComparable(netip.AddrPort{})

func jsonOf(t testing.TB, r *analyze.Result, gate *policy.Outcome) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := JSON(&b, r, gate); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// versioned gives the blank result the version that a reader asks for.
func versioned(r *analyze.Result) *analyze.Result {
	r.Schema, r.FormatVersion = analyze.Schema, analyze.FormatVersion
	return r
}

func TestJSONGolden(t *testing.T) {
	for name, r := range shapes() {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".json", jsonOf(t, versioned(r), nil))
		})
	}
	for name, gate := range gates() {
		t.Run("gate-"+name, func(t *testing.T) {
			golden(t, "steady.gate-"+name+".json", jsonOf(t, steady(), gate))
		})
	}
}

// JSON → result → JSON is the identity.
func TestJSONRoundTrip(t *testing.T) {
	for name, r := range shapes() {
		for gateName, gate := range gates() {
			t.Run(name+"-"+gateName, func(t *testing.T) {
				first := jsonOf(t, versioned(r), gate)
				back, backGate, err := ReadJSON(bytes.NewReader(first))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(first), string(jsonOf(t, back, backGate))); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(rewritten(r, nil), rewritten(back, nil), compareAddresses); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestJSONHasNoNullArraysAndNoEscapes(t *testing.T) {
	out := string(jsonOf(t, longNames(), nil))
	if !strings.Contains(out, "<b>the</b>") {
		t.Error("HTML was escaped")
	}
	var check func(path string, v any, optional bool)
	check = func(path string, v any, optional bool) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				check(path+"."+k, e, true)
			}
		case []any:
			for _, e := range v {
				check(path+"[]", e, false)
			}
		}
	}
	arrays := []string{
		"inputs", "states", "fates", "holders", "connections", "transitions", "findings", "trends", "reconciliation", "residency", "sources", "warnings",
	}
	for name, r := range shapes() {
		var root map[string]any
		if err := json.Unmarshal(jsonOf(t, r, nil), &root); err != nil {
			t.Fatal(err)
		}
		check("", root, false)
		for _, key := range arrays {
			if _, ok := root[key].([]any); !ok {
				t.Errorf("%s: %s is %v, want an array", name, key, root[key])
			}
		}
		summary := root["summary"].(map[string]any)
		for _, key := range []string{"reasons", "next_steps"} {
			if _, ok := summary[key].([]any); !ok {
				t.Errorf("%s: summary.%s is %v, want an array", name, key, summary[key])
			}
		}
	}
}

func TestReadJSONRefuses(t *testing.T) {
	good := string(jsonOf(t, steady(), nil))
	for name, text := range map[string]string{
		"nothing":        "",
		"a list":         "[]",
		"another object": "{}",
		"null":           "null",
		"cut off":        good[:len(good)/2],
		"more text":      good + "{}",
		"another schema": strings.Replace(good, analyze.Schema, "urn:leakscope:schema:snapshot:1", 1),
		"a later major":  strings.Replace(good, `"format_version": "1.1"`, `"format_version": "2.0"`, 1),
		"a wrong type":   strings.Replace(good, `"verdict": "steady"`, `"verdict": 1`, 1),
	} {
		_, _, err := ReadJSON(strings.NewReader(text))
		var format *FormatError
		if !errors.As(err, &format) {
			t.Errorf("%s: error %v, want a FormatError", name, err)
		}
	}
	later := strings.Replace(good, `"format_version": "1.1"`, `"format_version": "1.9", "later": []`, 1)
	if _, _, err := ReadJSON(strings.NewReader(later)); err != nil {
		t.Errorf("a later minor version: %v", err)
	}
}

func TestReadProof(t *testing.T) {
	for name, p := range proofs() {
		text := proofWritten(t, "json", p, Options{})
		again, err := ReadProof(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := proofWritten(t, "json", again, Options{}); got != text || !IsProof(strings.NewReader(text)) {
			t.Errorf("%s is another after it was read", name)
		}
	}
	good, report := proofWritten(t, "json", proofs()["fixed"], Options{}), string(jsonOf(t, steady(), nil))
	for name, text := range map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "another object": "{}", "cut off": good[:len(good)/2], "more text": good + "{}", "a report": report,
		"a later major": strings.Replace(good, `"format_version": "`, `"format_version": "9`, 1),
	} {
		var format *FormatError
		if _, err := ReadProof(strings.NewReader(text)); !errors.As(err, &format) {
			t.Errorf("%s: error %v, want a FormatError", name, err)
		}
	}
	for _, text := range []string{"", "[]", "{}", `{"schema": 7}`, `{"x": "schema"}`, report} {
		if IsProof(strings.NewReader(text)) {
			t.Errorf("%.40q counts as a proof", text)
		}
	}
}

func FuzzReadProof(f *testing.F) {
	f.Add([]byte(`{"schema":"urn:leakscope:schema:proof:1","format_version":"1.0","outcome":"fixed","reasons":["x"],"before":{"inputs":[{}]},"findings":[{"id":"a/b","change":"new","after":"error"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ReadProof(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, format := range ProofFormats() {
			if err := WriteProof(format, &bytes.Buffer{}, p, Options{}); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
	})
}

func FuzzReadJSON(f *testing.F) {
	f.Add(jsonOf(f, single(), gates()["unjudged"]))
	f.Add([]byte(`{"schema":"urn:leakscope:schema:report:1","format_version":"1.0","holders":[{"path":["\u001b[2J"]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, gate, err := ReadJSON(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, format := range Formats() {
			if err := Write(format.Name, &bytes.Buffer{}, r, gate, Options{}); err != nil && !errors.Is(err, ErrNeedsGate) && !errors.Is(err, ErrNoHeap) {
				t.Errorf("%s: %v", format.Name, err)
			}
		}
	})
}
