package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// expected is what a diff of a scenario's two phases must find: the findings
// above note, by cause and form. A healthy scenario has none.
var expected = map[string][]string{
	"outbound-flood":           {"no-backpressure/sender"},
	"outbound-bounded":         {},
	"close-wait":               {"no-termination/socket"},
	"close-wait-half":          {"no-termination/socket"},
	"closed-by-channel":        {"no-release/closed-retained"},
	"closed-by-id":             {"no-release/application-map"},
	"lost":                     {"no-release/lost"},
	"thread-local":             {"no-release/thread-local-cache"},
	"session-open":             {"no-termination/socket"},
	"session-closed":           {"no-release/closed-retained"},
	"pending-gc":               {},
	"echo":                     {},
	"unpooled":                 {"no-backpressure/sender"},
	"no-unsafe":                {"no-backpressure/sender"},
	"no-cleaner":               {"no-backpressure/sender"},
	"half-open":                {"no-keepalive/unreachable", "no-timeout/unreachable"},
	"idle":                     {"no-timeout/idle"},
	"grpc-not-ready":           {"no-backpressure/sender"},
	"grpc-frozen-peer":         {"no-backpressure/sender"},
	"grpc-stream-limit":        {"no-termination/stream"},
	"grpc-completed":           {"no-termination/stream"},
	"grpc-reset":               {},
	"grpc-fixed":               {},
	"grpc-not-ready-collector": nil, // its peer is to blame: the growth alone shows here
	"grpc-fixed-collector":     {},
}

// leakscope runs a command line as main does and returns its standard output.
func leakscope(t *testing.T, args ...string) (stdout string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	if code == exitError || code == exitUsage {
		t.Fatalf("leakscope %s: exit code %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), code
}

// TestLive captures every scenario for real, twice, and holds the diff against
// what the program itself says.
func TestLive(t *testing.T) {
	if testing.Short() {
		t.Skip("starts JVMs; not run with -short")
	}
	for _, jdk := range scenario.JDKs(t) {
		for _, d := range scenario.Definitions(t) {
			if !d.RunsOn(jdk.Feature) {
				continue
			}
			t.Run(d.Name+"/"+jdk.String(), func(t *testing.T) {
				want, ok := expected[d.Name]
				if !ok {
					t.Fatalf("no expectation for scenario %s", d.Name)
				}
				p := scenario.Start(t, d.Name, jdk, scenario.Options{})
				defer p.Stop()
				dir := t.TempDir()
				first, second := filepath.Join(dir, "first.lscope"), filepath.Join(dir, "second.lscope")
				leakscope(t, "capture", "--heap", strconv.Itoa(p.PID), "-o", first)
				before := p.Truth()
				after := p.Next(t)
				leakscope(t, "capture", "--heap", strconv.Itoa(p.PID), "-o", second)

				out, _ := leakscope(t, "diff", first, second, "--format", "json")
				var r analyze.Result
				if err := json.Unmarshal([]byte(out), &r); err != nil {
					t.Fatal(err)
				}
				compare(t, &r, before, after)
				compareFindings(t, &r, want)
				record(t, d.Name, jdk, after, first, second)
				if t.Failed() {
					table, _ := leakscope(t, "diff", first, second, "--all")
					t.Log(table)
				}
			})
		}
	}
}

// record keeps a pair of snapshots for TestReplay where LEAKSCOPE_RECORD names
// the directory (scripts/record-snapshots.sh).
func record(t *testing.T, name string, jdk scenario.JDK, after scenario.Truth, files ...string) {
	t.Helper()
	dir := os.Getenv("LEAKSCOPE_RECORD")
	if dir == "" || t.Failed() {
		return
	}
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.lscope", name, jdk, i+1)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.MarshalIndent(after, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s.json", name, jdk)), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// close1 reports whether got is within one percent of want, or a page of it.
func close1(got, want int64) bool {
	off := max(got-want, want-got)
	return off <= max(want/100, 8<<10)
}

func compare(t *testing.T, r *analyze.Result, before, after scenario.Truth) {
	t.Helper()
	if string(r.Summary.Verdict) != after.Verdict {
		t.Errorf("verdict %s, want %s: %q", r.Summary.Verdict, after.Verdict, r.Summary.Reasons)
	}
	if r.Summary.Verdict == analyze.Leak && !after.Leaking {
		t.Error("a healthy program is called a leak")
	}
	states := map[string]analyze.StateRow{}
	for _, row := range r.States {
		states[string(row.State)] = row
	}
	fates := map[string]analyze.FateRow{}
	for _, row := range r.Fates {
		fates[string(row.Fate)] = row
	}
	for _, side := range []struct {
		name  string
		truth scenario.Truth
		of    func(analyze.Delta) analyze.Int
		count func(analyze.Pair) analyze.Int
	}{
		{"base", before, func(d analyze.Delta) analyze.Int { return d.Base }, func(p analyze.Pair) analyze.Int { return p.Base }},
		{"head", after, func(d analyze.Delta) analyze.Int { return d.Head }, func(p analyze.Pair) analyze.Int { return p.Head }},
	} {
		for state, want := range side.truth.States {
			row := states[state]
			if got := side.of(row.Bytes).Or(-1); !close1(got, want.Bytes) {
				t.Errorf("%s: state %s holds %d bytes, the program says %d", side.name, state, got, want.Bytes)
			}
			if got := side.count(row.Connections).Or(-1); got != want.Connections {
				t.Errorf("%s: state %s has %d connections, the program says %d", side.name, state, got, want.Connections)
			}
		}
		for _, fate := range snapshot.Fates() {
			want, named := side.truth.Fates[string(fate)]
			if fate == snapshot.FateRuntime || (!named && !side.truth.Complete) {
				continue
			}
			if got := side.of(fates[string(fate)].Bytes).Or(-1); !close1(got, want.Bytes) {
				t.Errorf("%s: fate %s is %d bytes, the program says %d", side.name, fate, got, want.Bytes)
			}
		}
	}
	compareConnections(t, r, after)
}

// compareConnections holds that no connection is blamed for another's bytes.
func compareConnections(t *testing.T, r *analyze.Result, after scenario.Truth) {
	t.Helper()
	type ports struct{ local, remote int }
	rows := map[ports]analyze.ConnectionRow{}
	for _, row := range r.Connections {
		if row.State != "" {
			rows[ports{int(row.Local.Port()), int(row.Remote.Port())}] = row
		}
	}
	wrong := 0
	for _, want := range after.Connections {
		row, ok := rows[ports{want.LocalPort, want.RemotePort}]
		got := row.Bytes.Head.Or(-1)
		if ok && string(row.State) == want.State && close1(got, want.Bytes) {
			continue
		}
		if wrong++; wrong <= 3 {
			t.Errorf("connection %d-%d: state %q and %d bytes (found: %v), the program says %s and %d", want.LocalPort, want.RemotePort, row.State, got, ok, want.State, want.Bytes)
		}
	}
	if wrong > 3 {
		t.Errorf("and %d more connections", wrong-3)
	}
}

func compareFindings(t *testing.T, r *analyze.Result, want []string) {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		if f.Severity != analyze.SeverityNote {
			got = append(got, fmt.Sprintf("%s/%s", f.Cause, f.Form))
		}
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("no finding %s among %q", w, got)
		}
	}
	if want != nil && len(want) == 0 && len(got) > 0 {
		t.Errorf("a healthy program has the findings %q", got)
	}
}
