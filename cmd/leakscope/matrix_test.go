package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/scenario"
)

var updateMatrix = flag.Bool("update-matrix", false, "write doc/scenario-matrix.md anew")

const (
	matrixFile = "../../doc/scenario-matrix.md"
	// The causes of a healthy program, and of one whose growth alone shows.
	none   = "none"
	growth = "growth alone"
)

// outcome is one scenario's row of the matrix.
type outcome struct {
	scenario             string
	leaking              bool
	want, found          []string
	wantVerdict, verdict string
}

func outcomeOf(d scenario.Definition, truth scenario.Truth, r *analyze.Result) outcome {
	return outcome{
		scenario: d.Name, leaking: truth.Leaking, want: expected[d.Name], found: shown(expected[d.Name], findingsOf(r)),
		wantVerdict: truth.Verdict, verdict: string(r.Summary.Verdict),
	}
}

// shown leaves out the notes that were not expected.
func shown(want, found []string) []string {
	return slices.DeleteFunc(found, func(f string) bool {
		return strings.HasSuffix(f, atNote) && !slices.Contains(want, f)
	})
}

// cause is the one that the row of the confusion matrix stands for.
func (o outcome) cause() string {
	switch {
	case o.want == nil:
		return growth
	case len(o.want) == 0:
		return none
	}
	cause, _, _ := strings.Cut(o.want[0], "/")
	return cause
}

// named lists the causes found, or none.
func (o outcome) named() []string {
	var all []string
	for _, f := range o.found {
		cause, _, _ := strings.Cut(f, "/")
		if !slices.Contains(all, cause) {
			all = append(all, cause)
		}
	}
	switch {
	case len(all) > 0:
		return all
	case o.verdict == string(analyze.Growing):
		return []string{growth}
	}
	return []string{none}
}

// matrix collects outcomes, from tests that may run at the same time.
type matrix struct {
	mu   sync.Mutex
	rows []outcome
}

func (m *matrix) add(o outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, o)
}

// markdown writes the table of outcomes and the confusion matrix: how often a
// program of one cause (row) was said to have another (column).
func (m *matrix) markdown() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := slices.Clone(m.rows)
	slices.SortStableFunc(rows, func(a, b outcome) int { return strings.Compare(a.scenario, b.scenario) })
	var b strings.Builder
	b.WriteString("| scenario | leaks | expected | found | verdict |\n|---|---|---|---|---|\n")
	causes := []string{}
	note := func(cause string) {
		if !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
	}
	counts := map[[2]string]int{}
	for _, o := range rows {
		leaks := "no"
		if o.leaking {
			leaks = "yes"
		}
		verdict := o.verdict
		if verdict != o.wantVerdict {
			verdict += " (want " + o.wantVerdict + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", o.scenario, leaks, list(o.want), list(o.found), verdict)
		note(o.cause())
		for _, found := range o.named() {
			note(found)
			counts[[2]string{o.cause(), found}]++
		}
	}
	slices.Sort(causes)
	b.WriteString("\n| cause | " + strings.Join(causes, " | ") + " |\n|---|" + strings.Repeat("---:|", len(causes)) + "\n")
	for _, cause := range causes {
		b.WriteString("| " + cause + " |")
		for _, found := range causes {
			cell := "·"
			if n := counts[[2]string{cause, found}]; n > 0 {
				cell = fmt.Sprint(n)
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func list(words []string) string {
	if len(words) == 0 {
		return "–"
	}
	return strings.Join(words, ", ")
}

const matrixHead = `# Does leakscope name the right cause?

Every scenario of ` + "`testdata/scenarios`" + `, captured twice and compared. Expected
and found are findings, as cause and form; notes that were not expected are left
out. In the second table a row is the cause that a program was written to show,
a column the cause that leakscope named; a program may show more than one (a
peer that has vanished needs keepalive as well as a timeout). ` + "`make scenarios`" + ` prints both; they come
from the recordings in ` + "`testdata/snapshots`" + `, to which a test holds this file.
A live run of the tests prints its own.

`

// TestScenarioMatrix says of every scenario, by its recorded snapshots, which
// cause leakscope names; TestReplay compares the rest of the result.
func TestScenarioMatrix(t *testing.T) {
	var found matrix
	for _, d := range scenario.Definitions(t) {
		r := recordingIn(filepath.Join(snapshotDir, d.Name))
		r.readTruth(t)
		found.add(outcomeOf(d, r.after(), r.diff(t)))
	}
	got := matrixHead + found.markdown()
	t.Logf("recorded:\n%s", got)
	if *updateMatrix {
		if err := os.WriteFile(matrixFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what the recordings give: run scripts/record-snapshots.sh, or go test ./cmd/leakscope -run TestScenarioMatrix -update-matrix\n%s", matrixFile, got)
	}
}
