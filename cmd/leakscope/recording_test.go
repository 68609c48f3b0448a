package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/scenario"
)

// recording is a pair of snapshots of one scenario, and the truth of both.
type recording struct {
	first, second, truthFile string
	truth                    struct{ Before, After scenario.Truth }
}

// recordingIn names the files in a folder.
func recordingIn(folder string) *recording {
	return &recording{
		first:     filepath.Join(folder, "first.lscope"),
		second:    filepath.Join(folder, "second.lscope"),
		truthFile: filepath.Join(folder, "truth.json"),
	}
}

func (r *recording) after() scenario.Truth { return r.truth.After }

func (r *recording) readTruth(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(r.truthFile)
	if err != nil {
		t.Fatalf("%v: scripts/record-snapshots.sh records it", err)
	}
	if err := json.Unmarshal(text, &r.truth); err != nil {
		t.Fatalf("%s: %v", r.truthFile, err)
	}
}

func (r *recording) writeTruth(t *testing.T) {
	t.Helper()
	text, err := json.MarshalIndent(r.truth, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.truthFile, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// copyTo keeps the recording in another folder.
func (r *recording) copyTo(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	to := recordingIn(folder)
	for from, file := range map[string]string{r.first: to.first, r.second: to.second} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	to.truth = r.truth
	to.writeTruth(t)
}

// diff runs the diff of the two snapshots.
func (r *recording) diff(t *testing.T) *analyze.Result {
	t.Helper()
	out, _ := leakscope(t, "diff", r.first, r.second, "--format", "json")
	var result analyze.Result
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatal(err)
	}
	return &result
}
