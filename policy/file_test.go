package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/analyze"
)

const whole = `# comment
version: 1
rules:
  - id: peer-closed
    description: sessions end with their peer
    expr: delta.retained_bytes{state="peer-closed"} <= 8MiB
    level: warning
    on_missing: skip
    min_samples: 3
    confidence: exact
  - {id: total, expr: "head.retained_bytes <= 1GiB"}
waivers:
  - rule: total
    until: 2026-12-01T12:00:00+01:00
    reason: the cache is being replaced
  - rule: peer-closed
    until: 2026-12-01
    reason: known
`

func TestParseFile(t *testing.T) {
	p, err := Parse([]byte(whole), "leakscope.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		id, expr     string
		level        Level
		missing      OnMissing
		samples      int
		confidence   analyze.Confidence
		line, column int
	}
	var got []row
	for _, r := range p.Rules {
		got = append(got, row{r.ID, r.Expr.String(), r.Level, r.OnMissing, r.MinSamples, r.Confidence, r.Line, r.Column})
	}
	want := []row{
		{"peer-closed", `delta.retained_bytes{state="peer-closed"} <= 8MiB`, LevelWarning, MissingSkips, 3, analyze.Exact, 4, 5},
		{"total", `head.retained_bytes <= 1GiB`, LevelError, MissingFails, 0, "", 11, 5},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(row{})); d != "" {
		t.Error(d)
	}
	if p.Rules[0].Description != "sessions end with their peer" || p.Origin != "leakscope.yaml" || p.Rules[0].Origin != "leakscope.yaml" {
		t.Errorf("%+v", p)
	}
	if u := p.Waivers[0].Until.UTC(); !u.Equal(time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("until %s", u)
	}
	if u := p.Waivers[1].Until; !u.Equal(time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("a day ends at its end: %s", u)
	}
}

// faultyPolicies are held, with their messages, by the golden file.
var faultyPolicies = []struct{ name, text string }{
	{"empty", ""},
	{"comment only", "# nothing\n"},
	{"a list", "- 1\n"},
	{"a word", "hello\n"},
	{"not yaml", "version: 1\nrules:\n  - id: [\n"},
	{"tabs", "version: 1\nrules:\n\t- id: x\n"},
	{"nul byte", "version: 1\x00\n"},
	{"no version, no rules", "waivers: []\n"},
	{"another version", "version: 2\nrules:\n  - {id: a, expr: head.bytes > 0}\n"},
	{"version as text", "version: \"1\"\nrules:\n  - {id: a, expr: head.bytes > 0}\n"},
	{"no rules", "version: 1\nrules: []\n"},
	{"rules are a mapping", "version: 1\nrules: {a: b}\n"},
	{"rules are nothing", "version: 1\nrules:\n"},
	{"two documents", "version: 1\nrules:\n  - {id: a, expr: head.bytes > 0}\n---\nversion: 1\n"},
	{"unknown keys", "version: 1\nrule:\n  - id: a\nrules:\n  - id: a\n    exp: head.bytes > 0\n    expr: head.bytes > 0\n    colour: red\nextra: 1\n"},
	{"repeated keys", "version: 1\nversion: 1\nrules:\n  - id: a\n    id: b\n    expr: head.bytes > 0\n"},
	{"missing keys", "version: 1\nrules:\n  - description: nothing\n  - a\n  - id: b\n    expr:\nwaivers:\n  - {}\n"},
	{"duplicate ids", "version: 1\nrules:\n  - {id: a, expr: head.bytes > 0}\n  - {id: b, expr: head.bytes > 0}\n  - {id: a, expr: head.bytes > 0}\n"},
	{"bad ids", "version: 1\nrules:\n  - {id: 'a b', expr: head.bytes > 0}\n  - {id: '', expr: head.bytes > 0}\n  - {id: [a], expr: head.bytes > 0}\n"},
	{"bad values", "version: 1\nrules:\n  - id: a\n    expr: head.bytes > 0\n    level: errors\n    on_missing: pass\n    min_samples: 0\n    confidence: guessed\n  - id: b\n    expr: {a: b}\n    min_samples: 2.5\n    description: \"\"\n"},
	{"bad waivers", "version: 1\nrules:\n  - {id: total, expr: head.bytes > 0}\nwaivers:\n  - rule: totl\n    until: 2026-12-01\n    reason: x\n  - rule: total\n    until: tomorrow\n    reason: ''\n  - rule: total\n    until: 2026-13-01\n    reason: x\n    who: me\n  - total\n"},
	{"bad expressions", "version: 1\nrules:\n  - id: plain\n    expr: head.bytes <= 8MiB and haed.bytes > 0\n  - id: double\n    expr: \"delta.retained_bytes{state=\\\"peer_closed\\\"} <= 8MiB\"\n  - id: single\n    expr: 'findings{cause=''no-relaese''} == 0'\n" +
		"  - id: literal\n    expr: |\n      head.bytes <= 8MiB\n        and head.byts > 0\n  - id: folded\n    expr: >-\n      head.bytes <= 8MiB\n      and summary.elapsed_seconds > 5MiB\n  - id: lines\n    expr: head.bytes <= 8MiB\n      and head.byts > 0\n" +
		"  - id: accents\n    expr: head.bytes{holder=\"ÄÖÜ\"} <= 8MiB and haed.bytes > 0\n  - {id: flow, expr: \"head.bytes <= 8M\"}\n  - id: ends\n    expr: 'head.bytes <='\n"},
	{"several in one expression", "version: 1\nrules:\n  - id: a\n    expr: haed.bytes <= 8MiB and bsae.bytes > 0 and head.bytes{stat=\"closed\"} < 30s\n"},
	{"billion laughs", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nversion: 1\nrules: [*c]\n"},
	{"merge key", "version: 1\nbase: &base {level: note}\nrules:\n  - <<: *base\n    id: a\n    expr: head.bytes > 0\n"},
	{"tags", "version: 1\nrules:\n  - id: !!binary aGVsbG8=\n    expr: !custom head.bytes > 0\n"},
	{"deep", "version: 1\nrules: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "\n"},
	{"very deep", "version: 1\nrules: " + strings.Repeat("[", 20000) + "\n"},
	{"large", "version: 1\n#" + strings.Repeat("x", 300<<10)},
	{"many errors", "version: 1\nrules:\n" + strings.Repeat("  - id: a b\n    expr: haed.bytes > 0\n", 100)},
	{"many rules", "version: 1\nrules:\n" + strings.Repeat("  - a\n", 600)},
	{"long description", "version: 1\nrules:\n  - id: a\n    expr: head.bytes > 0\n    description: " + strings.Repeat("x", 3000) + "\n"},
}

func TestFileErrors(t *testing.T) {
	var b strings.Builder
	for _, c := range faultyPolicies {
		p, err := Parse([]byte(c.text), "gate.yaml")
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 || p != nil {
			t.Errorf("%s: policy %v, error %v", c.name, p, err)
			continue
		}
		text := c.text
		if len(text) > 1000 {
			text = text[:60] + "…\n"
		}
		fmt.Fprintf(&b, "== %s\n%s--\n%s\n\n", c.name, strings.ReplaceAll(text, "\x00", "␀"), err)
	}
	golden(t, "file-errors.golden", b.String())
}

// TestErrorsPointAtWhatWasTyped puts a misspelt metric at the end of an
// expression in every style of scalar, and looks at the place reported.
func TestErrorsPointAtWhatWasTyped(t *testing.T) {
	for name, style := range map[string]string{
		"plain":            "expr: head.bytes > 0 and MARK > 0",
		"plain, lines":     "expr: head.bytes > 0\n      and\n\n      not MARK > 0",
		"single":           "expr: 'head.bytes{holder=''x''} > 0 and MARK > 0'",
		"double":           `expr: "head.bytes{holder=\"x\\\\\"} > 0 and MARK > 0"`,
		"double, unicode":  `expr: "head.bytes{holder=\"\u00e4\x41ß\"} > 0 and MARK > 0"`,
		"double, lines":    "expr: \"head.bytes{holder=\\\"x\\\"} > 0 \\\n      and\n      MARK > 0\"",
		"literal":          "expr: |\n      head.bytes > 0 and\n        MARK > 0",
		"literal, trimmed": "expr: |-\n\n      head.bytes > 0 and\n\n      MARK > 0",
		"folded":           "expr: >\n      head.bytes > 0\n      and MARK > 0",
		"folded, comment":  "expr: >-   # the total\n      head.bytes > 0\n      and MARK > 0",
		"literal, indent":  "expr: |2\n        head.bytes > 0\n        and MARK > 0",
		"accents":          "expr: head.bytes{holder=\"äöü€😀\"} > 0 and MARK > 0",
		"windows":          "expr: >-\r\n      head.bytes > 0\r\n      and MARK > 0\r",
	} {
		text := "version: 1\nrules:\n  - id: a\n    " + style + "\n"
		before, _, _ := strings.Cut(text, "MARK")
		line := strings.Count(before, "\n") + 1
		column := len([]rune(before[strings.LastIndex(before, "\n")+1:])) + 1
		_, err := Parse([]byte(text), "gate.yaml")
		want := fmt.Sprintf("gate.yaml:%d:%d: unknown metric \"MARK\"", line, column)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, want)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	_, err := Parse([]byte("version: 1\nrules:\n  - id: a\n    expr: haed.bytes > 0\n"), "gate.yaml")
	var one *Error
	if !errors.As(err, &one) || one.Line != 4 || one.Column != 11 || one.Origin != "gate.yaml" {
		t.Errorf("%#v", one)
	}
}

func TestJoin(t *testing.T) {
	file, err := Parse([]byte(whole), "leakscope.yaml")
	if err != nil {
		t.Fatal(err)
	}
	line, err := FromExpressions([]string{`summary.verdict == "leak"`})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Join(file, line)
	if err != nil {
		t.Fatal(err)
	}
	if p.Origin != "leakscope.yaml, --fail-on" || len(p.Rules) != 3 || len(p.Waivers) != 2 || !p.Rules[2].FailsWhen {
		t.Errorf("%+v", p)
	}
	if _, err := Join(file, file); err == nil || err.Error() != `leakscope.yaml:4:5: rule id "peer-closed" is taken by a rule of leakscope.yaml` {
		t.Errorf("the same ids: %v", err)
	}
}

func TestDefaultIsAPolicy(t *testing.T) {
	p, err := Parse(DefaultText(), "builtin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := Default()
	if len(d.Rules) != len(p.Rules) || d.Origin != BuiltinOrigin || d.Rules[0].Line != 0 {
		t.Errorf("%+v", d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add(DefaultText())
	for _, c := range faultyPolicies {
		if len(c.text) < 4000 {
			f.Add([]byte(c.text))
		}
	}
	r := leaky(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text, "f")
		var errs Errors
		if (p == nil) != (err != nil) || err != nil && (!errors.As(err, &errs) || len(errs) == 0 || len(errs) > maxErrors+1) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		lines := 2 // YAML breaks lines at more than \n
		for _, r := range string(text) {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
				lines++
			}
		}
		for _, e := range errs {
			if e.Line < 0 || e.Line > lines || e.Column < 0 || e.Message == "" {
				t.Fatalf("%#v", e)
			}
		}
		if p == nil {
			return
		}
		if o := Evaluate(p, r, time.Unix(0, 0)); len(o.Rules) != len(p.Rules) || o.Gate == "" {
			t.Fatalf("%+v", o)
		}
	})
}
