package main

import (
	"bytes"
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

// atNote marks an expected finding that two snapshots cannot prove to be more
// than a note: connections that stall, none of which holds more than before.
const atNote = " (note)"

// expected is what a diff of a scenario's two phases must find, by cause and
// form, the one that names the cause first. A healthy scenario has nothing
// above note; nil says that the growth alone shows.
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
	"grpc-not-ready":           {"no-backpressure/sender", "no-keepalive/stalled", "no-timeout/deadline", "no-timeout/write-stall"},
	"grpc-frozen-peer":         {"no-backpressure/sender", "no-keepalive/stalled", "no-timeout/deadline", "no-timeout/write-stall"},
	"grpc-stream-limit":        {"no-termination/stream"},
	"grpc-completed":           {"no-termination/stream"},
	"grpc-reset":               {},
	"grpc-fixed":               {},
	"grpc-not-ready-collector": {"no-backpressure/receiver"},
	"grpc-fixed-collector":     {},
	"tomcat-idle":              {},
	"tomcat-slow-readers":      {"no-timeout/write-stall" + atNote},
	"jetty-idle":               {},
	"jetty-slow-readers":       {"no-timeout/write-stall" + atNote},
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
// what the program itself says. With LEAKSCOPE_RECORD set to a folder it keeps
// there what passes, for the tests that replay it.
func TestLive(t *testing.T) {
	jdks := scenario.JDKs(t)
	scenario.Compile(t) // once for all of the subtests
	var found, outside matrix
	t.Cleanup(func() { t.Logf("live:\n%s\nfrom outside:\n%s", found.markdown(), outside.markdown()) })
	for _, d := range scenario.Definitions(t) {
		for _, jdk := range jdks {
			if !d.RunsOn(jdk.Feature) {
				continue
			}
			t.Run(d.Name+"/"+jdk.String(), func(t *testing.T) {
				t.Parallel()
				p := scenario.Start(t, d.Name, jdk, scenario.Options{})
				defer p.Stop()
				// The same heap is read twice: from outside, and by a dump.
				r, o := recordingIn(t.TempDir()), recordingIn(t.TempDir())
				both := func(outside, dump string) {
					leakscope(t, "capture", "--budget", "2m", strconv.Itoa(p.PID), "-o", outside)
					leakscope(t, "capture", "--heap", strconv.Itoa(p.PID), "-o", dump)
				}
				both(o.first, r.first)
				r.truth.Before = p.Truth()
				r.truth.After = p.Next(t)
				both(o.second, r.second)
				o.truth = r.truth

				result := r.diff(t)
				found.add(outcomeOf(d, r.truth.After, result))
				compare(t, result, r.truth.Before, r.truth.After, 0)
				compareFindings(t, result, expectedOf(t, d.Name))
				compareOutside(t, o, r, &outside, d)
				if t.Failed() {
					table, _ := leakscope(t, "diff", r.first, r.second, "--all")
					t.Log(table)
					return
				}
				if folder := os.Getenv("LEAKSCOPE_RECORD"); folder != "" {
					r.copyTo(t, filepath.Join(folder, d.Name))
				}
			})
		}
	}
}

// close1 reports whether got is within one percent of want, or a page of it.
func close1(got, want int64) bool {
	off := max(got-want, want-got)
	return off <= max(want/100, 8<<10)
}

// counters maps those of the reconciliation to those of a truth.
var counters = map[string]string{
	"java.nio.Bits.RESERVED_MEMORY":                                  "bits_reserved_bytes",
	"io.netty.util.internal.PlatformDependent.DIRECT_MEMORY_COUNTER": "netty_used_direct_bytes",
}

// compare holds a diff against the program's own books; unsure bytes may be
// counted as held although they are not.
func compare(t *testing.T, r *analyze.Result, before, after scenario.Truth, unsure int64) {
	t.Helper()
	close1 := func(got, want int64) bool {
		return close1(got, want) || close1(got-unsure, want) || close1(got+unsure, want)
	}
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
			bytes, connections := side.of(row.Bytes).Or(-1), side.count(row.Connections).Or(-1)
			if state == string(analyze.StateActive) { // see atRest
				idle := states[string(analyze.StateIdle)]
				bytes, connections = max(bytes, 0)+side.of(idle.Bytes).Or(0), max(connections, 0)+side.count(idle.Connections).Or(0)
			}
			if !close1(bytes, want.Bytes) {
				t.Errorf("%s: state %s holds %d bytes, the program says %d", side.name, state, bytes, want.Bytes)
			}
			if connections != want.Connections {
				t.Errorf("%s: state %s has %d connections, the program says %d", side.name, state, connections, want.Connections)
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
		for ours, theirs := range counters {
			want := side.truth.Counters[theirs]
			i := slices.IndexFunc(r.Reconciliation, func(row analyze.Reconciliation) bool { return row.Counter == ours })
			if want == nil {
				continue
			}
			if i < 0 {
				t.Errorf("%s: no counter %s in the reconciliation", side.name, ours)
				continue
			}
			pair := analyze.Pair{Base: r.Reconciliation[i].Base, Head: r.Reconciliation[i].Head}
			if got := side.count(pair).Or(-1); !close1(got, *want) {
				t.Errorf("%s: %s is %d, the program reads %d", side.name, ours, got, *want)
			}
		}
	}
	compareConnections(t, r, after)
}

// atRest reports that a connection which was active at the end of its phase has
// come to count as idle: on a busy machine the capture may be later than that.
func atRest(got analyze.State, want string) bool {
	return got == analyze.StateIdle && want == string(analyze.StateActive)
}

// compareConnections holds that no connection is blamed for another's bytes.
func compareConnections(t *testing.T, r *analyze.Result, after scenario.Truth) {
	t.Helper()
	type ports struct{ local, remote int }
	// The kernel gives a port out again: several closed connections can have the
	// same two.
	rows := map[ports][]analyze.ConnectionRow{}
	for _, row := range r.Connections {
		if row.State != "" {
			at := ports{int(row.Local.Port()), int(row.Remote.Port())}
			rows[at] = append(rows[at], row)
		}
	}
	wrong := 0
	for _, want := range after.Connections {
		at := ports{want.LocalPort, want.RemotePort}
		match := slices.IndexFunc(rows[at], func(row analyze.ConnectionRow) bool {
			return (string(row.State) == want.State || atRest(row.State, want.State)) && close1(row.Bytes.Head.Or(-1), want.Bytes)
		})
		if match >= 0 {
			rows[at] = slices.Delete(rows[at], match, match+1)
			continue
		}
		var row analyze.ConnectionRow
		ok := len(rows[at]) > 0
		if ok {
			row = rows[at][0]
		}
		got := row.Bytes.Head.Or(-1)
		if wrong++; wrong <= 3 {
			t.Errorf("connection %d-%d: state %q and %d bytes (found: %v), the program says %s and %d", want.LocalPort, want.RemotePort, row.State, got, ok, want.State, want.Bytes)
		}
	}
	if wrong > 3 {
		t.Errorf("and %d more connections", wrong-3)
	}
}

// findingsOf names the findings, as cause and form, sorted; notes are marked.
func findingsOf(r *analyze.Result) []string {
	var all []string
	for _, f := range r.Findings {
		name := f.Cause
		if f.Form != "" {
			name += "/" + f.Form
		}
		if f.Severity == analyze.SeverityNote {
			name += atNote
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// expectedOf fails the test where nobody has said what is to be found.
func expectedOf(t *testing.T, name string) []string {
	t.Helper()
	want, ok := expected[name]
	if !ok {
		t.Fatalf("no expectation for scenario %s", name)
	}
	return want
}

func compareFindings(t *testing.T, r *analyze.Result, want []string) {
	t.Helper()
	got := findingsOf(r)
	for _, w := range want {
		cause, note := strings.CutSuffix(w, atNote)
		if !slices.Contains(got, cause) && (!note || !slices.Contains(got, w)) {
			t.Errorf("no finding %s among %q", w, got)
		}
	}
	got = slices.DeleteFunc(got, func(f string) bool { return strings.HasSuffix(f, atNote) })
	if want != nil && len(want) == 0 && len(got) > 0 {
		t.Errorf("a healthy program has the findings %q", got)
	}
}
