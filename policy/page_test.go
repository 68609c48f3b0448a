package policy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const page = "../doc/policy.md"

// TestPage holds doc/policy.md to the code: the generated parts are current,
// and every example in it parses.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	old := string(text)
	want := between(t, old, "built-in", "\n```yaml\n"+string(DefaultText())+"```\n\n")
	want = between(t, want, "metrics", "\n"+metricTables())
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		old = want
	}
	if old != want {
		t.Errorf("%s is not current: go test ./policy -run TestPage -update", page)
	}
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(old, -1)
	seen := map[string]int{}
	for _, b := range blocks {
		seen[b[1]]++
		switch b[1] {
		case "yaml":
			if _, err := Parse([]byte(b[2]), page); err != nil {
				t.Error(err)
			}
		case "expr":
			for _, line := range strings.Split(strings.TrimSpace(b[2]), "\n") {
				if _, err := FromExpressions([]string{line}); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		case "console":
			_, err := Parse([]byte("version: 1\nrules:\n  - id: a\n    expr: delta.retained_byte <= 8MiB\n  - id: b\n    expr: delta.bytes{state=\"peer_closed\"} <= 8MiB\n"), "gate.yaml")
			if err == nil || err.Error()+"\n" != b[2] {
				t.Errorf("the errors shown are not those given:\n%v", err)
			}
		}
	}
	for _, kind := range []string{"yaml", "expr", "console"} {
		if seen[kind] == 0 {
			t.Errorf("%s has no example of kind %s", page, kind)
		}
	}
}

// between replaces what stands between two marks.
func between(t *testing.T, text, name, with string) string {
	t.Helper()
	start := "<!-- " + name + ": written by go test ./policy -update -->\n"
	end := "<!-- end of " + name + " -->"
	before, rest, ok := strings.Cut(text, start)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for %s", page, name)
	}
	return before + start + with + end + after
}

// metricTables writes the catalogue, and the labels once each.
func metricTables() string {
	var b strings.Builder
	b.WriteString("| metric | unit | labels | meaning | from |\n|---|---|---|---|---|\n")
	type labelRow struct{ name, of string }
	var order []labelRow
	rows := map[labelRow]*Label{}
	for _, m := range Catalogue() {
		unit := string(m.Unit)
		if m.Words != nil {
			unit = strings.Join(m.Words, ", ")
		}
		var names []string
		for i := range m.Labels {
			l := &m.Labels[i]
			names = append(names, "`"+l.Name+"`")
			key := labelRow{l.Name, strings.Join(l.Values, ", ")}
			if rows[key] == nil {
				rows[key] = l
				order = append(order, key)
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, unit, strings.Join(names, ", "), m.Meaning, m.From)
	}
	b.WriteString("\n| label | values | meaning |\n|---|---|---|\n")
	for _, key := range order {
		values := key.of
		switch {
		case rows[key].begins != nil:
			values = "begins with one of " + strings.Join(rows[key].begins, ", ")
		case values == "":
			values = "any"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", key.name, values, rows[key].Meaning)
	}
	return b.String() + "\n"
}

// TestCatalogueIsWhole keeps every row of the catalogue usable and documented.
func TestCatalogueIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Catalogue() {
		if seen[m.Name] || m.Meaning == "" || m.From == "" || m.read == nil || (m.Unit == UnitWord) != (m.Words != nil) {
			t.Errorf("%s is not whole", m.Name)
		}
		seen[m.Name] = true
		if m.alone != "" && m.label(m.alone) == nil || m.required != "" && m.label(m.required) == nil {
			t.Errorf("%s names a label that it has not", m.Name)
		}
		for _, l := range m.Labels {
			if l.Meaning == "" {
				t.Errorf("%s: label %s has no meaning", m.Name, l.Name)
			}
		}
	}
}

// TestEverySourceCanBeNamed reads the names of sources out of package snapshot.
func TestEverySourceCanBeNamed(t *testing.T) {
	text, err := os.ReadFile("../snapshot/snapshot.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^\tSource[A-Za-z]+ += "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(names) < 9 {
		t.Fatalf("only %d sources found", len(names))
	}
	for _, n := range names {
		if _, err := FromExpressions([]string{`sources{name="` + n[1] + `"} > 0`}); err != nil {
			t.Error(err)
		}
	}
}
