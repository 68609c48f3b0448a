package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/schema"
)

// published compiles a schema that leakscope publishes.
func published(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, ok := schema.Named(name)
	if !ok {
		t.Fatalf("no schema %s", name)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name+".json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func follows(t *testing.T, s *jsonschema.Schema, what, text string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestConsumersReadRecordedResults holds what the commands write of every
// recorded scenario to what its consumers read: published schemas by an
// independent validator, SARIF by the OASIS schema, metrics by Prometheus' own
// parser.
func TestConsumersReadRecordedResults(t *testing.T) {
	reports, proofs, inspections, policies := published(t, "report"), published(t, "proof"), published(t, "inspection"), published(t, "policy")
	sarif, err := jsonschema.NewCompiler().Compile("../../report/testdata/third-party/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	derived := 0
	for i, d := range scenario.Definitions(t) {
		paths := pair(d.Name)
		dir := t.TempDir()
		in := func(name string) string { return filepath.Join(dir, name) }
		text, _ := leakscope(t, "check", paths[0], paths[1], "--format", "json", "--format", "sarif="+in("s"), "--format", "prometheus="+in("p"))
		follows(t, reports, d.Name+" check", text)
		if i%4 == 0 { // these differ little from one to the next
			text, _ = leakscope(t, "diff", paths[0], paths[1], "--format", "json")
			follows(t, reports, d.Name+" diff", text)
			text, _ = leakscope(t, "report", paths[0], "--format", "json")
			follows(t, reports, d.Name+" report", text)
			text, _ = leakscope(t, "inspect", paths[1], "--format", "json")
			follows(t, inspections, d.Name+" inspect", text)
			echo := pair("echo")
			text, _ = leakscope(t, "diff", "--before", paths[0], paths[1], "--after", echo[0], echo[1], "--format", "json")
			follows(t, proofs, d.Name+" proof", text)
		}

		for name, check := range map[string]func(string){
			"s": func(text string) { follows(t, sarif, d.Name+" SARIF", text) },
			"p": func(text string) {
				parser := expfmt.NewTextParser(model.LegacyValidation)
				families, err := parser.TextToMetricFamilies(strings.NewReader(text))
				if err != nil || len(families) < 3 {
					t.Errorf("%s: %d metrics, %v", d.Name, len(families), err)
				}
			},
		} {
			content, err := os.ReadFile(in(name))
			if err != nil {
				t.Fatal(err)
			}
			check(string(content))
		}

		var out, errs bytes.Buffer
		if code := run([]string{"check", "--init", paths[0], paths[1]}, &out, &errs); code == exitOK {
			derived++
			var v any
			if err := yaml.Unmarshal(out.Bytes(), &v); err != nil {
				t.Errorf("%s: the derived policy: %v", d.Name, err)
				continue
			}
			asJSON, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			follows(t, policies, d.Name+" policy", string(asJSON))
		} else if code != exitUnjudged {
			t.Errorf("%s: --init exits with %d: %s", d.Name, code, errs.String())
		}
	}
	if derived < 5 {
		t.Errorf("a policy was derived from %d scenarios only", derived)
	}
	// The validators are in force.
	for name, s := range map[string]*jsonschema.Schema{"report": reports, "proof": proofs, "inspection": inspections, "policy": policies, "sarif": sarif} {
		if s.Validate(map[string]any{}) == nil {
			t.Errorf("the schema %s takes an empty object", name)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader("leakscope_state_bytes{state=\"x} 1\n")); err == nil {
		t.Error("the parser takes an open quote")
	}
}
