package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// examined in the environment has this binary examine a process and print what
// it finds, as somebody without rights.
const examined = "LEAKSCOPE_TEST_EXAMINE"

func TestMain(m *testing.M) {
	if pid, err := strconv.Atoi(os.Getenv(examined)); err == nil {
		e, err := Examine(context.Background(), Options{PID: pid})
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(e)
		}
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// jvm starts a program that does nothing more, and returns its pid.
func jvm(t *testing.T, flags ...string) int {
	t.Helper()
	args := append(append([]string{}, flags...), "-Xmx64m", "-cp", scenario.Compile(t), "scenario.Main", "pending-gc")
	return run(t, exec.Command(filepath.Join(scenario.Required(t).Home, "bin", "java"), args...))
}

// run starts a scenario and waits for its truth. At its end it must not have
// printed anything else, as a JVM does that gets a SIGQUIT.
func run(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	cmd.Dir = t.TempDir()
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
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	t.Cleanup(func() {
		_ = stdin.Close()
		if rest, _ := io.ReadAll(lines); len(rest) > 0 {
			t.Errorf("the target printed %.200q", rest)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the target ended badly: %v", err)
		}
	})
	if err != nil || !strings.HasPrefix(line, "TRUTH ") {
		t.Fatalf("the target says %.200q, %v", line, err)
	}
	return cmd.Process.Pid
}

func examine(t *testing.T, pid int) *snapshot.Examination {
	t.Helper()
	e, err := Examine(t.Context(), Options{PID: pid})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range e.Conditions {
		t.Logf("%s: %s: %s (%s)", c.Name, c.State, c.Found, c.Hint)
		switch c.State {
		case snapshot.ConditionLimits, snapshot.ConditionBlocks:
			if c.Hint == "" && !strings.Contains(c.Found, "no JVM") && !strings.Contains(c.Found, "OpenJ9") {
				t.Errorf("%s: %s, and no way out", c.Name, c.Found)
			}
		}
	}
	names := []string{"connections", "counters", "zero-pause", "freeze", "heap-dump"}
	for i, l := range e.Levels {
		if l.Name != names[i] || l.Available != snapshot.AvailableYes && l.Reason == "" {
			t.Errorf("level %d: %+v", i, l)
		}
	}
	if len(e.Levels) != len(names) {
		t.Errorf("levels %+v", e.Levels)
	}
	return e
}

// found is the state of a condition and what was found; "" when there is none.
func found(e *snapshot.Examination, name string) (snapshot.ConditionState, string) {
	i := slices.IndexFunc(e.Conditions, func(c snapshot.Condition) bool { return c.Name == name })
	if i < 0 {
		return "", ""
	}
	return e.Conditions[i].State, e.Conditions[i].Found
}

func wants(t *testing.T, e *snapshot.Examination, name string, state snapshot.ConditionState, part string) {
	t.Helper()
	if got, text := found(e, name); got != state || !strings.Contains(text, part) {
		t.Errorf("%s is %q: %q; want %q: …%s…", name, got, text, state, part)
	}
}

func level(e *snapshot.Examination, name string) snapshot.Level {
	for _, l := range e.Levels {
		if l.Name == name {
			return l
		}
	}
	return snapshot.Level{}
}

func available(t *testing.T, e *snapshot.Examination, want map[string]snapshot.Availability) {
	t.Helper()
	for name, a := range want {
		if l := level(e, name); l.Available != a {
			t.Errorf("%s is %+v, want %s", name, l, a)
		}
	}
}

const (
	yes = snapshot.AvailableYes
	no  = snapshot.AvailableNo
)

// TestJVMs examines JVMs of many kinds.
func TestJVMs(t *testing.T) {
	scenario.Compile(t) // once for all of them
	t.Run("at hand", jvmAtHand)
	t.Run("hidden", hiddenJVM)
	t.Run("stopped", stoppedJVM)
	t.Run("denied", deniedJVM)
	t.Run("contained", containedJVM)
}

// jvmAtHand examines a JVM of which everything can be had, and holds that it gets
// no signal and no file.
func jvmAtHand(t *testing.T) {
	pid := jvm(t)
	e := examine(t, pid)
	wants(t, e, "process", snapshot.ConditionOK, "a HotSpot JVM")
	wants(t, e, "memory", snapshot.ConditionOK, "can be read from outside")
	wants(t, e, "namespaces", snapshot.ConditionOK, "the same")
	wants(t, e, "virtual machine", snapshot.ConditionOK, "JDK 17")
	wants(t, e, "collector", snapshot.ConditionOK, "of at most 64.0 MiB")
	wants(t, e, "attach", snapshot.ConditionNote, "does not listen yet")
	wants(t, e, "hsperfdata", snapshot.ConditionOK, "published")
	wants(t, e, "native memory tracking", snapshot.ConditionNote, "off")
	wants(t, e, "dump directory", snapshot.ConditionOK, "its working directory")
	available(t, e, map[string]snapshot.Availability{"connections": yes, "counters": yes, "zero-pause": yes, "freeze": yes, "heap-dump": yes})
	if l := level(e, "zero-pause"); l.Pause.Or(-1) != 0 || l.Signals.Or(true) || l.Seconds.Or(0) <= 0 {
		t.Errorf("%+v", l)
	}
	if l := level(e, "freeze"); l.Pause.Or(0) <= 0 || l.Signals.Or(true) || l.Memory.Or(0) <= 0 {
		t.Errorf("%+v", l)
	}
	if l := level(e, "heap-dump"); l.Pause.Or(0) <= 0 || !l.Signals.Or(false) || l.Disk.Or(0) <= 0 {
		t.Errorf("%+v", l)
	}
	left, err := filepath.Glob(fmt.Sprintf("/tmp/.java_pid%d", pid))
	if more, _ := os.ReadDir(fmt.Sprintf("/proc/%d/cwd/", pid)); err != nil || len(left)+len(more) > 0 {
		t.Errorf("left behind: %v %v %v", left, more, err)
	}
	// One that was asked before listens.
	if out, err := exec.Command(filepath.Join(scenario.Required(t).Home, "bin", "jcmd"), strconv.Itoa(pid), "VM.version").CombinedOutput(); err != nil {
		t.Fatalf("jcmd: %v: %s", err, out)
	}
	e = examine(t, pid)
	wants(t, e, "attach", snapshot.ConditionOK, "listens")
	if l := level(e, "heap-dump"); l.Signals.Or(true) {
		t.Errorf("%+v", l)
	}
}

// hiddenJVM examines one that publishes nothing, cannot be asked, and whose
// collector hides the heap.
func hiddenJVM(t *testing.T) {
	e := examine(t, jvm(t, "-XX:+DisableAttachMechanism", "-XX:-UsePerfData", "-XX:+UseZGC", "-XX:NativeMemoryTracking=summary"))
	wants(t, e, "collector", snapshot.ConditionLimits, "Z")
	wants(t, e, "attach", snapshot.ConditionLimits, "switched off")
	wants(t, e, "hsperfdata", snapshot.ConditionNote, "not published")
	wants(t, e, "native memory tracking", snapshot.ConditionOK, "summary")
	available(t, e, map[string]snapshot.Availability{"counters": yes, "zero-pause": no, "freeze": no, "heap-dump": no})
	if l := level(e, "heap-dump"); !strings.Contains(l.Hint, "DisableAttachMechanism") || l.Pause.IsKnown() {
		t.Errorf("%+v", l)
	}
}

// stoppedJVM examines one that is stopped by a signal.
func stoppedJVM(t *testing.T) {
	pid := jvm(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, err := readStatus(strconv.Itoa(pid)); err != nil || strings.HasPrefix(s["State"], "T") {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the target does not stop")
		}
	}
	e := examine(t, pid)
	wants(t, e, "run state", snapshot.ConditionLimits, "stopped by a signal")
	wants(t, e, "attach", snapshot.ConditionLimits, "does not answer")
	available(t, e, map[string]snapshot.Availability{"zero-pause": yes, "freeze": yes, "heap-dump": no})
}

// TestNoJVM examines this process, a Go program that a SIGQUIT would end.
func TestNoJVM(t *testing.T) {
	e := examine(t, os.Getpid())
	wants(t, e, "process", snapshot.ConditionOK, "a Go program")
	wants(t, e, "virtual machine", snapshot.ConditionLimits, "no JVM")
	available(t, e, map[string]snapshot.Availability{"connections": yes, "counters": no, "zero-pause": no, "freeze": no, "heap-dump": no})
	for _, pid := range []int{1 << 22, -1, 0} {
		if _, err := Examine(t.Context(), Options{PID: pid}); !errors.Is(err, ErrNoTarget) {
			t.Errorf("pid %d: error %v, want ErrNoTarget", pid, err)
		}
	}
}

// deniedJVM examines a JVM of root as nobody.
func deniedJVM(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	pid := jvm(t)
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{examined + "=" + strconv.Itoa(pid)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var e snapshot.Examination
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatal(err)
	}
	wants(t, &e, "memory", snapshot.ConditionBlocks, "it runs as uid 0, leakscope as uid 65534 without CAP_SYS_PTRACE")
	wants(t, &e, "descriptors", snapshot.ConditionLimits, "can't be listed")
	wants(t, &e, "virtual machine", snapshot.ConditionUnknown, "can't be read")
	available(t, &e, map[string]snapshot.Availability{"zero-pause": snapshot.AvailableUnknown, "heap-dump": snapshot.AvailableUnknown})
	for _, c := range e.Conditions {
		if c.Name == "memory" && !strings.Contains(c.Hint, "sudo -u '#0'") {
			t.Errorf("hint %q", c.Hint)
		}
	}
}

// containedJVM examines a JVM with mounts, pids and a network of its own, in
// another root, as another user.
func containedJVM(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make namespaces")
	}
	const script = `set -e
mount --make-rprivate /
R=$(mktemp -d)
mount --rbind / $R
mount -t proc proc $R/proc
mount -t tmpfs none $R/tmp
mkdir $R/tmp/classes
mount --bind "$1" $R/tmp/classes
shift
exec chroot $R "$@"`
	java := []string{
		filepath.Join(scenario.Required(t).Home, "bin", "java"),
		"-Xmx64m", "-XX:+UsePerfData", "-cp", "/tmp/classes", "scenario.Main", "pending-gc",
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh", scenario.Compile(t)}, java...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	pid := run(t, cmd)
	e := examine(t, pid)
	wants(t, e, "namespaces", snapshot.ConditionNote, "mount, pid, network")
	wants(t, e, "virtual machine", snapshot.ConditionOK, "JDK 17")
	wants(t, e, "hsperfdata", snapshot.ConditionOK, "published")
	wants(t, e, "attach", snapshot.ConditionNote, "does not listen yet")
	available(t, e, map[string]snapshot.Availability{"connections": yes, "counters": yes, "zero-pause": yes, "freeze": yes, "heap-dump": yes})
	if e.Target.NamespacePID != 1 {
		t.Errorf("pid %d in its namespace, want 1", e.Target.NamespacePID)
	}
}

// TestObstacles holds which obstacle is named for a refusal.
func TestObstacles(t *testing.T) {
	const root, user = "0\t0\t0\t0", "1000\t1000\t1000\t1000"
	for name, c := range map[string]struct {
		self, target map[string]string
		err          error
		why          string
	}{
		"other user":   {map[string]string{"Uid": user, "CapEff": "0"}, map[string]string{"Uid": root}, unix.EPERM, "uid 0, leakscope as uid 1000"},
		"set uid":      {map[string]string{"Uid": user, "CapEff": "0"}, map[string]string{"Uid": "1000\t0\t0\t0"}, unix.EPERM, "leakscope as uid 1000"},
		"filter":       {map[string]string{"Uid": root, "CapEff": "80000", "Seccomp": "2"}, map[string]string{"Uid": root}, unix.EPERM, "seccomp filter"},
		"no call":      {map[string]string{"Uid": root, "CapEff": "0"}, map[string]string{"Uid": root}, unix.ENOSYS, "process_vm_readv"},
		"user ns":      {map[string]string{"Uid": root, "CapEff": "80000"}, map[string]string{"Uid": root}, unix.EPERM, "user namespace"},
		"not a denial": {map[string]string{"Uid": root, "CapEff": "0"}, map[string]string{"Uid": root}, unix.EIO, "input/output"},
	} {
		p := &patient{self: c.self, status: c.target}
		if scope := ptraceScope(); scope > 2 {
			t.Skip("ptrace is forbidden here")
		}
		if why := p.whyDenied(c.err); !strings.Contains(why, c.why) {
			t.Errorf("%s: %q, want …%s…", name, why, c.why)
		}
		if p.accessHint() == "" {
			t.Errorf("%s: no hint", name)
		}
	}
}
