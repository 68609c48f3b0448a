package demo

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/internal/scenario"
)

// holdEnv makes the test binary hold a directory, or with the home of a JDK a
// demo, until it is killed.
const holdEnv = "DEMO_TEST_HOLDS"

func hold() {
	if home := os.Getenv(holdEnv); filepath.IsAbs(home) {
		p, err := Start(context.Background(), home)
		if err != nil {
			fmt.Println("failed:", err) //nolint:forbidigo // to the test that started us
			os.Exit(1)
		}
		fmt.Println(p.PID(), p.dir.path) //nolint:forbidigo // to the test that started us
	} else {
		d, err := newDirectory()
		if err != nil {
			os.Exit(1)
		}
		fmt.Println(0, d.path) //nolint:forbidigo // to the test that started us
		defer d.lock.Close()
	}
	time.Sleep(time.Hour)
}

// holding starts a process that holds a directory and returns both, and the pid
// of its JVM.
func holding(t *testing.T, what string) (holder *exec.Cmd, path string, jvm int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holdEnv+"="+what)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &jvm, &path); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return cmd, path, jvm
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestSweep removes what a killed demo left, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	dead, left, _ := holding(t, "directory")
	_, running, _ := holding(t, "directory")
	for _, name := range []string{"leakscope-demo-new", "leakscope-other"} { // one that is just being made, and another's
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "leakscope-demo-link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "leakscope-demo-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Fatal(err)
	}
	kill(t, dead)
	d, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"leakscope-demo-new", "leakscope-other", "leakscope-demo-link", "leakscope-demo-file", filepath.Base(running), filepath.Base(d.path)}
	slices.Sort(want)
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	if got := names(t, elsewhere); !slices.Equal(got, []string{lockName}) {
		t.Errorf("behind a link there are %v", got)
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
	if slices.Contains(names(t, dir), filepath.Base(d.path)) {
		t.Error("our own is left")
	}
}

// TestKilled kills a running demo with SIGKILL: its JVM ends, and the next demo
// removes its files.
func TestKilled(t *testing.T) {
	jdk := scenario.JDKs(t)[0]
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	cmd, path, jvm := holding(t, jdk.Home)
	if !slices.Contains(names(t, path), "LeakDemo.class") {
		t.Errorf("the demo has %v", names(t, path))
	}
	kill(t, cmd)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", jvm))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the JVM outlives the demo")
		}
	}
	sweep(dir)
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
