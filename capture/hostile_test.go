package capture_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// mapsFile in the environment has this binary map a file for execution, as a
// program does that is no JVM and looks like one, and wait.
const mapsFile = "LEAKSCOPE_TEST_MAP"

func pretend(file string) {
	f, err := os.Open(file)
	if err != nil {
		panic(err)
	}
	info, err := f.Stat()
	if err != nil {
		panic(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(b); i += 4096 { // so that all of it is there to be read
		_ = b[i]
	}
	_, _ = fmt.Fprintln(os.Stdout, "READY")
	_, _ = os.Stdin.Read(make([]byte, 1))
	runtime.KeepAlive(b)
}

// within fails the test when f takes far longer than its budget.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the capture hangs")
	}
}

// TestPretenders captures programs that are no JVM and map a file that is named
// as one's library: an empty one, noise, one cut off, and the real one in a
// process that runs no JVM.
func TestPretenders(t *testing.T) {
	library, err := filepath.Glob(filepath.Join(scenario.Required(t).Home, "lib", "*", "libjvm.so"))
	if err != nil || len(library) == 0 {
		t.Fatalf("no libjvm.so in %s: %v", scenario.Required(t).Home, err)
	}
	real, err := os.ReadFile(library[0])
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	for name, content := range map[string][]byte{
		"zeros": make([]byte, 64<<10),
		"noise": noise,
		"head":  append([]byte("\x7fELF"), noise...),
		"cut":   real[:len(real)/2],
		"real":  real,
		"tiny":  {0x7f},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "libjvm.so")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{mapsFile + "=" + file}
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
			if _, err := stdout.Read(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			for _, pause := range []time.Duration{0, 20 * time.Second} {
				within(t, func() {
					s, err := capture.Run(t.Context(), capture.Options{PID: cmd.Process.Pid, Budget: time.Second, MaxPause: pause})
					if err != nil {
						t.Error(err)
						return
					}
					source := sourceOf(t, s, snapshot.SourceVMStructs)
					if s.Heap != nil || source.Status == snapshot.StatusOK || source.Reason == "" {
						t.Errorf("a heap was found: %+v", source)
					}
				})
			}
			_ = stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("the program did not survive it: %v", err)
			}
		})
	}
}

// TestTargetChanges has a JVM end, be stopped, or become another program while
// it is read: whatever is accepted is right, and nothing hangs.
func TestTargetChanges(t *testing.T) {
	jdk := scenario.Required(t)
	scenario.Compile(t) // once for all of them
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		pause  time.Duration
	}{
		{"killed", syscall.SIGKILL, 0},
		{"killed while it stands", syscall.SIGKILL, 20 * time.Second},
		{"ends", syscall.SIGTERM, 0},
		{"stopped", syscall.SIGSTOP, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := scenario.Start(t, "session-open", jdk, scenario.Options{})
			dumped := run(t, capture.Options{PID: p.PID, MaxPause: time.Minute})
			if dumped.Heap == nil {
				t.Fatalf("%+v", sourceOf(t, dumped, snapshot.SourceVMStructs))
			}
			want := holdings(dumped.Heap)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var group sync.WaitGroup
			group.Go(func() {
				time.Sleep(60 * time.Millisecond)
				if err := syscall.Kill(p.PID, c.signal); err != nil {
					t.Error(err)
				}
			})
			within(t, func() {
				for range 4 {
					s, err := capture.Run(ctx, capture.Options{PID: p.PID, Budget: time.Second, MaxPause: c.pause})
					if errors.Is(err, capture.ErrNoTarget) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if s.Heap != nil {
						if d := differences(want, holdings(s.Heap)); len(d) > 0 {
							t.Errorf("accepted and wrong:\n%s", strings.Join(d, "\n"))
						}
					}
				}
			})
			group.Wait()
			_ = syscall.Kill(p.PID, syscall.SIGCONT)
		})
	}
}

// TestTargetExecs has a program that runs a JVM become another one while it is
// read: the memory that was found is gone, the pid and the start time are not.
func TestTargetExecs(t *testing.T) {
	home := scenario.Required(t).Home
	program := filepath.Join(t.TempDir(), "execs")
	gcc := exec.Command("gcc", "-o", program, "testdata/execs.c", "-I"+home+"/include", "-I"+home+"/include/linux",
		"-L"+home+"/lib/server", "-ljvm", "-Wl,-rpath,"+home+"/lib/server")
	if out, err := gcc.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s: run scripts/test-prereqs.sh", err, out)
	}
	for _, wait := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond} {
		for _, pause := range []time.Duration{0, 20 * time.Second} {
			cmd := exec.Command(program, "/bin/cat")
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
			lines := bufio.NewReader(stdout)
			if line, err := lines.ReadString('\n'); line != "READY\n" {
				t.Fatal(line, err)
			}
			if s := run(t, capture.Options{PID: cmd.Process.Pid}); s.Heap == nil || len(s.Heap.Allocations) < 10 {
				t.Errorf("before: %+v", sourceOf(t, s, snapshot.SourceVMStructs))
			}
			var group sync.WaitGroup
			group.Go(func() {
				time.Sleep(wait)
				_, _ = stdin.Write([]byte("x"))
			})
			within(t, func() {
				for range 3 {
					s, err := capture.Run(t.Context(), capture.Options{PID: cmd.Process.Pid, Budget: time.Second, MaxPause: pause})
					if err != nil {
						t.Error(err)
						return
					}
					if h := s.Heap; h != nil && len(h.Allocations) < 10 {
						t.Errorf("accepted: %+v", h.Allocations)
					}
				}
			})
			group.Wait()
			if _, err := stdin.Write([]byte("alive\n")); err != nil {
				t.Error(err)
			}
			if line, err := lines.ReadString('\n'); line != "alive\n" {
				t.Errorf("it says %q, %v", line, err)
			}
			_ = stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("the program did not survive it: %v", err)
			}
		}
	}
}
