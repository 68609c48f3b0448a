package main

import (
	"path/filepath"
	"testing"

	"github.com/leakscope/leakscope/internal/scenario"
)

const snapshotDir = "../../testdata/snapshots"

// TestReplay holds the recorded snapshots of every scenario against the truth
// that the program printed then, so that attribution to states, verdicts and
// findings are checked without a JVM too.
func TestReplay(t *testing.T) {
	for _, d := range scenario.Definitions(t) {
		t.Run(d.Name, func(t *testing.T) {
			r := recordingIn(filepath.Join(snapshotDir, d.Name))
			r.readTruth(t)
			result := r.diff(t)
			compare(t, result, r.truth.Before, r.truth.After, 0)
			compareFindings(t, result, expectedOf(t, d.Name))
		})
	}
}
