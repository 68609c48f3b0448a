package vmstructs

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/internal/scenario"
)

// mode in the environment starts this binary as a target.
const mode = "LEAKSCOPE_TEST_MODE"

func TestMain(m *testing.M) {
	switch os.Getenv(mode) {
	case "map":
		mapFile(os.Getenv("LEAKSCOPE_TEST_FILE"))
		return
	case "exec":
		_, _ = os.Stdout.WriteString("ready\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = syscall.Exec("/proc/self/exe", os.Args[:1], []string{mode + "=map"})
		return
	}
	os.Exit(m.Run())
}

// mapFile maps a file as a dynamic linker would its first segment, says where,
// and waits for the end of its input.
func mapFile(name string) {
	line := "ready"
	if name != "" {
		f, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		st, _ := f.Stat()
		b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
		if err != nil {
			panic(err)
		}
		line += " " + strconv.FormatUint(uint64(uintptr(unsafe.Pointer(&b[0]))), 16)
	}
	_, _ = os.Stdout.WriteString(line + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// target is a process of this binary.
type target struct {
	*exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	said  string
}

func startTarget(t *testing.T, env ...string) *target {
	t.Helper()
	p := &target{Cmd: exec.Command("/proc/self/exe")}
	p.Env = env
	var err error
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.stdin.Close()
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	p.out = bufio.NewReader(stdout)
	p.next(t)
	return p
}

func (p *target) next(t *testing.T) {
	t.Helper()
	var err error
	if p.said, err = p.out.ReadString('\n'); err != nil || !strings.HasPrefix(p.said, "ready") {
		t.Fatalf("%q, %v", p.said, err)
	}
}

// TestNoJVM opens processes that map a file named libjvm.so and are no JVM.
func TestNoJVM(t *testing.T) {
	jdk := scenario.Required(t)
	real, err := os.ReadFile(filepath.Join(jdk.Home, "lib/server/libjvm.so"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	libc, err := os.ReadFile(libcPath(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"text":        []byte("not a library\n"),
		"zeros":       make([]byte, 64<<10),
		"header":      real[:64],
		"page":        real[:pageSize],
		"cut":         real[:len(real)/2],
		"not-linked":  real, // the file as it is: no address in it is right
		"program":     self,
		"other":       libc,
		"big-endian":  append([]byte("\x7fELF\x02\x02\x01"), make([]byte, 8192)...),
		"no-segments": append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 8192)...),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "libjvm.so")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			p := startTarget(t, mode+"=map", "LEAKSCOPE_TEST_FILE="+file)
			started := time.Now()
			_, err := Open("", p.Process.Pid)
			if !errors.Is(err, ErrNotHotSpot) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("error %v, want that it is no HotSpot JVM", err)
			}
			t.Logf("%v (%v)", err, time.Since(started).Round(time.Millisecond))
		})
	}
}

// libcPath finds the C library that a JVM on this machine maps.
func libcPath(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/lib/*/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("no libc.so.6")
	return ""
}

// TestFileReplaced has something else in the place of a file whose mapping was
// never touched: it is not read, and a FIFO does not block.
func TestFileReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	const size = 64 << 10
	for name, replace := range map[string]func(file string) error{
		"nothing":   os.Remove,
		"fifo":      func(file string) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) },
		"directory": func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"device":    func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/dev/zero", file)) },
		"other file": func(file string) error {
			return errors.Join(os.WriteFile(file+".new", make([]byte, size), 0o600), os.Rename(file+".new", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "libjvm.so")
			if err := os.WriteFile(file, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
				t.Fatal(err)
			}
			tg := startTarget(t, mode+"=map", "LEAKSCOPE_TEST_FILE="+file)
			p, err := openProcess("", tg.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			_, text, _ := strings.Cut(strings.TrimSpace(tg.said), " ")
			at, err := strconv.ParseUint(text, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 8)
			if err := p.read([]span{{at, b}}); err != nil || b[0] != 7 {
				t.Fatalf("%v, % x", err, b)
			}
			if err := replace(file); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- p.read([]span{{at, b}}) }()
			select {
			case err := <-done:
				if !errors.Is(err, ErrNotResident) {
					t.Errorf("error %v, % x", err, b)
				}
			case <-time.After(10 * time.Second):
				t.Error("it blocks")
			}
			if resident := make([]bool, 1); p.residentPages(at, 1, resident) != nil || resident[0] {
				t.Error("the page is resident now")
			}
		})
	}
}

// TestExec has a process run another program while it is read.
func TestExec(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	tg := startTarget(t, mode+"=exec")
	p, err := openProcess("", tg.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	b := make([]byte, 64)
	at := p.mappings[0].start
	if err := errors.Join(p.read([]span{{at, b}}), p.same()); err != nil || !bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
		t.Fatalf("% x, %v", b[:4], err)
	}
	if _, err := tg.stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	tg.next(t)
	if err := p.same(); !errors.Is(err, ErrGone) {
		t.Errorf("same: %v, want ErrGone", err)
	}
	if err := p.refresh(); !errors.Is(err, ErrGone) {
		t.Errorf("refresh: %v, want ErrGone", err)
	}
	if err := p.read([]span{{1 << 40, b}}); !errors.Is(err, ErrGone) {
		t.Errorf("read: %v, want ErrGone", err)
	}
}

// acting does something to a target at one of the reads.
type acting struct {
	memory
	left atomic.Int64
	do   func()
}

func (a *acting) read(spans []span) error {
	if a.left.Add(-1) == 0 {
		a.do()
	}
	return a.memory.read(spans)
}

// openActing opens a JVM whose n-th read from now on does something first.
func openActing(t *testing.T, pid int, do func()) (*Target, *acting) {
	t.Helper()
	p, err := openProcess("", pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	a := &acting{memory: p, do: do}
	j, err := openJVM(a, p.mappings)
	if err != nil {
		t.Fatal(err)
	}
	return &Target{j: j, process: p, refresh: p.refresh, same: p.same}, a
}

// TestJVMEnds kills a JVM at different points of a reading.
func TestJVMEnds(t *testing.T) {
	classes := compile(t, "Owners")
	jdk := scenario.Required(t)
	for _, n := range []int64{1, 3, 30, 300, 900} {
		t.Run(strconv.FormatInt(n, 10), func(t *testing.T) {
			pid := start(t, jdk, classes, "Owners")
			target, a := openActing(t, pid, func() {
				_ = unix.Kill(pid, unix.SIGKILL)
				waitZombie(t, pid)
			})
			a.left.Store(n)
			reading, err := target.Read(t.Context(), Options{Workers: 1})
			if !errors.Is(err, ErrGone) || reading.Heap != nil {
				t.Errorf("error %v, want ErrGone", err)
			}
		})
	}
}

// waitZombie waits until a process has ended.
func waitZombie(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Errorf("pid %d does not end", pid)
}

// TestJVMStopped stops a JVM in the middle of a reading, and before one: that
// changes nothing, and the reading does not start it again.
func TestJVMStopped(t *testing.T) {
	classes := compile(t, "Owners")
	pid := start(t, scenario.Required(t), classes, "Owners")
	defer func() { _ = unix.Kill(pid, unix.SIGCONT) }()
	target, a := openActing(t, pid, func() { _ = unix.Kill(pid, unix.SIGSTOP) })
	for _, n := range []int64{30, 0} {
		a.left.Store(n)
		reading, err := target.Read(t.Context(), Options{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ownersTruth, summary(reading.Heap)); diff != "" {
			t.Error(diff)
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || !bytes.Contains(stat, []byte(") T ")) {
			t.Errorf("it is not stopped any more: %q, %v", stat, err)
		}
	}
}

// TestInterrupted ends a reading by its context.
func TestInterrupted(t *testing.T) {
	m := loadImage(t, images[0])
	for _, n := range []int64{50, 500, 1000} {
		ctx, cancel := context.WithCancel(t.Context())
		c := &image{mappings: m.mappings, pages: m.pages}
		target, err := c.open()
		if err != nil {
			t.Fatal(err)
		}
		before := c.cost().Calls
		c.fault = func(call int64, _ span, read func() error) error {
			if call >= before+n { // a call may be for nothing
				cancel()
			}
			return read()
		}
		reading, err := target.Read(ctx, Options{Workers: 1})
		if err == nil || reading.Heap != nil || c.cost().Calls > before+n+1000 {
			t.Errorf("interrupted at call %d of %d: %v", before+n, c.cost().Calls, err)
		}
		cancel()
	}
}
