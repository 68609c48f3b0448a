package hotspot

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if Watchdog() {
		return
	}
	os.Exit(m.Run())
}

// jdks finds the JDKs of this machine by name. 17 must be there.
func jdks(t *testing.T) map[string]string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a JDK; not run with -short")
	}
	found := map[string]string{}
	paths, _ := filepath.Glob("/usr/lib/jvm/*/bin/javac")
	for _, javac := range paths {
		home := filepath.Dir(filepath.Dir(javac))
		if info, err := os.Lstat(home); err != nil || info.Mode()&os.ModeSymlink != 0 {
			continue
		}
		release, err := os.ReadFile(filepath.Join(home, "release"))
		if err != nil {
			continue
		}
		_, version, _ := strings.Cut(string(release), `JAVA_VERSION="`)
		feature, _, _ := strings.Cut(version, ".")
		feature = strings.Trim(feature, "\"\n")
		found[feature] = home
	}
	if found["17"] == "" {
		t.Fatal("no JDK 17 under /usr/lib/jvm: apt-get install openjdk-17-jdk-headless, or run: make test")
	}
	return found
}

// target is a running Target.java.
type target struct {
	pid   int
	stdin io.WriteCloser
	ticks *tickReader
}

// tickReader follows the target's output.
type tickReader struct {
	mu    sync.Mutex
	count int
}

func (r *tickReader) ticks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// startTarget compiles and starts Target.java with a heap of some MiB.
func startTarget(t *testing.T, home string, mebibytes int, flags ...string) *target {
	t.Helper()
	classes := t.TempDir()
	if out, err := exec.Command(filepath.Join(home, "bin/javac"), "-d", classes, "testdata/Target.java").CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(home, "bin/java"), append(append([]string{"-Xmx512m", "-cp", classes}, flags...), "Target", strconv.Itoa(mebibytes))...)
	cmd.Dir = t.TempDir()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tg := &target{pid: cmd.Process.Pid, stdin: stdin, ticks: &tickReader{}}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "READY" {
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			tg.ticks.mu.Lock()
			tg.ticks.count++
			tg.ticks.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the target did not end well: %v", err)
		}
	})
	return tg
}

// goesOn fails the test unless the target is alive and its threads run.
func (tg *target) goesOn(t *testing.T) {
	t.Helper()
	before := tg.ticks.ticks()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if tg.ticks.ticks() > before+2 {
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

// leftovers lists what a dump could have left in the target's directories.
func leftovers(t *testing.T, pid int) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"/proc/" + strconv.Itoa(pid) + "/cwd/.*", "/tmp/.leakscope-" + strconv.Itoa(pid) + "-*", "/tmp/.attach_pid" + strconv.Itoa(pid)} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if base := filepath.Base(n); base != "." && base != ".." {
				all = append(all, n)
			}
		}
	}
	return all
}

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
			var main, segments int64
			report, err := j.DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 64 << 20, Announce: func(e Estimate) { announced = e }},
				func(_ context.Context, s DumpStream) error {
					var group sync.WaitGroup
					group.Go(func() { main, _ = io.Copy(io.Discard, s.Main) })
					for _, r := range s.Segments {
						group.Go(func() { segments, _ = io.Copy(io.Discard, r) })
					}
					group.Wait()
					return nil
				})
			if err != nil {
				t.Fatal(err)
			}
			if main+segments < 48<<20 || main == 0 || (number >= firstFIFO) != (segments > 0) {
				t.Errorf("%d bytes in the file and %d in segments", main, segments)
			}
			if announced.PauseSeconds <= 0 || !report.Pause.IsKnown() {
				t.Errorf("announced %+v, reported %+v", announced, report)
			}
			tg.goesOn(t)
			if left := leftovers(t, tg.pid); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
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
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				left := leftovers(t, tg.pid)
				if len(left) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("left behind: %v", left)
				}
			}
			if _, err := j.Facts(t.Context()); err != nil {
				t.Errorf("the JVM does not answer any more: %v", err)
			}
		})
	}
}

// TestOthersAreNotSignalled holds that a process that is no JVM gets no signal.
func TestOthersAreNotSignalled(t *testing.T) {
	for _, args := range [][]string{{"sleep", "100"}, {"sh", "-c", "trap : QUIT; read x"}} {
		cmd := exec.Command(args[0], args[1:]...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, err = Open(cmd.Process.Pid)
		if !errors.Is(err, ErrNotJVM) {
			t.Errorf("%v: error %v, want ErrNotJVM", args, err)
		}
		if err := cmd.Process.Signal(os.Signal(nil0{})); err == nil {
			t.Error("a process that should be alive took no signal")
		}
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	_, err := Open(1 << 22)
	if !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
}

// nil0 is no signal of the system.
type nil0 struct{}

func (nil0) Signal()        {}
func (nil0) String() string { return "none" }
