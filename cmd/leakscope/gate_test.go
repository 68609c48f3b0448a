package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/internal/term/termtest"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/snapshot"
)

// pair returns the two recorded snapshots of a scenario.
func pair(name string) []string {
	return []string{filepath.Join(snapshotDir, name, "first.lscope"), filepath.Join(snapshotDir, name, "second.lscope")}
}

// TestExitPrecedence is the table of exit codes where several things are wrong
// at once: what did not work and wrong usage before a gate that failed, and that
// before one that could not be judged.
func TestExitPrecedence(t *testing.T) {
	leaky, healthy := pair("close-wait"), pair("echo")
	mixed := []string{leaky[0], healthy[1]}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const (
		fails    = "  - {id: fails, expr: 'summary.snapshots == 3'}\n"
		unjudged = "  - {id: unjudged, expr: 'delta.counter_bytes{counter=\"none\"} == 0'}\n"
		passes   = "  - {id: passes, expr: 'summary.snapshots == 2'}\n"
	)
	rules := func(name string, all ...string) string {
		return file(name, "version: 1\nrules:\n"+strings.Join(all, ""))
	}
	all, failing, unjudgeable := rules("all.yaml", passes, unjudged, fails), rules("fails.yaml", fails), rules("unjudged.yaml", unjudged)
	wrong := file("wrong.yaml", "version: 1\nrules:\n  - {id: a, expr: 'no.such > 0'}\n")
	taken := file("taken.json", "")
	broken := file("broken.lscope", "no snapshot")
	nowhere := filepath.Join(dir, "none", "out.json")
	for _, test := range []struct {
		name   string
		inputs []string
		flags  []string
		want   int
	}{
		{"passes", healthy, nil, exitOK},
		{"fails", leaky, nil, exitGate},
		{"cannot be judged", mixed, nil, exitUnjudged},
		{"fails and cannot be judged", healthy, []string{"--policy", all}, exitGate},
		{"cannot be judged alone", healthy, []string{"--policy", unjudgeable}, exitUnjudged},
		{"fails by the policy, passes by --fail-on", healthy, []string{"--policy", failing, "--fail-on", "summary.snapshots == 3"}, exitGate},
		{"cannot be judged by the policy, fails by --fail-on", healthy, []string{"--policy", unjudgeable, "--fail-on", "summary.snapshots == 2"}, exitGate},
		{"would fail, of two processes", mixed, []string{"--policy", failing}, exitUnjudged},

		{"would fail, wrong policy", leaky, []string{"--policy", wrong}, exitUsage},
		{"would fail, missing policy", leaky, []string{"--policy", filepath.Join(dir, "none.yaml")}, exitUsage},
		{"would fail, wrong condition", leaky, []string{"--fail-on", "no.such > 0"}, exitUsage},
		{"would fail, unknown format", leaky, []string{"--format", "xml"}, exitUsage},
		{"would fail, file exists", leaky, []string{"--format", "json=" + taken}, exitUsage},
		{"would fail, unknown flag", leaky, []string{"--nope"}, exitUsage},
		{"cannot be judged, wrong policy", mixed, []string{"--policy", wrong}, exitUsage},
		{"wrong policy and an unreadable snapshot", []string{leaky[0], broken}, []string{"--policy", wrong}, exitUsage},

		{"would fail, an unreadable snapshot", []string{leaky[0], leaky[1], broken}, nil, exitError},
		{"would fail, no such snapshot", []string{leaky[0], leaky[1], broken + "x"}, nil, exitError},
		{"fails, the report cannot be written", leaky, []string{"--format", "json=" + nowhere}, exitError},
		{"cannot be judged, the report cannot be written", mixed, []string{"--format", "json=" + nowhere}, exitError},
		{"passes, the report cannot be written", healthy, []string{"--format", "json=" + nowhere}, exitError},

		{"fails, reports only", leaky, []string{"--exit-zero"}, exitOK},
		{"cannot be judged, reports only", mixed, []string{"--exit-zero"}, exitOK},
		{"reports only, wrong policy", leaky, []string{"--exit-zero", "--policy", wrong}, exitUsage},
		{"reports only, an unreadable snapshot", []string{leaky[0], broken}, []string{"--exit-zero"}, exitError},
		{"reports only, the report cannot be written", leaky, []string{"--exit-zero", "--format", "json=" + nowhere}, exitError},
	} {
		var out, errs bytes.Buffer
		args := append(append([]string{"check"}, test.inputs...), test.flags...)
		if code := run(args, &out, &errs); code != test.want {
			t.Errorf("%s: exit code %d, want %d\n%s", test.name, code, test.want, errs.String())
		}
		if said := strings.Contains(errs.String(), "leakscope: error: "); said != (test.want != exitOK) {
			t.Errorf("%s: stderr: %s", test.name, errs.String())
		}
	}
}

// statuses by which evidence can be missing; "" is a source that was not
// recorded at all.
var withheldAs = []snapshot.Status{
	snapshot.StatusDenied, snapshot.StatusAbsent, snapshot.StatusPartial, snapshot.StatusUnsupported, snapshot.StatusUnstable, "",
}

// withhold takes a source's evidence away, as a capture that could not read it.
// Of a partial one half is there.
func withhold(s *snapshot.Snapshot, source string, status snapshot.Status) {
	i := slices.IndexFunc(s.Manifest.Sources, func(x snapshot.Source) bool { return x.Name == source })
	if status == "" {
		s.Manifest.Sources = slices.Delete(s.Manifest.Sources, i, i+1)
	} else {
		s.Manifest.Sources[i].Status, s.Manifest.Sources[i].Reason = status, "withheld by the test"
	}
	half := status == snapshot.StatusPartial
	switch source {
	case snapshot.SourceMemory:
		if s.Memory = nil; half {
			s.Memory = &snapshot.Memory{}
		}
	case snapshot.SourceMappings:
		s.Mappings = part(s.Mappings, half)
	case snapshot.SourceFDs:
		s.FDs = part(s.FDs, half)
	case snapshot.SourceSockets:
		s.Sockets = part(s.Sockets, half)
	case snapshot.SourceAttach:
		if s.JVM = nil; half {
			s.JVM = &snapshot.JVM{}
		}
	case snapshot.SourceHeapDump:
		if !half {
			s.Heap = nil
			return
		}
		s.Heap.Complete, s.Heap.Reason = false, "withheld by the test"
		s.Heap.Allocations = part(s.Heap.Allocations, true)
	}
}

func part[T any](rows []T, half bool) []T {
	if !half {
		return nil
	}
	return rows[:len(rows)/2]
}

// evidenceRules hold on a healthy pair; each rests on some of the sources.
var evidenceRules = []struct {
	id, expr string
	rests    []string
}{
	{"verdict", `summary.verdict != "leak"`, []string{snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs}},
	{"retained", `delta.retained_bytes <= 1GiB`, []string{snapshot.SourceHeapDump}},
	{"peer-closed", `delta.retained_bytes{state="peer-closed"} <= 64KiB`, []string{snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs}},
	{"connections", `delta.connections{state="peer-closed"} <= 1`, []string{snapshot.SourceSockets, snapshot.SourceFDs}},
	{"findings", `findings{cause="no-termination"} == 0`, []string{snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs}},
	{"limits", `findings{cause="near-limit"} == 0`, []string{
		snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs, snapshot.SourceMemory, snapshot.SourceAttach,
	}},
	{"bits", `delta.counter_bytes{counter="java.nio.Bits.RESERVED_MEMORY"} <= 1GiB`, []string{snapshot.SourceHeapDump}},
	{"rss", `delta.counter_bytes{counter="rss"} <= 1GiB`, []string{snapshot.SourceMemory}},
	{"metaspace", `delta.resident_bytes{part="metaspace"} <= 1GiB`, []string{snapshot.SourceMappings, snapshot.SourceMemory}},
	{"identity", `sources{name="proc", status="ok"} == summary.snapshots`, []string{snapshot.SourceProc}},
}

// TestWithheldEvidence takes the evidence away from recorded snapshots source by
// source, in every way and on either side. On the healthy pair no rule passes
// that rests on what is missing, the others still do, and the gate never passes;
// on the leaking one no rule that failed ever passes.
func TestWithheldEvidence(t *testing.T) {
	text, rests := "version: 1\nrules:\n", map[string][]string{}
	var sources []string
	for _, rule := range evidenceRules {
		text += fmt.Sprintf("  - {id: %s, expr: '%s'}\n", rule.id, rule.expr)
		rests[rule.id] = rule.rests
		for _, source := range rule.rests {
			if !slices.Contains(sources, source) {
				sources = append(sources, source)
			}
		}
	}
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	judge := func(t *testing.T, paths []string, flags ...string) (map[string]policy.Status, int) {
		t.Helper()
		out, code := leakscope(t, append(append([]string{"check", "--format", "json"}, paths...), flags...)...)
		var result struct {
			Gate policy.Outcome `json:"gate"`
		}
		if err := json.Unmarshal([]byte(out), &result); err != nil {
			t.Fatal(err)
		}
		got := map[string]policy.Status{}
		for _, rule := range result.Gate.Rules {
			got[rule.ID] = rule.Status
		}
		return got, code
	}
	for _, name := range []string{"echo", "close-wait"} {
		full, code := judge(t, pair(name), "--policy", rules)
		if want := map[string]int{"echo": exitOK, "close-wait": exitGate}[name]; code != want {
			t.Fatalf("%s with all evidence: exit code %d, %v", name, code, full)
		}
		for _, source := range sources {
			t.Run(name+"/"+source, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				for n, withheld := range withheldAs {
					for side := range 2 {
						both := withheld == snapshot.StatusDenied || withheld == snapshot.StatusPartial
						if !both && (side != n%2 || name != "echo") {
							continue // one side each tells
						}
						paths := pair(name)
						s, err := snapshot.ReadFile(paths[side])
						if err != nil {
							t.Fatal(err)
						}
						withhold(s, source, withheld)
						paths[side] = filepath.Join(dir, []string{"first.lscope", "second.lscope"}[side])
						if err := snapshot.WriteFile(paths[side], s, true); err != nil {
							t.Fatal(err)
						}
						where := fmt.Sprintf("%s as %q in snapshot %d", source, withheld, side+1)
						got, code := judge(t, paths, "--policy", rules)
						if code != exitUnjudged && code != exitGate {
							t.Errorf("%s: exit code %d", where, code)
						}
						if failing := slices.Contains(statuses(got), policy.StatusFail); failing != (code == exitGate) {
							t.Errorf("%s: exit code %d, rules %v", where, code, got)
						}
						for id, status := range got {
							needed := slices.Contains(rests[id], source)
							switch {
							case id == "bits" && withheld == snapshot.StatusPartial:
								// A counter that was read is exact, however little of the rest was.
							case needed && status == policy.StatusPass:
								t.Errorf("%s: rule %s passes without its evidence", where, id)
							case !needed && status != full[id]:
								t.Errorf("%s: rule %s is %s, with all evidence %s, and does not rest on it", where, id, status, full[id])
							case full[id] == policy.StatusPass && status == policy.StatusFail && source != snapshot.SourceProc:
								t.Errorf("%s: rule %s fails for missing evidence", where, id)
							}
						}
						if !both || side == 0 {
							continue
						}
						// The built-in policy looks at heap and connections.
						built, code := judge(t, paths)
						if needed := slices.Contains(rests["verdict"], source); needed && code == exitOK || !needed && built["no-leak"] != full["verdict"] {
							t.Errorf("%s: the built-in policy exits with %d, %v", where, code, built)
						}
					}
				}
			})
		}
	}
}

// TestWithheldEverywhere takes one source away from every recorded scenario:
// none passes, and none fails that passed.
func TestWithheldEverywhere(t *testing.T) {
	for i, d := range scenario.Definitions(t) {
		_, whole := leakscope(t, append([]string{"check"}, pair(d.Name)...)...)
		for j, source := range []string{snapshot.SourceHeapDump, snapshot.SourceSockets, snapshot.SourceFDs} {
			paths, side := pair(d.Name), (i+j)%2
			s, err := snapshot.ReadFile(paths[side])
			if err != nil {
				t.Fatal(err)
			}
			status := withheldAs[(i+j)%len(withheldAs)]
			withhold(s, source, status)
			paths[side] = filepath.Join(t.TempDir(), filepath.Base(paths[side]))
			if err := snapshot.WriteFile(paths[side], s, false); err != nil {
				t.Fatal(err)
			}
			_, code := leakscope(t, append([]string{"check"}, paths...)...)
			if code != exitUnjudged && (code != exitGate || whole != exitGate) {
				t.Errorf("%s, %s as %q in snapshot %d: exit code %d, with everything %d", d.Name, source, status, side+1, code, whole)
			}
		}
	}
}

// TestWithheldOutside does the same where the heap was read from outside: the
// recorded pair is given that source.
func TestWithheldOutside(t *testing.T) {
	outside := func(path string, status snapshot.Status) string {
		s, err := snapshot.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.Manifest.Sources, func(x snapshot.Source) bool { return x.Name == snapshot.SourceHeapDump })
		s.Manifest.Sources[i].Name, s.Heap.Method = snapshot.SourceVMStructs, snapshot.SourceVMStructs
		if status != snapshot.StatusOK {
			s.Manifest.Sources[i].Status, s.Manifest.Sources[i].Reason = status, "withheld by the test"
			if status != snapshot.StatusPartial {
				s.Heap = nil
			}
			if status == "" {
				s.Manifest.Sources = slices.Delete(s.Manifest.Sources, i, i+1)
			}
		}
		file := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := snapshot.WriteFile(file, s, false); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, test := range []struct {
		scenario    string
		full, worst int
	}{{"echo", exitOK, exitUnjudged}, {"close-wait", exitGate, exitUnjudged}} {
		paths := pair(test.scenario)
		full := []string{outside(paths[0], snapshot.StatusOK), outside(paths[1], snapshot.StatusOK)}
		if _, code := leakscope(t, append([]string{"check"}, full...)...); code != test.full {
			t.Errorf("%s with all evidence: exit code %d, want %d", test.scenario, code, test.full)
		}
		for _, status := range withheldAs {
			for side := range 2 {
				poor := slices.Clone(full)
				poor[side] = outside(paths[side], status)
				_, code := leakscope(t, append([]string{"check"}, poor...)...)
				partOfALeak := status == snapshot.StatusPartial && code == test.full && test.full == exitGate
				if code != test.worst && !partOfALeak {
					t.Errorf("%s: as %q in snapshot %d: exit code %d, want %d", test.scenario, status, side+1, code, test.worst)
				}
			}
		}
	}
}

func statuses(of map[string]policy.Status) []policy.Status {
	var all []policy.Status
	for _, s := range of {
		all = append(all, s)
	}
	return all
}

// TestContradictingEvidence has a manifest claim what is not there: that is no
// evidence either.
func TestContradictingEvidence(t *testing.T) {
	for name, drop := range map[string]func(*snapshot.Snapshot){
		"heap":    func(s *snapshot.Snapshot) { s.Heap = nil },
		"sockets": func(s *snapshot.Snapshot) { s.Sockets = nil },
		"part of the heap": func(s *snapshot.Snapshot) {
			s.Heap.Complete, s.Heap.Reason = false, "cut off"
		},
		"interrupted": func(s *snapshot.Snapshot) { s.Manifest.Interrupted = true },
	} {
		paths := pair("echo")
		s, err := snapshot.ReadFile(paths[1])
		if err != nil {
			t.Fatal(err)
		}
		drop(s)
		paths[1] = filepath.Join(t.TempDir(), "second.lscope")
		if err := snapshot.WriteFile(paths[1], s, false); err != nil {
			t.Fatal(err)
		}
		if _, code := leakscope(t, append([]string{"check"}, paths...)...); code != exitUnjudged {
			t.Errorf("%s: exit code %d, want %d", name, code, exitUnjudged)
		}
	}
}

// TestBinaryToTerminal: what is binary never goes to a terminal.
func TestBinaryToTerminal(t *testing.T) {
	terminal, screen := termtest.Open(t, 80)
	paths := pair("close-wait")
	for _, args := range [][]string{
		{"check", paths[0], paths[1], "--format", "pprof"},
		{"diff", paths[0], paths[1], "--format", "pprof=-"},
		{"report", paths[0], "--format", "pprof"},
		{"capture", fmt.Sprint(os.Getpid()), "-o", "-"},
		{"run", "--format", "pprof", "--", "false"},
	} {
		var errs bytes.Buffer
		if code := run(args, terminal, &errs); code != exitUsage || !strings.Contains(errs.String(), "stdout is a terminal") || !strings.Contains(errs.String(), "hint: ") {
			t.Errorf("%q: exit code %d: %s", args, code, errs.String())
		}
	}
	// Text does; and nothing was written before it.
	var errs bytes.Buffer
	if code := run([]string{"version"}, terminal, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	line := make([]byte, 100)
	n, err := screen.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "leakscope ") {
		t.Errorf("the screen shows %q, %v", line[:n], err)
	}
	// A file takes it, and so does a pipe.
	file := filepath.Join(t.TempDir(), "a.pb.gz")
	if code := run([]string{"check", paths[0], paths[1], "--format", "pprof=" + file}, terminal, &errs); code != exitGate {
		t.Errorf("into a file: exit code %d: %s", code, errs.String())
	}
	var pipe bytes.Buffer
	if code := run([]string{"check", paths[0], paths[1], "--format", "pprof"}, &pipe, &errs); code != exitGate || !bytes.HasPrefix(pipe.Bytes(), []byte{0x1f, 0x8b}) {
		t.Errorf("into a pipe: exit code %d: %.10q", code, pipe.String())
	}
}
