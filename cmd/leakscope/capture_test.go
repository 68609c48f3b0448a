package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// sourcesOf reads a snapshot's sources by name.
func sourcesOf(t *testing.T, file string) map[string]snapshot.Source {
	t.Helper()
	s, err := snapshot.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]snapshot.Source{}
	for _, source := range s.Manifest.Sources {
		all[source.Name] = source
	}
	return all
}

// TestOthersSurvive captures processes that are no JVM, with the heap asked
// for: a Go program, which would die of a SIGQUIT, and a shell that would not
// even notice that it should not have got one.
func TestOthersSurvive(t *testing.T) {
	goProgram := filepath.Join(t.TempDir(), "waits")
	if out, err := exec.Command("go", "build", "-o", goProgram, "./testdata/waits").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, args := range map[string][]string{
		"go":    {goProgram},
		"shell": {"sh", "-c", "trap 'echo signal' QUIT; while read line; do echo $line; done"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(args[0], args[1:]...)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "a.lscope")
			var stdout, stderr bytes.Buffer
			if code := run([]string{"capture", "--heap", strconv.Itoa(cmd.Process.Pid), "-o", file}, &stdout, &stderr); code != exitError {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			if _, err := stdin.Write([]byte("alive\n")); err != nil {
				t.Errorf("it does not read any more: %v", err)
			}
			_ = stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended badly: %v", err)
			}
			if out.String() != "alive\n" {
				t.Errorf("it says %q", out.String())
			}
			sources := sourcesOf(t, file)
			if s := sources[snapshot.SourceProc]; s.Status != snapshot.StatusOK {
				t.Errorf("proc is %s: %s", s.Status, s.Reason)
			}
			if s := sources[snapshot.SourceHeapDump]; s.Status != snapshot.StatusAbsent || !strings.Contains(s.Reason, "not a HotSpot JVM") {
				t.Errorf("heap-dump is %s: %s", s.Status, s.Reason)
			}
		})
	}
}

// TestEndedProcess captures a process that has ended and is not reaped yet: as
// one that ends while it is captured, it still has an entry in /proc, and
// nothing in it.
func TestEndedProcess(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
		if err == nil && strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the process does not end")
		}
	}
	file := filepath.Join(t.TempDir(), "a.lscope")
	var stdout, stderr bytes.Buffer
	code := run([]string{"capture", strconv.Itoa(cmd.Process.Pid), "-o", file}, &stdout, &stderr)
	if code != exitOK && !strings.Contains(stderr.String(), "no such process") {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if code == exitOK {
		for name, s := range sourcesOf(t, file) {
			if s.Status != snapshot.StatusOK && s.Reason == "" {
				t.Errorf("source %s is %s without a reason", name, s.Status)
			}
		}
	}
}

// TestDenied captures a process of another user without its rights: what is
// denied says so and how to change it, and the rest is there.
func TestDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	binary := filepath.Join(t.TempDir(), "leakscope")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "leakscope-denied")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const nobody = 65534
	for _, path := range []string{dir, filepath.Dir(binary), filepath.Dir(filepath.Dir(binary))} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "capture", strconv.Itoa(os.Getpid()), "-o", filepath.Join(dir, "a.lscope"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sources := sourcesOf(t, filepath.Join(dir, "a.lscope"))
	for _, name := range []string{snapshot.SourceFDs, snapshot.SourceMappings} {
		if s := sources[name]; s.Status != snapshot.StatusDenied || s.Reason == "" || s.Hint == "" {
			t.Errorf("source %s is %s (%s; %s), want denied with a hint", name, s.Status, s.Reason, s.Hint)
		}
	}
	if s := sources[snapshot.SourceMemory]; s.Status == snapshot.StatusDenied {
		t.Errorf("memory is %s: %s; the rss is public", s.Status, s.Reason)
	}
	if !strings.Contains(string(out), "hint: ") {
		t.Errorf("no way out in: %s", out)
	}
}

// TestHeapDumpFile builds snapshots from dumps that the JDK's own tool wrote,
// plain and gzipped: alone the states are unknown, with the pid they are not.
func TestHeapDumpFile(t *testing.T) {
	jdk := scenario.JDKs(t)[0]
	p := scenario.Start(t, "session-open", jdk, scenario.Options{})
	defer p.Stop()
	want := p.Truth().States["peer-closed"].Bytes
	dir := t.TempDir()
	for name, args := range map[string][]string{"plain.hprof": nil, "zipped.hprof.gz": {"-gz=1"}} {
		dump := filepath.Join(dir, name)
		jcmd := exec.Command(filepath.Join(jdk.Home, "bin", "jcmd"), append(append([]string{strconv.Itoa(p.PID), "GC.heap_dump", "-all"}, args...), dump)...)
		if out, err := jcmd.CombinedOutput(); err != nil {
			t.Fatalf("jcmd: %v\n%s", err, out)
		}
		for state, extra := range map[string][]string{"unknown": nil, "peer-closed": {strconv.Itoa(p.PID)}} {
			file := filepath.Join(dir, name+"-"+state+".lscope")
			leakscope(t, append([]string{"capture", "--heap-dump", dump, "-o", file}, extra...)...)
			out, _ := leakscope(t, "report", file, "--format", "json")
			var r analyze.Result
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			for _, row := range r.States {
				if string(row.State) == state && !close1(row.Bytes.Head.Or(-1), want) {
					t.Errorf("%s: state %s holds %d bytes, the program says %d", name, state, row.Bytes.Head.Or(-1), want)
				}
			}
			for _, row := range r.Connections {
				if row.State == analyze.StateUnknown && row.Reason == "" {
					t.Errorf("%s: connection %s has an unknown state without a reason", name, row.ID)
				}
			}
		}
		// Half a dump: what was read is kept, and marked.
		content, err := os.ReadFile(dump)
		if err != nil {
			t.Fatal(err)
		}
		cut, file := filepath.Join(dir, "cut-"+name), filepath.Join(dir, "cut-"+name+".lscope")
		if err := os.WriteFile(cut, content[:len(content)*2/3], 0o600); err != nil {
			t.Fatal(err)
		}
		leakscope(t, "capture", "--heap-dump", cut, "-o", file)
		if s := sourcesOf(t, file)[snapshot.SourceHeapDump]; s.Status != snapshot.StatusPartial || !strings.Contains(s.Reason, "offset") {
			t.Errorf("cut %s: source is %s: %s", name, s.Status, s.Reason)
		}
	}
}

// TestInterrupted ends a series of captures by a signal: what was captured is
// kept, and the exit code names the signal.
func TestInterrupted(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "leakscope")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for sent, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitTerminated} {
		t.Run(sent.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(binary, "capture", "--count", "3", "--interval", "1h", strconv.Itoa(os.Getpid()), "-o", "a.lscope")
			cmd.Dir = dir
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil || line != "a-1.lscope\n" {
				t.Errorf("first line %q, %v", line, err)
			}
			if err := cmd.Process.Signal(sent); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("exit code %d, want %d", got, want)
			}
			if _, err := snapshot.ReadFile(filepath.Join(dir, "a-1.lscope")); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
