package hotspot

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leakscope/leakscope/internal/scenario"
)

// mode in the environment starts this binary as something else.
const mode = "LEAKSCOPE_TEST_MODE"

func TestMain(m *testing.M) {
	if Watchdog() {
		return
	}
	switch os.Getenv(mode) {
	case "idle":
		idle()
		return
	case "capture":
		captureForever()
		return
	}
	code := m.Run()
	if classes.directory != "" {
		_ = os.RemoveAll(classes.directory)
	}
	os.Exit(code)
}

// classes are those of Target.java, compiled once; not below /tmp, which some
// targets have for themselves.
var classes struct {
	once      sync.Once
	directory string
	err       error
}

func compiled(t *testing.T) string {
	t.Helper()
	javac := filepath.Join(scenario.Required(t).Home, "bin/javac")
	classes.once.Do(func() {
		if classes.directory, classes.err = os.MkdirTemp("/var/tmp", "leakscope-test-"); classes.err != nil {
			return
		}
		var out []byte
		out, classes.err = exec.Command(javac, "-encoding", "UTF-8", "--release", "8", "-Xlint:-options", "-d", classes.directory, "testdata/Target.java").CombinedOutput()
		classes.err = errors.Join(classes.err, os.Chmod(classes.directory, 0o755))
		if classes.err != nil {
			classes.err = fmt.Errorf("%w: %s", classes.err, out)
		}
	})
	if classes.err != nil {
		t.Fatal(classes.err)
	}
	return classes.directory
}

// jdks lists the homes of the JDKs to test with, by feature version.
func jdks(t *testing.T) map[string]string {
	t.Helper()
	homes := map[string]string{}
	for _, jdk := range scenario.JDKs(t) {
		homes[strconv.Itoa(jdk.Feature)] = jdk.Home
	}
	return homes
}

// target is a running Target.java.
type target struct {
	pid    int
	output *output
}

// output counts the target's lines.
type output struct {
	mu            sync.Mutex
	ticks, others int
}

func (r *output) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(line, "TICK ") {
		r.ticks++
	} else {
		r.others++
	}
}

func (r *output) counts() (ticks, others int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ticks, r.others
}

// startTarget starts Target.java with a heap of some MiB.
func startTarget(t *testing.T, home string, mebibytes int, flags ...string) *target {
	t.Helper()
	cmd := javaCommand(t, home, mebibytes, flags...)
	cmd.Dir = t.TempDir()
	return run(t, cmd)
}

func javaCommand(t *testing.T, home string, mebibytes int, flags ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(filepath.Join(home, "bin/java"), append(append([]string{"-Xmx512m", "-cp", compiled(t)}, flags...), "Target", strconv.Itoa(mebibytes))...)
}

// run starts a command that becomes a target, and waits until it is ready.
func run(t *testing.T, cmd *exec.Cmd) *target {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tg := &target{pid: cmd.Process.Pid, output: &output{}}
	lines := bufio.NewScanner(stdout)
	ready := false
	for !ready && lines.Scan() {
		ready = lines.Text() == "READY"
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			tg.output.add(lines.Text())
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the target did not end well: %v", err)
		}
	})
	if !ready {
		t.Fatal("the target did not start")
	}
	return tg
}

// goesOn fails the test unless the target is alive and its threads run.
func (tg *target) goesOn(t *testing.T) {
	t.Helper()
	before, _ := tg.output.counts()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ticks, _ := tg.output.counts(); ticks > before+2 {
			return
		}
	}
	t.Fatal("the target's threads do not run any more")
}

func open(t *testing.T, pid int) *JVM {
	t.Helper()
	j, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

func TestFactsLive(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			tg := startTarget(t, home, 8, "-XX:NativeMemoryTracking=summary", "-XX:MaxDirectMemorySize=100m", "-Dio.netty.allocator.type=pooled", "-Dsecret=hunter2", "-XX:+UseG1GC")
			f, err := open(t, tg.pid).Facts(t.Context())
			if err != nil || f.Missing != nil || f.NMT != nil {
				t.Fatal(err, f.Missing, f.NMT)
			}
			if got, _ := f.JVM.Feature.Get(); strconv.Itoa(got) != feature {
				t.Errorf("feature %d, want %s", got, feature)
			}
			if f.JVM.Collector != "G1" || f.JVM.MaxDirectMemoryBytes.Or(0) != 100<<20 || f.JVM.MaxHeapBytes.Or(0) != 512<<20 {
				t.Errorf("%+v", f.JVM)
			}
			if len(f.JVM.Properties) != 1 || f.JVM.Properties["io.netty.allocator.type"] != "pooled" {
				t.Errorf("properties %v", f.JVM.Properties)
			}
			if len(f.Heap) != 1 || f.Heap[0].End-f.Heap[0].Start != 512<<20 {
				t.Errorf("heap ranges %x", f.Heap)
			}
			if f.JVM.HeapUsedBytes.Or(0) < 8<<20 || len(f.JVM.NMT) < 10 || f.JVM.MetaspaceUsedBytes.Or(0) == 0 {
				t.Errorf("%+v", f.JVM)
			}
		})
	}
}

// leftovers lists what could have been left in the target's directories.
func leftovers(t *testing.T, pid int) []string {
	t.Helper()
	proc := "/proc/" + strconv.Itoa(pid)
	var all []string
	for _, pattern := range []string{proc + "/cwd/.*", proc + "/root/tmp/.leakscope-*", proc + "/root/tmp/.attach_pid*", "/tmp/.leakscope-" + strconv.Itoa(pid) + "-*", "/tmp/.attach_pid" + strconv.Itoa(pid)} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			base := filepath.Base(n)
			if strings.HasPrefix(base, ".leakscope-") || strings.HasPrefix(base, ".attach_pid") {
				all = append(all, n)
			}
		}
	}
	return all
}

// watchdogs lists the processes that guard a dump of a target.
func watchdogs(t *testing.T, nspid int) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, line := range lines {
		if text, err := os.ReadFile(line); err == nil && strings.Contains(string(text), "\x00.leakscope-"+strconv.Itoa(nspid)+"-") {
			found = append(found, line)
		}
	}
	return found
}

// leavesNothing waits until no file and no watchdog of a dump is left.
func (tg *target) leavesNothing(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := append(leftovers(t, tg.pid), watchdogs(t, tg.pid)...)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// records walks the top-level records of a stream and counts them by tag; it
// is an error when the last one is cut.
func records(r io.Reader, header bool) (map[byte]int64, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	if header {
		if _, err := in.ReadString(0); err != nil {
			return nil, err
		}
		if _, err := in.Discard(4 + 8); err != nil { // size of ids, time
			return nil, err
		}
	}
	found := map[byte]int64{}
	for {
		var record [9]byte // tag, time, length
		if _, err := io.ReadFull(in, record[:]); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return found, err
		}
		if _, err := io.CopyN(io.Discard, in, int64(binary.BigEndian.Uint32(record[5:]))); err != nil {
			return found, fmt.Errorf("record %#x: %w", record[0], err)
		}
		found[record[0]]++
	}
}

// The records of an HPROF file that tell where what is (heapDumper.cpp).
const (
	recordString  = 0x01
	recordClass   = 0x02
	recordTrace   = 0x05
	recordSegment = 0x1c
	recordEnd     = 0x2c
)

// TestDumpLive holds what arrives on which stream: whole records, and over
// FIFOs the segments apart from all others.
func TestDumpLive(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			tg := startTarget(t, home, 48)
			j := open(t, tg.pid)
			number, err := strconv.Atoi(feature)
			if err != nil {
				t.Fatal(err)
			}
			var announced Estimate
			var main, segments map[byte]int64
			var mainErr, segmentsErr error
			report, err := j.DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 64 << 20, Announce: func(e Estimate) { announced = e }},
				func(_ context.Context, s DumpStream) error {
					var group sync.WaitGroup
					group.Go(func() { main, mainErr = records(s.Main, true) })
					for _, r := range s.Segments {
						group.Go(func() { segments, segmentsErr = records(r, false) })
					}
					group.Wait()
					return errors.Join(mainErr, segmentsErr)
				})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("main %v, segments %v", main, segments)
			if main[recordString] == 0 || main[recordClass] == 0 || main[recordTrace]+segments[recordTrace] == 0 || main[recordEnd] != 1 {
				t.Errorf("main stream: %v", main)
			}
			least := int64(40) // segments of about 1 MiB
			if number < firstStreaming {
				least = 1
			}
			if number >= firstFIFO {
				if main[recordSegment] > 0 || segments[recordSegment] < least || len(segments) != 1 {
					t.Errorf("main stream %v, segments %v", main, segments)
				}
			} else if main[recordSegment] < least || len(segments) > 0 {
				t.Errorf("main stream %v, segments %v", main, segments)
			}
			if announced.PauseSeconds <= 0 || !report.Pause.IsKnown() {
				t.Errorf("announced %+v, reported %+v", announced, report)
			}
			tg.goesOn(t)
			tg.leavesNothing(t)
		})
	}
}

// TestDumpAbandoned ends the context in the middle of a dump.
func TestDumpAbandoned(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			tg := startTarget(t, home, 128)
			j := open(t, tg.pid)
			number, err := strconv.Atoi(feature)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, err = j.DumpHeap(ctx, DumpOptions{Feature: number, UsedBytes: 128 << 20}, func(_ context.Context, s DumpStream) error {
				var group sync.WaitGroup // all streams, as the contract asks
				for _, r := range append([]io.Reader{s.Main}, s.Segments...) {
					group.Go(func() {
						if n, _ := io.CopyN(io.Discard, r, 2<<20); n == 2<<20 {
							cancel()
						}
						_, _ = io.Copy(io.Discard, r)
					})
				}
				group.Wait()
				return ctx.Err()
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			tg.goesOn(t)
			tg.leavesNothing(t)
			if _, err := j.Facts(t.Context()); err != nil {
				t.Errorf("the JVM does not answer any more: %v", err)
			}
		})
	}
}
