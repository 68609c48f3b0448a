package vmstructs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/heap"
	"github.com/leakscope/leakscope/internal/scenario"
)

// compile compiles one of the programs that the live tests read, for any JDK.
func compile(t testing.TB, program string) (classes string) {
	t.Helper()
	classes = t.TempDir()
	javac := filepath.Join(scenario.Required(t).Home, "bin/javac")
	out, err := exec.Command(javac, "-encoding", "UTF-8", "--release", "8", "-Xlint:-options", "-d", classes, "testdata/"+program+".java").CombinedOutput()
	if err != nil {
		t.Fatalf("javac: %v: %s", err, out)
	}
	if err := os.Chmod(classes, 0o755); err != nil { // #nosec: the JVM may run as somebody else
		t.Fatal(err)
	}
	return classes
}

// start starts a program and waits until it is ready. It ends with the test.
func start(t testing.TB, jdk scenario.JDK, classes string, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(jdk.Home, "bin/java"), append([]string{"-Xmx128m", "-cp", classes}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return cmd.Process.Pid
		}
	}
	_ = cmd.Wait()                                            // it has written all its errors then
	t.Skipf("java %v did not start: %s", args, errs.String()) // a flag or collector that this JDK has not
	return 0
}

// ownersTruth is what the program holds, by fate and, where a connection holds
// it, by whether it is closed.
var ownersTruth = []string{
	"application 123000",    // a static list of 120 × 1000, and a thread's local of 3000
	"connection 21000 gone", // 3 × 7000 in a map by closed channel
	"connection 250000",     // 10 sessions of 5 × 5000 attached to selection keys
	"unreachable 100000",    // 50 × 2000 dropped
}

func summary(r *heap.Result) []string {
	sums := map[string]int64{}
	for _, a := range r.Allocations {
		key := a.Fate.String()
		switch {
		case a.Fate == heap.FateRuntime, a.Fate == heap.FateThreadCache:
			continue
		case a.Connection >= 0 && r.Connections[a.Connection].Closed != nil && *r.Connections[a.Connection].Closed:
			key += " gone"
		}
		sums[key] += a.Bytes
	}
	var out []string
	for key, sum := range sums {
		fate, rest, _ := strings.Cut(key, " ")
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %d %s", fate, sum, rest)))
	}
	slices.Sort(out)
	return out
}

// TestLayouts reads one program on every JDK, with every collector and every
// way of laying objects out.
func TestLayouts(t *testing.T) {
	classes := compile(t, "Owners")
	for _, jdk := range scenario.JDKs(t) {
		for name, flags := range map[string][]string{
			"g1":            {"-XX:+UseG1GC"},
			"serial":        {"-XX:+UseSerialGC"},
			"parallel":      {"-XX:+UseParallelGC"},
			"shenandoah":    {"-XX:+UseShenandoahGC"},
			"wide-oops":     {"-XX:+UseG1GC", "-XX:-UseCompressedOops"},
			"wide":          {"-XX:+UseSerialGC", "-XX:-UseCompressedOops", "-XX:-UseCompressedClassPointers"},
			"wide-classes":  {"-XX:+UseParallelGC", "-XX:-UseCompressedClassPointers"},
			"compact":       {"-XX:+UnlockExperimentalVMOptions", "-XX:+UseCompactObjectHeaders"},
			"aligned":       {"-XX:+UseG1GC", "-XX:ObjectAlignmentInBytes=32"},
			"no-cds":        {"-Xshare:off"},
			"interpreted":   {"-Xint"},
			"large-heap":    {"-XX:+UseG1GC", "-Xmx40g", "-XX:ObjectAlignmentInBytes=16"},
			"no-compressed": {"-XX:+UseG1GC", "-Xmx40g"},
		} {
			t.Run(jdk.String()+"/"+name, func(t *testing.T) {
				pid := start(t, jdk, classes, append(flags, "Owners")...)
				target, err := Open("", pid)
				if err != nil {
					t.Fatal(err)
				}
				defer target.Close()
				reading, err := target.Read(t.Context(), Options{})
				if err != nil {
					if jdk.Feature == 11 && name == "shenandoah" && errors.Is(err, ErrUnsupported) {
						t.Skip(err) // its tables lack the regions
					}
					t.Fatalf("%v, %q", err, reading.Rejected)
				}
				if diff := cmp.Diff(ownersTruth, summary(reading.Heap)); diff != "" {
					t.Errorf("%s\n%q", diff, reading.Heap.Warnings)
				}
				t.Logf("%d tries, %+v, %q", reading.Tries, reading.Cost, reading.Rejected)
			})
		}
		t.Run(jdk.String()+"/z", func(t *testing.T) {
			pid := start(t, jdk, classes, "-XX:+UseZGC", "Owners")
			target, err := Open("", pid)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			reading, err := target.Read(t.Context(), Options{})
			if !errors.Is(err, ErrUnsupported) || reading.Heap != nil {
				t.Fatalf("ZGC: %v", err)
			}
			i := slices.IndexFunc(reading.Counters, func(c heap.Counter) bool {
				return strings.HasSuffix(strings.ToLower(strings.ReplaceAll(c.Name, "_", "")), "bits.reservedmemory")
			})
			if i < 0 || reading.Counters[i].Value < 394_000 {
				t.Errorf("counters %+v", reading.Counters)
			}
			// Without generations a reference may lead to where an object was; with
			// them its colour says so.
			moves := errors.Is(err, errBroken) || jdk.Feature == 21 && len(reading.Cleaners) == 0
			if len(reading.Cleaners) < 100 && !moves {
				t.Errorf("%d buffers with a Cleaner: %v", len(reading.Cleaners), err)
			}
		})
	}
}

// TestShenandoahUncounted reads a Shenandoah heap whose pauses can't be seen: it
// moves objects without counting that as a collection.
func TestShenandoahUncounted(t *testing.T) {
	pid := start(t, scenario.Required(t), compile(t, "Owners"), "-XX:+UseShenandoahGC", "-XX:-UsePerfData", "Owners")
	target, err := Open("", pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	reading, err := target.Read(t.Context(), Options{})
	if !errors.Is(err, ErrUnsupported) || reading.Heap != nil {
		t.Errorf("%v, a heap: %t", err, reading.Heap != nil)
	}
	if len(reading.Counters) == 0 || len(reading.Cleaners) < 100 {
		t.Errorf("%d counters, %d buffers with a Cleaner", len(reading.Counters), len(reading.Cleaners))
	}
}
