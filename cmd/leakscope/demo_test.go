package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/demo"
	"github.com/leakscope/leakscope/internal/scenario"
)

// showsAllStates holds a demo's JSON to what the demo is there to show.
func showsAllStates(t *testing.T, text []byte) {
	t.Helper()
	var r analyze.Result
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Summary.Verdict != analyze.Leak {
		t.Errorf("verdict %s, want leak: %q", r.Summary.Verdict, r.Summary.Reasons)
	}
	bytesIn := map[analyze.State]int64{}
	for _, row := range r.States {
		bytesIn[row.State] = row.Bytes.Head.Or(0)
	}
	for _, state := range []analyze.State{analyze.StatePeerClosed, analyze.StateStalled, analyze.StateClosed, analyze.StateIdle, analyze.StateActive} {
		if bytesIn[state] == 0 {
			t.Errorf("no bytes are %s: %v", state, bytesIn)
		}
	}
}

func TestDemoRecorded(t *testing.T) {
	t.Setenv("PATH", "") // whatever it tried to start would not be there
	t.Setenv("JAVA_HOME", "")
	var out, errs bytes.Buffer
	if code := run([]string{"demo", "--recorded", "--format", "json"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	showsAllStates(t, out.Bytes())
	for _, want := range []string{"recorded", "leakscope capture PID -o first.lscope", "leakscope diff first.lscope second.lscope"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, errs.String())
		}
	}
}

// runDemo runs the demo with a search for a JDK of the test's.
func runDemo(t *testing.T, search demo.Search, args ...string) (stdout []byte, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, color: "never"}
	cmd := a.demoCommandOn(search.Find)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("demo %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), errs.String()
}

// TestDemoWithoutJDK shows what was recorded where no JDK is installed, and
// says why.
func TestDemoWithoutJDK(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	out, errs := runDemo(t, demo.Search{Directory: t.TempDir()}, "--format", "json", "--keep", dir)
	showsAllStates(t, out)
	for _, want := range []string{"warning: no JDK that can run the demo: none is installed", "shown instead: snapshots recorded earlier"} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr lacks %q:\n%s", want, errs)
		}
	}
	if code := run([]string{"inspect", filepath.Join(dir, demo.Second)}, &bytes.Buffer{}, &bytes.Buffer{}); code != exitOK {
		t.Errorf("inspect of a kept snapshot: exit code %d", code)
	}

	// What is kept is never replaced without being asked to.
	var again bytes.Buffer
	if code := run([]string{"demo", "--recorded", "--keep", dir}, &again, &again); code != exitUsage || !strings.Contains(again.String(), "exists") {
		t.Errorf("--keep into a directory in use: exit code %d: %s", code, again.String())
	}
	if code := run([]string{"demo", "--recorded", "--keep", dir, "--force"}, &again, &again); code != exitOK {
		t.Errorf("--keep --force: exit code %d: %s", code, again.String())
	}
}

// TestDemoLive runs the demo as a user does.
func TestDemoLive(t *testing.T) {
	jdks := scenario.JDKs(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("JAVA_HOME", jdks[len(jdks)-1].Home)
	dir := t.TempDir()
	out, _ := leakscope(t, "demo", "--format", "json", "--keep", dir)
	showsAllStates(t, []byte(out))
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("remains after the demo: %v (%v)", left, err)
	}
	again, _ := leakscope(t, "diff", filepath.Join(dir, demo.First), filepath.Join(dir, demo.Second), "--idle", "2s", "--format", "json")
	if out != again {
		t.Error("diff of the kept snapshots shows something else than the demo did")
	}
}

func TestDemoRefuses(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"extra"}, "unknown command"},
		{[]string{"--format", "x"}, "unknown format"},
		{[]string{"--idle", "0s"}, "--idle"},
		{[]string{"--noise", "x"}, "--noise"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"demo", "--recorded"}, test.args...), &out, &errs); code != exitUsage {
			t.Errorf("demo %q: exit code %d, want %d", test.args, code, exitUsage)
		}
		if !strings.Contains(errs.String(), test.want) || out.Len() > 0 {
			t.Errorf("demo %q prints %q and %q, want an error with %q", test.args, out.String(), errs.String(), test.want)
		}
	}
}

// TestDemoFails shows that a JDK that is there and does not work is an error,
// with the way around it, rather than a silent change of what is shown.
func TestDemoFails(t *testing.T) {
	a := &app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, color: "never"}
	cmd := a.demoCommandOn(func() (string, error) { return t.TempDir(), nil })
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(nil)
	err := cmd.ExecuteContext(t.Context())
	if code, hint := exitCode(err); !errors.Is(err, os.ErrNotExist) || code != exitError || !strings.Contains(hint, "--recorded") {
		t.Errorf("error %v, exit code %d, hint %q", err, code, hint)
	}
}
