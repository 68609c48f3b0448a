package capture_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

func TestMain(m *testing.M) {
	if hotspot.Watchdog() || freeze.Holder() {
		return
	}
	if file := os.Getenv(mapsFile); file != "" {
		pretend(file)
		return
	}
	os.Exit(m.Run())
}

// many is how many captures a test takes where it asks for few by default.
func many(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("LEAKSCOPE_CAPTURES")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("LEAKSCOPE_CAPTURES=%s: want a number", text)
	}
	return n
}

// run captures and fails the test when there is nothing to keep.
func run(t *testing.T, o capture.Options) *snapshot.Snapshot {
	t.Helper()
	s, err := capture.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sourceOf(t *testing.T, s *snapshot.Snapshot, name string) snapshot.Source {
	t.Helper()
	i := slices.IndexFunc(s.Manifest.Sources, func(x snapshot.Source) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no source %s", name)
	}
	return s.Manifest.Sources[i]
}

// holdings lists each allocation with its place, size, fate and connection, and
// each connection with its ends: all that a collection leaves as it is. Garbage
// is not in it.
func holdings(h *snapshot.Heap) []string {
	who := func(c snapshot.HeapConnection) string {
		closed, known := c.Closed.Get()
		return fmt.Sprintf("%s %s to %s, listening %v, closed %v (%v)", c.Class, c.Local, c.Remote, c.Listening, closed, known)
	}
	var all []string
	for _, a := range h.Allocations {
		if a.Fate == snapshot.FateUnreachable {
			continue
		}
		row := fmt.Sprintf("%#x %d %s %s", uint64(a.Address), a.Bytes, a.Kind, a.Fate)
		if a.Connection >= 0 {
			row += " " + who(h.Connections[a.Connection])
		}
		all = append(all, row)
	}
	for _, c := range h.Connections {
		if reachable, known := c.Reachable.Get(); reachable || !known {
			all = append(all, who(c))
		}
	}
	slices.Sort(all)
	return all
}

// differences lists what is in one sorted list alone, at most a few.
func differences(want, got []string) []string {
	var out []string
	for len(want)+len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0] < got[0]:
			out = append(out, "missing: "+want[0])
			want = want[1:]
		case len(want) == 0 || got[0] < want[0]:
			out = append(out, "new: "+got[0])
			got = got[1:]
		default:
			want, got = want[1:], got[1:]
		}
	}
	const few = 6
	if more := len(out) - few; more > 0 {
		out = append(out[:few], fmt.Sprintf("and %d more", more))
	}
	return out
}

// TestStability captures programs from outside while they allocate and collect:
// a reading that is accepted is the one of a heap dump of the same program at
// rest, to the byte. LEAKSCOPE_CAPTURES says how many to take of each, and
// LEAKSCOPE_TEST_JVM gives further arguments, such as another collector.
func TestStability(t *testing.T) {
	levels := []struct {
		name                   string
		mebibytes, collections int
	}{
		{"at rest", 0, 0},
		{"100 MiB/s", 100, 0},
		{"500 MiB/s", 500, 0},
		{"20 collections/s", 0, 20},
	}
	long := os.Getenv("LEAKSCOPE_CAPTURES") != ""
	budget, names, jdks := time.Second, []string{"session-open"}, scenario.JDKs(t)
	if long {
		budget, names = 0, []string{"session-open", "outbound-flood"} // 0: the default
	} else if os.Getenv("LEAKSCOPE_TEST_JDKS") == "" {
		jdks = []scenario.JDK{scenario.Required(t)}
	}
	var table strings.Builder
	for _, jdk := range jdks {
		for _, name := range names {
			if !scenario.Named(t, name).RunsOn(jdk.Feature) {
				continue
			}
			t.Run(name+"/"+jdk.String(), func(t *testing.T) {
				p := scenario.Start(t, name, jdk, scenario.Options{JVMArguments: append([]string{"-Xmx512m"}, strings.Fields(os.Getenv("LEAKSCOPE_TEST_JVM"))...)})
				dumped := dump(t, p.PID)
				want := holdings(dumped.Heap)
				p.Load(t, 0, 0)
				for _, level := range levels {
					p.Load(t, level.mebibytes, level.collections)
					captures := many(t, 3)
					if level.collections > 0 {
						captures = (captures + 9) / 10 // each takes its whole budget
					}
					accepted, atOnce, worst := 0, 0, 0
					reasons := map[string]int{}
					var tries []int
					var seconds []float64
					for i := range captures {
						s := run(t, capture.Options{PID: p.PID, Budget: budget})
						source := sourceOf(t, s, snapshot.SourceVMStructs)
						n, err := strconv.Atoi(source.Detail["tries"])
						if err != nil {
							t.Fatalf("%s: tries: %v in %+v", level.name, err, source)
						}
						for key, text := range source.Detail {
							if reason, ok := strings.CutPrefix(key, "rejected: "); ok {
								n, _ := strconv.Atoi(text)
								reasons[reason] += n
							}
						}
						if s.Heap == nil {
							if source.Status != snapshot.StatusUnstable || source.Reason == "" || source.Hint == "" {
								t.Errorf("%s: nothing accepted, and the source says %+v", level.name, source)
							}
							continue
						}
						accepted++
						if n == 1 {
							atOnce++
						}
						worst = max(worst, n)
						tries = append(tries, n)
						seconds = append(seconds, source.DurationSeconds)
						if d := differences(want, holdings(s.Heap)); len(d) > 0 {
							t.Errorf("%s: capture %d was accepted after %d tries and is wrong:\n%s", level.name, i, n, strings.Join(d, "\n"))
						}
					}
					held := run(t, capture.Options{PID: p.PID, MaxPause: time.Minute})
					source := sourceOf(t, held, snapshot.SourceVMStructs)
					if held.Heap == nil {
						t.Errorf("%s: nothing read while the target stood still: %s: %s", level.name, source.Status, source.Reason)
					} else if d := differences(want, holdings(held.Heap)); len(d) > 0 {
						t.Errorf("%s: read while the target stood still, and wrong:\n%s", level.name, strings.Join(d, "\n"))
					}
					if pause := source.PauseSeconds.Or(0); pause <= 0 || pause > source.DurationSeconds || source.EstimateSeconds.Or(0) <= 0 {
						t.Errorf("%s: paused for %v s of %v, estimated %v", level.name, pause, source.DurationSeconds, source.EstimateSeconds)
					}
					did := p.Load(t, 0, 0)
					of := []string{"–", "–", "–"} // of none there is no median
					if accepted > 0 {
						of = []string{strconv.Itoa(median(tries)), strconv.Itoa(worst), fmt.Sprintf("%.0f ms", median(seconds)*1000)}
					}
					fmt.Fprintf(&table, "| %s | %s | %s | %.0f MiB/s, %.1f collections/s | %d of %d | %d | %s |\n", name, jdk, level.name,
						float64(did.AllocatedBytes)/did.Seconds/(1<<20), float64(did.Collections)/did.Seconds,
						accepted, captures, atOnce, strings.Join(of, " | "))
					t.Logf("%s: stopped for %.3f s in %s stops, estimated %.3f", level.name, source.PauseSeconds.Or(-1), source.Detail["stops"], source.EstimateSeconds.Or(-1))
					t.Logf("%s: %d of %d accepted, tries %v, rejected %v", level.name, accepted, captures, tries, reasons)
					if level.mebibytes+level.collections == 0 && accepted < captures {
						t.Errorf("%s: %d of %d accepted", level.name, accepted, captures)
					}
				}
			})
		}
	}
	t.Logf("\n%s%s", tableHead, &table)
	if *updateTable {
		replaceTable(t, tableHead+table.String())
	}
}

const tableHead = `| program | JDK | load | measured | accepted | at the first try | median of tries | most tries | median of time |
|---|---|---|---|---:|---:|---:|---:|---:|
`

var updateTable = flag.Bool("update-zero-pause", false, "write the table of TestStability to doc/zero-pause.md")

// replaceTable puts a table in the place of the one that the document has.
func replaceTable(t *testing.T, table string) {
	t.Helper()
	const file, begin, end = "../doc/zero-pause.md", "<!-- stability -->\n", "<!-- /stability -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no %q … %q", file, begin, end)
	}
	if err := os.WriteFile(file, []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// median is that of one value or more.
func median[T cmp.Ordered](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
