package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// proofs are comparisons of two runs, one for each outcome, and one of runs
// that could not be compared in themselves.
func proofs() map[string]*analyze.Proof {
	proof := func(outcome analyze.Outcome, before, after *analyze.Result, findings ...analyze.FindingChange) *analyze.Proof {
		p := &analyze.Proof{
			Schema: analyze.ProofSchema, FormatVersion: analyze.FormatVersion, Tool: snapshot.Tool{Name: "leakscope", Version: "1.2.3"},
			Outcome: outcome, Confidence: analyze.Exact, Before: before, After: after, Findings: findings,
			Reasons: []string{fmt.Sprintf("before: %s; after: %s", before.Summary.Verdict, after.Summary.Verdict), "the peer 10.20.1.33:40000 has 100% more|worse <b>bytes</b>"},
			Rates: []analyze.RateChange{
				{Name: "growth_bytes_per_second", Before: before.Summary.GrowthBytesPerSecond, After: after.Summary.GrowthBytesPerSecond},
				{Name: "growth_bytes_per_closed_connection", Before: snapshot.Known(645_120.0)},
			},
		}
		return p
	}
	gone := analyze.FindingChange{
		ID: "no-termination/socket/com.example.petshop.Session.replies", Cause: "no-termination", Title: "20 connections whose peer has closed were never closed",
		Change: analyze.ChangeGone, Before: analyze.SeverityError, BeforeBytesPerSecond: snapshot.Known(1234567.0),
	}
	remains := analyze.FindingChange{
		ID: "no-backpressure/sender", Cause: "no-backpressure", Title: "the sender does not wait", Change: analyze.ChangeRemains,
		Before: analyze.SeverityError, After: analyze.SeverityWarning, BeforeBytesPerSecond: snapshot.Known(4096.0), AfterBytesPerSecond: snapshot.Known(-4096.0),
	}
	fresh := analyze.FindingChange{
		ID: "no-release/lost", Cause: "no-release", Title: "2 connections from 10.20.1.33 lose bytes", Change: analyze.ChangeNew,
		After: analyze.SeverityError, AfterBytesPerSecond: snapshot.Known(8192.0),
	}
	return map[string]*analyze.Proof{
		"fixed":     proof(analyze.Fixed, structure(), steady(), gone),
		"improved":  proof(analyze.Improved, structure(), growing(), remains, gone),
		"unchanged": proof(analyze.Unchanged, steady(), steady()),
		"worse":     proof(analyze.Worse, growing(), structure(), fresh, remains),
		"unproven":  proof(analyze.Unproven, structure(), noHeap()),
		"not-comparable": analyze.NotProven(fmt.Errorf("before: %w", &analyze.NotComparableError{
			Base: "a1.lscope", Head: "a2.lscope", Reasons: []string{"pid 4242, then pid 4243"},
		})),
	}
}

func proofWritten(t testing.TB, format string, p *analyze.Proof, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteProof(format, &b, p, o); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

var proofExtensions = map[string]string{"table": ".txt", "json": ".json", "markdown": ".md", "github": ".github.txt", "junit": ".xml"}

func TestProofGolden(t *testing.T) {
	for name, p := range proofs() {
		for _, format := range ProofFormats() {
			golden(t, "proof-"+name+proofExtensions[format], []byte(proofWritten(t, format, p, Options{})))
		}
	}
}

func TestProofFormats(t *testing.T) {
	for _, f := range Formats() {
		var b bytes.Buffer
		var missing *UnknownFormatError
		err := WriteProof(f.Name, &b, proofs()["fixed"], Options{})
		if _, ok := proofExtensions[f.Name]; ok != (err == nil) || !ok && (!errors.As(err, &missing) || b.Len() > 0) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

func TestProofTableFits(t *testing.T) {
	for name, p := range proofs() {
		for _, width := range []int{80, 100, 200} {
			for line := range strings.Lines(proofWritten(t, "table", p, Options{Width: width})) {
				if n := columns(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("%s at %d: %d columns: %s", name, width, n, line)
				}
			}
		}
	}
	if out := proofWritten(t, "table", proofs()["worse"], Options{Color: true}); !strings.HasPrefix(out, "\x1b[") {
		t.Errorf("no colour: %.40q", out)
	}
}

func TestProofGitHub(t *testing.T) {
	for name, p := range proofs() {
		out := proofWritten(t, "github", p, Options{})
		for line := range strings.Lines(out) {
			if !commandLine.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("%s: no workflow command: %q", name, line)
			}
		}
		if want := "::error "; strings.HasPrefix(out, want) == (p.Outcome == analyze.Fixed) {
			t.Errorf("%s begins with %.20q", name, out)
		}
	}
}

// TestProofMasks: what is published names no host, and the same one the same.
func TestProofMasks(t *testing.T) {
	for _, format := range []string{"markdown", "github"} {
		out := proofWritten(t, format, proofs()["worse"], Options{})
		if strings.Contains(out, "10.20.") || strings.Count(out, "host-") < 2 {
			t.Errorf("%s:\n%s", format, out)
		}
		if shown := proofWritten(t, format, proofs()["worse"], Options{ShowAddresses: true}); !strings.Contains(shown, "10.20.1.33") {
			t.Errorf("%s hides addresses that were asked for", format)
		}
	}
}

func TestProofMarkdownRenders(t *testing.T) {
	for name, p := range proofs() {
		out := rendered(t, proofWritten(t, "markdown", p, Options{}))
		for _, table := range tablePattern.FindAllString(out, -1) {
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
		if strings.Contains(out, "<b>") || !strings.Contains(out, "<h3>leakscope: "+strings.ToUpper(string(p.Outcome))) {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	var b bytes.Buffer
	p := proofs()["worse"]
	for range 20_000 {
		p.Reasons = append(p.Reasons, strings.Repeat("x", 60))
	}
	if err := WriteProof("markdown", &b, p, Options{}); err != nil || b.Len() > 65_536 || !strings.HasSuffix(b.String(), cutNote) {
		t.Errorf("a comment of %d bytes, %v", b.Len(), err)
	}
	b.Reset()
	if err := ProofSummary(&b, p, Options{}); err != nil || b.Len() < 65_536 || b.Len() > 1<<20 {
		t.Errorf("a summary of %d bytes, %v", b.Len(), err)
	}
}

// TestProofJUnitCounts: neither a leak that is not fixed nor one that is not
// decided looks like a pass.
func TestProofJUnitCounts(t *testing.T) {
	for name, want := range map[string][3]int{
		"fixed": {2, 0, 0}, "improved": {3, 1, 0}, "unchanged": {1, 1, 0}, "worse": {3, 2, 0}, "unproven": {1, 0, 1}, "not-comparable": {1, 0, 1},
	} {
		var suites junitSuites
		if err := xml.Unmarshal([]byte(proofWritten(t, "junit", proofs()[name], Options{})), &suites); err != nil {
			t.Fatal(err)
		}
		s := suites.Suites[0]
		if got := [3]int{s.Tests, s.Failures, s.Errors}; got != want || len(s.Cases) != s.Tests {
			t.Errorf("%s: tests, failures, errors are %v, want %v", name, got, want)
		}
	}
}
