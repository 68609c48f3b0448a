package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/report"
	"github.com/leakscope/leakscope/snapshot"
)

var update = flag.Bool("update", false, "add to the schemas what the Go types have and they lack")

func read(t testing.TB, name string) map[string]any {
	t.Helper()
	text, ok := Named(name)
	if !ok {
		t.Fatalf("no schema %s", name)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// structure is a schema without its texts.
func structure(v any) any {
	switch v := v.(type) {
	case map[string]any:
		bare := map[string]any{}
		for k, e := range v {
			if _, text := e.(string); text && (k == "description" || k == "title") {
				continue
			}
			bare[k] = structure(e)
		}
		return bare
	case []any:
		bare := make([]any, len(v))
		for i := range v {
			bare[i] = structure(v[i])
		}
		return bare
	}
	return v
}

// lacks names the first thing of a published schema that a new one has lost.
func lacks(now, published any, path string) string {
	switch p := published.(type) {
	case map[string]any:
		n, ok := now.(map[string]any)
		if !ok {
			return path
		}
		for k, e := range p {
			if k == "$comment" {
				continue
			}
			if _, ok := n[k]; !ok {
				return path + "/" + k
			}
			if lost := lacks(n[k], e, path+"/"+k); lost != "" {
				return lost
			}
		}
		return ""
	case []any:
		n, ok := now.([]any)
		if !ok {
			return path
		}
		for _, e := range p {
			if !slices.ContainsFunc(n, func(x any) bool { return reflect.DeepEqual(x, e) }) {
				return fmt.Sprintf("%s/%v", path, e)
			}
		}
		return ""
	}
	if !reflect.DeepEqual(now, published) {
		return path
	}
	return ""
}

// A Go type that changes fails here, until its format has another version and
// its schema has what is new.
func TestSchemasFollowTheTypes(t *testing.T) {
	for _, w := range fromTypes {
		t.Run(w.name, func(t *testing.T) {
			now := generate(t, w)
			path := w.name + "-1.json"
			text, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) && *update {
				write(t, path, now)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var published map[string]any
			if err := json.Unmarshal(text, &published); err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(structure(now), structure(published)) {
				if *update { // the texts
					write(t, path, now)
				}
				return
			}
			if !*update {
				t.Fatalf("the Go types have changed. A published schema is only added to: raise the minor format version, then go test ./schema -update.\n%s",
					cmp.Diff(structure(published), structure(now)))
			}
			if now["$comment"] == published["$comment"] {
				t.Fatalf("the Go types have changed under %s: raise it first", now["$comment"])
			}
			if lost := lacks(structure(now), structure(published), ""); lost != "" {
				t.Fatalf("%s has changed or gone: that takes a new schema with a new number", lost)
			}
			write(t, path, now)
		})
	}
}

func TestLacks(t *testing.T) {
	old := map[string]any{"properties": map[string]any{"a": map[string]any{"type": "integer"}}, "required": []any{"a"}}
	for name, test := range map[string]struct {
		now  map[string]any
		want string
	}{
		"the same": {old, ""},
		"more":     {map[string]any{"properties": map[string]any{"a": map[string]any{"type": "integer"}, "b": map[string]any{}}, "required": []any{"b", "a"}}, ""},
		"less":     {map[string]any{"properties": map[string]any{}, "required": []any{"a"}}, "/properties/a"},
		"other":    {map[string]any{"properties": map[string]any{"a": map[string]any{"type": "string"}}, "required": []any{"a"}}, "/properties/a/type"},
		"optional": {map[string]any{"properties": old["properties"], "required": []any{}}, "/required/a"},
	} {
		if got := lacks(test.now, old, ""); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func compiled(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	text, ok := Named(name)
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

func validate(t testing.TB, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// Every golden JSON report and proof holds to the published schema, and has no
// property that the schema does not name.
func TestGoldenReports(t *testing.T) {
	for name, least := range map[string]int{"report": 10, "proof": 6} {
		s, closed := compiled(t, name), closedSchema(t, name)
		seen := 0
		paths, err := filepath.Glob("../report/testdata/*.json")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if filepath.Base(path) == "blank.json" {
				continue // a result of nothing has no verdict
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var root struct {
				Schema string `json:"schema"`
			}
			if err := json.Unmarshal(text, &root); err != nil || root.Schema != "urn:leakscope:schema:"+name+":1" {
				continue
			}
			seen++
			if err := validate(t, s, text); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if err := validate(t, closed, text); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if seen < least {
			t.Errorf("only %d golden files of schema %s", seen, name)
		}
	}
}

// closedSchema is a schema that refuses what it does not name.
func closedSchema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	var closeAll func(v any)
	closeAll = func(v any) {
		m, ok := v.(map[string]any)
		if !ok {
			return
		}
		if _, ok := m["properties"]; ok && m["additionalProperties"] == nil {
			m["additionalProperties"] = false
		}
		for _, e := range m {
			closeAll(e)
		}
	}
	v := read(t, name)
	closeAll(v)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name+"-closed.json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name + "-closed.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReportSchemaRefuses(t *testing.T) {
	s := compiled(t, "report")
	good, err := os.ReadFile("../report/testdata/structure.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"an unknown verdict": {`"verdict": "leak"`, `"verdict": "perhaps"`},
		"a null array":       {`"warnings": []`, `"warnings": null`},
		"bytes as a text":    {`"connections": 2,`, `"connections": "2",`},
		"another schema":     {analyze.Schema, "urn:leakscope:schema:report:2"},
		"a missing key":      {`"holders": [`, `"holder": [`},
		"a time without one": {`"started": "2026-`, `"started": "x2026-`},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if text == string(good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if validate(t, s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
	if err := validate(t, s, bytes.Replace(good, []byte(`"findings"`), []byte(`"later": {}, "findings"`), 1)); err != nil {
		t.Errorf("the schema refuses what a later minor version adds: %v", err)
	}
}

func TestProofSchemaRefuses(t *testing.T) {
	s := compiled(t, "proof")
	good, err := os.ReadFile("../report/testdata/proof-improved.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"an unknown outcome":       {`"outcome": "improved"`, `"outcome": "better"`},
		"an unknown change":        {`"change": "gone"`, `"change": "away"`},
		"a null array":             {`"rates": [`, `"rates": null, "x": [`},
		"a rate as a text":         {`"before_bytes_per_second": 4096`, `"before_bytes_per_second": "4096"`},
		"another schema":           {analyze.ProofSchema, "urn:leakscope:schema:proof:2"},
		"a run that is no report":  {`"before": {`, `"before": 7, "x": {`},
		"a run of another verdict": {`"verdict": "leak"`, `"verdict": "perhaps"`},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if text == string(good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if validate(t, s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
}

func someSnapshot() *snapshot.Snapshot {
	return &snapshot.Snapshot{
		Manifest: snapshot.Manifest{
			Tool: snapshot.Tool{Name: "leakscope", Version: "1.0.0"},
			Target: snapshot.Target{
				PID: 7, UID: snapshot.Known(0), Name: "x", CommandLine: []string{}, Runtime: snapshot.RuntimeGo,
				Namespaces: map[string]uint64{"net": 4026531840},
			},
			Sources: []snapshot.Source{{Name: snapshot.SourceProc, Status: snapshot.StatusPartial, Reason: "r", Detail: map[string]string{"a": "b"}}},
		},
		FDs: []snapshot.FD{{Number: 1, Kind: "pipe"}},
	}
}

func TestManifestInspectionAndExamination(t *testing.T) {
	var archive, inspected bytes.Buffer
	if err := snapshot.Write(&archive, someSnapshot()); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Read(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.InspectJSON(&inspected, "x.lscope", s); err != nil {
		t.Fatal(err)
	}
	var examined bytes.Buffer
	level := snapshot.Level{Name: "freeze", Command: "leakscope capture --freeze 42", Available: snapshot.AvailableYes, Pause: snapshot.Known(0.1), Signals: snapshot.Known(false)}
	if err := report.ExaminationJSON(&examined, &snapshot.Examination{
		Schema: snapshot.ExaminationSchema, FormatVersion: snapshot.ExaminationVersion, Tool: s.Manifest.Tool, Target: s.Manifest.Target,
		Conditions: []snapshot.Condition{{Name: "memory", State: snapshot.ConditionBlocks, Found: "no", Hint: "yes"}},
		Levels:     []snapshot.Level{level, {Name: "heap-dump", Available: snapshot.AvailableNo, Reason: "no"}},
	}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"snapshot": manifest, "inspection": inspected.Bytes(), "examination": examined.Bytes()} {
		for _, schema := range []*jsonschema.Schema{compiled(t, name), closedSchema(t, name)} {
			if err := validate(t, schema, text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// asJSON is a YAML document as a JSON validator takes it.
func asJSON(t testing.TB, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	back, err := jsonschema.UnmarshalJSON(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	return back
}

const rule = "rules:\n  - id: a\n    expr: summary.verdict != \"leak\"\n"

// The schema and the reader of policies agree.
func TestPolicySchemaAgreesWithTheReader(t *testing.T) {
	s := compiled(t, "policy")
	for name, text := range map[string]string{
		"built-in":         string(policy.DefaultText()),
		"the least":        "version: 1\n" + rule,
		"everything":       "version: 1\n" + rule + "    description: d\n    level: note\n    on_missing: skip\n    min_samples: 3\n    confidence: exact\nwaivers:\n  - {rule: a, until: \"2027-01-31\", reason: r}\n",
		"a time":           "version: 1\n" + rule + "waivers:\n  - {rule: a, until: \"2027-01-31T00:00:00Z\", reason: r}\n",
		"no version":       rule,
		"another version":  "version: 2\n" + rule,
		"an unknown key":   "version: 1\nrule: []\n" + rule,
		"no rules":         "version: 1\nrules: []\n",
		"no expr":          "version: 1\nrules:\n  - id: a\n",
		"an empty id":      "version: 1\nrules:\n  - id: \"\"\n    expr: head.bytes > 0\n",
		"a bad id":         "version: 1\nrules:\n  - id: a b\n    expr: head.bytes > 0\n",
		"a bad level":      "version: 1\n" + rule + "    level: fatal\n",
		"on_missing pass":  "version: 1\n" + rule + "    on_missing: pass\n",
		"no samples":       "version: 1\n" + rule + "    min_samples: 0\n",
		"many samples":     "version: 1\n" + rule + "    min_samples: 10001\n",
		"confidence":       "version: 1\n" + rule + "    confidence: unknown\n",
		"a waiver without": "version: 1\n" + rule + "waivers:\n  - {rule: a, until: \"2027-01-31\"}\n",
		"a waiver forever": "version: 1\n" + rule + "waivers:\n  - {rule: a, until: forever, reason: r}\n",
	} {
		_, wrong := policy.Parse([]byte(text), "policy.yaml")
		invalid := s.Validate(asJSON(t, []byte(text)))
		if (wrong != nil) != (invalid != nil) {
			t.Errorf("%s: the reader says %v, the schema %v", name, wrong, invalid)
		}
	}
}

// The reader names its keys in the hint for an unknown one: the schema has the
// same.
func TestPolicySchemaHasEveryKey(t *testing.T) {
	root := read(t, "policy")
	defs := root["$defs"].(map[string]any)
	for what, place := range map[string]struct {
		text   string
		schema any
	}{
		"the policy": {"version: 1\nqqqqqqqq: 1\n" + rule, root},
		"a rule":     {"version: 1\n" + rule + "    qqqqqqqq: 1\n", defs["rule"]},
		"a waiver":   {"version: 1\n" + rule + "waivers:\n  - {qqqqqqqq: 1}\n", defs["waiver"]},
	} {
		_, err := policy.Parse([]byte(place.text), "policy.yaml")
		var faults policy.Errors
		if !errors.As(err, &faults) {
			t.Fatalf("%s: %v", what, err)
		}
		var known []string
		for _, f := range faults {
			if list, ok := strings.CutPrefix(f.Hint, "known are "); ok {
				known = strings.Split(list, ", ")
			}
		}
		var have []string
		for k := range place.schema.(map[string]any)["properties"].(map[string]any) {
			have = append(have, k)
		}
		slices.Sort(known)
		slices.Sort(have)
		if !slices.Equal(known, have) {
			t.Errorf("%s: the reader knows %v, the schema %v", what, known, have)
		}
	}
	if root["properties"].(map[string]any)["version"].(map[string]any)["const"] != float64(policy.Version) {
		t.Error("another version")
	}
}

func TestNames(t *testing.T) {
	for _, name := range Names() {
		id := read(t, name)["$id"]
		if id != "urn:leakscope:schema:"+name+":1" {
			t.Errorf("%s has id %v", name, id)
		}
	}
	if _, ok := Named("../report"); ok {
		t.Error("a name that is none was found")
	}
}
