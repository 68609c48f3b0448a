package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/policy"
)

// drive is the load of a scenario: it takes it one phase further, and ends when
// the scenario has told its truth about that.
func drive(dir string) string {
	return "cd '" + dir + `'; echo next >input
until [ "$(grep -c '^TRUTH ' output)" -gt "$LEAKSCOPE_ROUND" ]; do kill -0 "$LEAKSCOPE_PID" && sleep 0.1; done`
}

// TestRunLive is the leak test of a program that leaks and of the same program
// repaired: the gate fails on the one and passes on the other. The command is a
// shell script, as in many pipelines, and the JVM its child.
func TestRunLive(t *testing.T) {
	jdk := scenario.JDKs(t)[0]
	scenario.Compile(t)              // once for all of the subtests
	const main = `^scenario[.]Main$` // it starts another JVM, its peer
	for name, want := range map[string]struct {
		code    int
		gate    policy.Gate
		verdict analyze.Verdict
		policy  string
		target  string // "": the only JVM
		heap    bool   // by heap dumps, else from outside
	}{
		"outbound-flood":   {exitGate, policy.Failed, analyze.Leak, "", main, false},
		"outbound-bounded": {exitOK, policy.Passed, analyze.Steady, "", main, false},
		"closed-by-channel": {
			exitGate, policy.Failed, analyze.Leak,
			"version: 1\nrules:\n  - id: closed-channels-hold-nothing\n    expr: head.retained_bytes{state=\"closed\"} <= 64KiB\n", main, true,
		},
		"pending-gc": {exitOK, policy.Passed, analyze.Steady, "", "", true},
	} {
		if !scenario.Named(t, name).RunsOn(jdk.Feature) {
			continue // where older JDKs were chosen
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := scenario.CommandLine(t, name, jdk, scenario.Options{})
			dir := t.TempDir()
			in := func(name string) string { return filepath.Join(dir, name) }
			if err := syscall.Mkfifo(in("input"), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{
				"run", "--count", "3", "--warmup", "0s", "--settle", "0s", "--ready-log", "^TRUTH ", "--load", drive(dir),
				"--log", in("output"), "--keep", in("kept"), "--format", "json", "--format", "junit=" + in("junit.xml"),
			}
			if want.policy != "" {
				if err := os.WriteFile(in("gate.yaml"), []byte(want.policy), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--policy", in("gate.yaml"))
			}
			if want.heap {
				args = append(args, "--heap")
			}
			if want.target != "" {
				args = append(args, "--target", want.target)
			}
			// Open for reading and writing, so that it has no end.
			args = append(args, "--", "sh", "-c", `"$@" <>"$0"; exit $?`, in("input"))
			var out, errs bytes.Buffer
			code := run(append(args, command...), &out, &errs)
			if code != want.code {
				t.Fatalf("exit code %d, want %d\n%s", code, want.code, errs.String())
			}
			var result struct {
				analyze.Result
				Gate policy.Outcome `json:"gate"`
			}
			if err := json.Unmarshal(out.Bytes(), &result); err != nil {
				t.Fatalf("%v: stdout is not JSON alone", err)
			}
			if result.Gate.Gate != want.gate || result.Summary.Verdict != want.verdict || len(result.Inputs) != 3 {
				t.Errorf("gate %s, verdict %s over %d snapshots: %q", result.Gate.Gate, result.Summary.Verdict, len(result.Inputs), result.Summary.Reasons)
			}
			if strings.Contains(out.String()+errs.String(), "TRUTH") {
				t.Error("the output of the command is not in its file alone")
			}
			pid := result.Inputs[0].Target.PID
			if all, err := proc.NewFS("").Processes(); err != nil || slices.ContainsFunc(all, func(p proc.Process) bool { return p.PID == pid }) {
				t.Errorf("pid %d still runs (%v)", pid, err)
			}
			if name := result.Inputs[0].Target.Name; name != "scenario.Main" && name != "Main" {
				t.Errorf("what was captured is %q, not the JVM", name)
			}
			if junit, err := os.ReadFile(in("junit.xml")); err != nil || bytes.Contains(junit, []byte("<failure")) != (want.code == exitGate) {
				t.Errorf("junit.xml: %v\n%s", err, junit)
			}

			// What was kept is judged the same afterwards.
			kept, err := filepath.Glob(in("kept/*.lscope"))
			if err != nil || len(kept) != 3 || filepath.Base(kept[0]) != "base.lscope" {
				t.Fatalf("kept: %v, %v", kept, err)
			}
			again := append([]string{"check", "--format", "json"}, kept...)
			if want.policy != "" {
				again = append(again, "--policy", in("gate.yaml"))
			}
			text, code := leakscope(t, again...)
			if code != want.code || text != out.String() {
				t.Errorf("check of what was kept: exit code %d, the same JSON: %v", code, text == out.String())
			}
		})
	}
}
