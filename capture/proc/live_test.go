package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leakscope/leakscope/snapshot"
)

// roleVariable makes the test binary, started again, read a process as whoever
// it runs as, and print how each reading went.
const roleVariable = "LEAKSCOPE_PROC_TEST_READ"

func TestMain(m *testing.M) {
	if pid, err := strconv.Atoi(os.Getenv(roleVariable)); err == nil {
		if err := json.NewEncoder(os.Stdout).Encode(readAll(pid)); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type reading struct {
	Target   snapshot.Target
	Memory   *snapshot.Memory
	Outcomes map[string]snapshot.Status
	Hints    map[string]string
}

func readAll(pid int) reading {
	f := NewFS("")
	r := reading{Outcomes: map[string]snapshot.Status{}, Hints: map[string]string{}}
	note := func(name string, err error) { r.Outcomes[name], _, r.Hints[name] = Outcome(err) }
	var err error
	r.Target, err = f.Target(pid, TargetOptions{})
	note("target", err)
	r.Memory, err = f.Memory(pid)
	note("memory", withCgroup(err))
	_, err = f.Mappings(pid)
	note("mappings", err)
	_, err = f.FDs(pid)
	note("fds", err)
	note("check", f.Check(pid, r.Target.StartTimeTicks))
	return r
}

// withCgroup forgets what a machine without a mounted memory controller, such
// as a bare chroot, can't tell; the rest is read there too.
func withCgroup(err error) error {
	if errors.Is(err, ErrUnsupported) {
		return nil
	}
	return err
}

func TestOurselves(t *testing.T) {
	f, pid := NewFS(""), os.Getpid()
	target, err := f.Target(pid, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if target.Runtime != snapshot.RuntimeGo || target.UID.Or(-1) != os.Geteuid() || target.GID.Or(-1) != os.Getegid() {
		t.Errorf("%+v", target)
	}
	exe, err := os.Executable()
	if err != nil || target.Executable != filepath.Base(exe) {
		t.Errorf("executable %q, want %q (%v)", target.Executable, filepath.Base(exe), err)
	}
	if age := time.Since(*target.StartedAt); age < -2*time.Second || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &st); err != nil || target.Namespaces["net"] != st.Ino {
		t.Errorf("namespaces %v, want net %d (%v)", target.Namespaces, st.Ino, err)
	}
	if strings.Contains(strings.Join(target.CommandLine, " "), "/") && !strings.Contains(strings.Join(target.CommandLine, " "), "<") {
		t.Errorf("command line %q", target.CommandLine)
	}
	if err := f.Check(pid, target.StartTimeTicks); err != nil {
		t.Error(err)
	}
	if err := f.Check(pid, target.StartTimeTicks+1); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v", err)
	}
}

func TestOurDescriptors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		t.Fatalf("%T", listener)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var want snapshot.FD
	if err := raw.Control(func(fd uintptr) {
		var st syscall.Stat_t
		err = syscall.Fstat(int(fd), &st)
		want = snapshot.FD{Number: int(fd), Kind: "socket", Inode: st.Ino}
	}); err != nil {
		t.Fatal(err)
	}
	fds, err := NewFS("").FDs(os.Getpid())
	if err != nil || !slices.Contains(fds, want) {
		t.Errorf("no %+v in %+v (%v)", want, fds, err)
	}
	if !slices.IsSortedFunc(fds, func(a, b snapshot.FD) int { return a.Number - b.Number }) {
		t.Error("not sorted")
	}
}

// sleeper starts a process that only waits.
func sleeper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestEndOfAProcess(t *testing.T) {
	f := NewFS("")
	cmd := sleeper(t, "sleep", "600")
	pid := cmd.Process.Pid
	target, err := f.Target(pid, TargetOptions{})
	if err != nil || target.Runtime != snapshot.RuntimeNative {
		t.Fatalf("%+v %v", target, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Not reaped yet: a zombie, once the kernel has taken it down.
	for deadline := time.Now().Add(30 * time.Second); f.Check(pid, target.StartTimeTicks) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("killed, and still there after 30 s")
		}
	}
	for _, state := range []string{"zombie", "reaped"} {
		if err := f.Check(pid, target.StartTimeTicks); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", state, err)
		}
		if _, err := f.Target(pid, TargetOptions{}); !errors.Is(err, ErrGone) {
			t.Errorf("%s: target: %v", state, err)
		}
		_ = cmd.Wait()
	}
	for name, err := range map[string]error{
		"fds": second(f.FDs(pid)), "mappings": second(f.Mappings(pid)), "memory": second(f.Memory(pid)),
	} {
		if status, reason, hint := Outcome(err); status != snapshot.StatusAbsent || reason == "" || hint == "" {
			t.Errorf("%s of a process that is gone: %s %q %q", name, status, reason, hint)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("running a reader as another user needs root")
	}
	target := sleeper(t, "sleep", "600")
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = []string{roleVariable + "=" + strconv.Itoa(target.Process.Pid), "GORACE=atexit_sleep_ms=0"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var got reading
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]snapshot.Status{
		"target": snapshot.StatusPartial, "memory": snapshot.StatusPartial, "check": snapshot.StatusOK,
		"mappings": snapshot.StatusDenied, "fds": snapshot.StatusDenied,
	} {
		if got.Outcomes[name] != want {
			t.Errorf("%s: %s, want %s", name, got.Outcomes[name], want)
		}
		if want != snapshot.StatusOK && !strings.Contains(got.Hints[name], "CAP_SYS_PTRACE") {
			t.Errorf("%s: hint %q", name, got.Hints[name])
		}
	}
	if got.Target.UID.Or(-1) != 0 || got.Target.Runtime != snapshot.RuntimeUnknown || got.Target.StartTimeTicks == 0 ||
		got.Target.Name != "sleep" || got.Target.Executable != "" {
		t.Errorf("%+v", got.Target)
	}
	if !got.Memory.RSSBytes.IsKnown() || got.Memory.PSSBytes.IsKnown() {
		t.Errorf("%+v", got.Memory)
	}
}

// stop stops a process and waits until every thread of it has stopped.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		running := 0
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(stats) == 0 {
			t.Fatalf("threads of %d: %v", pid, err)
		}
		for _, name := range stats {
			if content, err := os.ReadFile(name); err == nil {
				if s, err := parseStat(content); err != nil || s.state != 'T' {
					running++
				}
			}
		}
		if running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads do not stop", running)
		}
	}
}

// checkSums reads the mappings and checks that they hold all of the resident memory, in a
// process that stands still: to the byte what smaps_rollup says, and what
// status says but for the counters that older kernels batch for each CPU.
func checkSums(t *testing.T, pid int, read func() ([]snapshot.Mapping, error)) (mappings []snapshot.Mapping) {
	t.Helper()
	f := NewFS("")
	var rss, pss int64
	var whole rollup
	for range 20 {
		before, err := f.rollup(pid)
		if err != nil {
			t.Fatal(err)
		}
		if mappings, err = read(); err != nil {
			t.Fatal(err)
		}
		if whole, err = f.rollup(pid); err != nil {
			t.Fatal(err)
		}
		if before == whole { // other processes have come to share its files, or ceased to
			break
		}
	}
	for _, m := range mappings {
		rss += m.RSSBytes.Or(0)
		pss += m.PSSBytes.Or(0)
	}
	if rss != whole.rss.Or(-1) {
		t.Errorf("mappings hold %d bytes, smaps_rollup says %d", rss, whole.rss.Or(-1))
	}
	// Each mapping's share is rounded down to KiB.
	if want := whole.pss.Or(-1); pss > want || pss < want-int64(len(mappings))*1024 {
		t.Errorf("shares sum to %d, smaps_rollup says %d", pss, want)
	}
	m, err := f.Memory(pid)
	if err := withCgroup(err); err != nil {
		t.Fatal(err)
	}
	counted := m.RSSBytes.Or(-1)
	if sum := m.RSSAnonBytes.Or(-1) + m.RSSFileBytes.Or(-1) + m.RSSShmemBytes.Or(-1); sum != counted {
		t.Errorf("anon, file and shmem sum to %d, rss is %d", sum, counted)
	}
	batch := int64(3*64*2*runtime.NumCPU()) * int64(os.Getpagesize())
	t.Logf("mappings %d, status %d, difference %d", rss, counted, rss-counted)
	if rss-counted > batch || counted-rss > batch {
		t.Errorf("mappings hold %d bytes, status says %d: more apart than its counters can be", rss, counted)
	}
	return mappings
}

func TestMappingsOfANativeProcess(t *testing.T) {
	cmd := sleeper(t, "sleep", "600")
	f := NewFS("")
	pid := cmd.Process.Pid
	var mappings []snapshot.Mapping
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		mappings, err = f.Mappings(pid)
		if err != nil {
			t.Fatal(err)
		}
		// loaded, once its C library is mapped
		if slices.ContainsFunc(mappings, func(m snapshot.Mapping) bool { return strings.HasPrefix(m.Name, "libc.") }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no C library: %+v", mappings)
		}
	}
	stop(t, pid)
	mappings = checkSums(t, pid, func() ([]snapshot.Mapping, error) { return f.Mappings(pid) })
	for _, kind := range []snapshot.MappingKind{snapshot.MappingLibrary, snapshot.MappingMainStack, snapshot.MappingKernel} {
		if !slices.ContainsFunc(mappings, func(m snapshot.Mapping) bool { return m.Kind == kind }) {
			t.Errorf("nothing of kind %s", kind)
		}
	}
	for _, m := range mappings {
		if m.Kind == snapshot.MappingThreadStack || m.Kind == snapshot.MappingMallocArena {
			t.Errorf("a process with one thread has %+v", m)
		}
	}
}
