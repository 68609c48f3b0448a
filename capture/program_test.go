package capture_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// compiled compiles a Java program of a test for JDK 8 and later, or for a later
// one, and returns the folder of its classes: the JVM may run as somebody else.
func compiled(t testing.TB, source, release string) (classes string) {
	t.Helper()
	classes = t.TempDir()
	javac := filepath.Join(scenario.Required(t).Home, "bin", "javac")
	if out, err := exec.Command(javac, "-encoding", "UTF-8", "--release", release, "-Xlint:-options", "-d", classes, source).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v: %s", err, out)
	}
	if err := os.Chmod(classes, 0o755); err != nil { // #nosec
		t.Fatal(err)
	}
	return classes
}

// dump captures a program by a heap dump.
func dump(t *testing.T, pid int) *snapshot.Snapshot {
	t.Helper()
	s := run(t, capture.Options{PID: pid, Parts: []capture.Part{capture.PartConnections, capture.PartJVM, capture.PartHeap}})
	if s.Heap == nil {
		t.Fatal("no heap dump: ", sourceOf(t, s, snapshot.SourceHeapDump).Reason)
	}
	return s
}

// launch starts a program that says "ready" when it is, and that ends with its
// standard input, which is with the test.
func launch(t testing.TB, jdk scenario.JDK, arguments ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(jdk.Home, "bin", "java"), arguments...)
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
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); !strings.EqualFold(line, "ready\n") {
		t.Fatal(line, err)
	}
	return cmd.Process.Pid
}
