package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// Prometheus' own parser reads what is written, and finds what is known and
// nothing else.
func TestPrometheusParses(t *testing.T) {
	every(func(name string, r *analyze.Result, gate *policy.Outcome) {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(written(t, "prometheus", r, gate, Options{})))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		heads := map[string]float64{}
		for _, m := range families["leakscope_state_bytes"].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["snapshot"] == "head" {
				heads[labels["state"]] = m.GetGauge().GetValue()
			}
		}
		for _, row := range r.States {
			got, has := heads[string(row.State)]
			if want, known := row.Bytes.Head.Get(); has != known || got != float64(want) {
				t.Errorf("%s: state %s has %g (%v), want %d (%v)", name, row.State, got, has, want, known)
			}
		}
		for _, f := range families {
			if len(f.GetMetric()) > 200 {
				t.Errorf("%s: %d series of %s", name, len(f.GetMetric()), f.GetName())
			}
		}
	})
}

func TestPrometheusEscapesLabels(t *testing.T) {
	gate := gates()["passed"]
	gate.Rules[0].ID = "a\"b\\c\nd\xff"
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(written(t, "prometheus", steady(), gate, Options{})))
	if err != nil {
		t.Fatal(err)
	}
	if got := families["leakscope_rule_status"].GetMetric()[0].GetLabel()[0].GetValue(); got != "a\"b\\c\nd\uFFFD" {
		t.Errorf("the rule's id came back as %q", got)
	}
}

func rendered(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	github := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))
	if err := github.Convert([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	tablePattern = regexp.MustCompile(`(?s)<table>.*?</table>`)
	rowPattern   = regexp.MustCompile(`(?s)<tr>.*?</tr>`)
	cellPattern  = regexp.MustCompile(`<t[dh][ >]`)
	tagPattern   = regexp.MustCompile(`<([a-z0-9]+)[ >/]`)
)

// Rendered as GitHub does, a comment has whole tables, and no element that it
// does not write itself: a name of the target cannot make a link, an image or
// emphasis.
func TestMarkdownRenders(t *testing.T) {
	own := map[string]bool{
		"h3": true, "h4": true, "p": true, "ul": true, "li": true, "table": true, "thead": true, "tbody": true, "tr": true,
		"th": true, "td": true, "code": true, "strong": true, "details": true, "summary": true, "br": true, "em": true,
	}
	every(func(name string, r *analyze.Result, gate *policy.Outcome) {
		r = rewritten(r, nil)
		r.Warnings = append(r.Warnings, "![x](http://evil.example/p.png) [l](javascript:x) <img src=x> **b** @everyone #12 `c` $x$ ~~s~~ https://evil.example www.evil.example | a")
		out := rendered(t, written(t, "markdown", r, gate, Options{}))
		tables := tablePattern.FindAllString(out, -1)
		if len(tables) == 0 && !strings.HasPrefix(name, "blank") {
			t.Errorf("%s: no table", name)
		}
		for _, table := range tables {
			want := -1
			for _, row := range rowPattern.FindAllString(table, -1) {
				n := len(cellPattern.FindAllString(row, -1))
				if want < 0 {
					want = n
				}
				if n != want {
					t.Errorf("%s: a row of %d cells in a table of %d: %s", name, n, want, row)
				}
			}
		}
		for _, tag := range tagPattern.FindAllStringSubmatch(out, -1) {
			if !own[tag[1]] {
				t.Errorf("%s: an element %s came in:\n%s", name, tag[1], out)
			}
		}
		if strings.Count(out, "<details>") != strings.Count(out, "</details>") {
			t.Errorf("%s: details are not closed", name)
		}
	})
	out := rendered(t, written(t, "markdown", longNames(), gates()["failed"], Options{}))
	for _, want := range []string{"4.0 MiB | see &lt;b&gt;the&lt;/b&gt; *rest*", "100% more|worse", "工作线程-1", "$1$Inner.pendingDirectBuffers"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
