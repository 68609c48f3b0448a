package launch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture/proc"
)

// childEnv makes the test binary start a command and wait, so that a test can
// kill it.
const childEnv = "LAUNCH_TEST_STARTS"

func TestMain(m *testing.M) {
	if script := os.Getenv(childEnv); script != "" {
		_ = os.Unsetenv(childEnv)
		g, err := Start(Options{Name: "the command", Args: []string{"sh", "-c", script}, Output: os.Stdout})
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		<-g.Ended()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// record is what a command has printed.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) await(t *testing.T, want string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(r.String(), want) }, "no %q in the output", want)
}

func eventually(t *testing.T, done func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf(format, args...)
		}
	}
}

func start(t *testing.T, script string) (*Group, *record) {
	t.Helper()
	out := &record{}
	g, err := Start(Options{Name: "the command", Args: []string{"sh", "-c", script}, Output: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Stop(0, nil) })
	return g, out
}

// children lists our own children, zombies among them.
func children(t *testing.T) []string {
	t.Helper()
	var all []string
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		t.Fatalf("no list of children: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			all = append(all, strings.Fields(string(text))...)
		}
	}
	return all
}

// TestStopLeavesNothing stops commands that make it hard: whatever they have
// started is gone, and was waited for.
func TestStopLeavesNothing(t *testing.T) {
	bystander := exec.Command("sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	for name, test := range map[string]struct {
		script string
		grace  time.Duration
		how    string
	}{
		"obeys":                 {"echo up; exec sleep 600", time.Hour, "signal: terminated"},
		"cleans up":             {"trap 'echo bye; exit 3' TERM; echo up; sleep 600 & wait", time.Hour, "exit status 3"},
		"ignores":               {"trap '' TERM; echo up; sleep 600", 50 * time.Millisecond, "signal: killed"},
		"no grace":              {"trap 'exit 3' TERM; echo up; sleep 600", 0, "signal: killed"},
		"is stopped":            {"echo up; kill -STOP $$; sleep 600", time.Hour, "signal: terminated"},
		"has children":          {"sleep 600 & sleep 600 & echo up; wait", time.Hour, "signal: terminated"},
		"daemon":                {"setsid sh -c 'setsid sleep 600 & sleep 600' & sleep 0.1; echo up; wait", time.Hour, "signal: terminated"},
		"daemon that ignores":   {"setsid sh -c 'trap \"\" TERM; sleep 600; sleep 600' & sleep 0.1; echo up; wait", 2 * time.Second, "signal: terminated"},
		"ended, daemon remains": {"setsid sleep 600 & sleep 600 & echo up; exit 4", time.Hour, "exit status 4"},
		"ended":                 {"echo up", time.Hour, "exit status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			g, out := start(t, test.script)
			out.await(t, "up")
			if strings.HasPrefix(name, "ended") {
				<-g.Ended()
			}
			if name == "is stopped" {
				eventually(t, func() bool {
					stat, err := os.ReadFile("/proc/" + strconv.Itoa(g.PID()) + "/stat")
					return err == nil && strings.Contains(string(stat), ") T ")
				}, "it does not stop")
			}
			if err := g.Stop(test.grace, nil); err != nil {
				t.Error(err)
			}
			if left, err := g.Members(); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if got := children(t); !slices.Equal(got, []string{strconv.Itoa(bystander.Process.Pid)}) {
				t.Errorf("children %v, want the bystander %d alone", got, bystander.Process.Pid)
			}
			if got := g.State(); got != test.how || g.Succeeded() != (test.how == "exit status 0") {
				t.Errorf("it ended with %s, succeeded: %v; want %s", got, g.Succeeded(), test.how)
			}
			select {
			case <-g.Ended():
			default:
				t.Error("it has not ended")
			}
			if err := g.Stop(time.Hour, nil); err != nil {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

// TestHurry ends a long grace early.
func TestHurry(t *testing.T) {
	g, out := start(t, "trap '' TERM; echo up; sleep 600; sleep 600")
	out.await(t, "up")
	hurry := make(chan struct{})
	close(hurry)
	if err := g.Stop(time.Hour, hurry); err != nil || g.State() != "signal: killed" {
		t.Errorf("%s, %v", g.State(), err)
	}
}

// TestKilledParent kills the process that started a command with SIGKILL: the
// command does not outlive it.
func TestKilledParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), childEnv+"=echo $$; exec sleep 600")
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	lives := func() bool {
		all, err := proc.NewFS("").Processes()
		return err != nil || slices.ContainsFunc(all, func(p proc.Process) bool { return p.PID == pid })
	}
	if !lives() {
		t.Fatal("the command does not run")
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, func() bool { return !lives() }, "the command outlives the process that started it")
}

func TestMembers(t *testing.T) {
	g, out := start(t, "sleep 600 & setsid sh -c 'echo up; sleep 600' & wait")
	out.await(t, "up")
	members, err := g.Members()
	if err != nil || len(members) < 3 || members[0].PID != g.PID() {
		t.Errorf("members %v, %v; want a shell, a sleep, and what left the group", members, err)
	}
	outside := 0
	for _, m := range members {
		if m.Group != g.PID() {
			outside++
		}
	}
	if outside == 0 {
		t.Errorf("none of %v left the group", members)
	}
}

func TestStartRefuses(t *testing.T) {
	if _, err := Start(Options{Name: "the command", Args: []string{"/does/not/exist"}}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "start the command") {
		t.Errorf("no such file: %v", err)
	}
	if _, err := Start(Options{Name: "the command", Args: []string{t.TempDir()}}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Start(Options{Name: "the command"}); err == nil {
		t.Error("nothing was started without an error")
	}
}

func TestOutput(t *testing.T) {
	var seen []string
	out := &record{}
	g, err := Start(Options{
		Name: "the load", Output: out, Line: func(s string) { seen = append(seen, s) }, Env: []string{"GREETING=hello"},
		Args: []string{"sh", "-c", `cat; echo "$GREETING"; printf '\033[31mred\tx\r\n' >&2; head -c 100000 /dev/zero | tr '\0' x; echo; for i in $(seq 30); do echo $i; done; printf end`},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-g.Ended()
	if err := g.Stop(time.Hour, nil); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 35 || seen[0] != "hello" || seen[1] != "\x1b[31mred\tx" || len(seen[2])+len(seen[3]) != 100000 || seen[34] != "end" {
		t.Errorf("%d lines: %.60q", len(seen), seen)
	}
	if text := out.String(); !strings.HasPrefix(text, "hello\n\x1b[31mred\tx\r\nxxx") || !strings.HasSuffix(text, "\n29\n30\nend\n") {
		t.Errorf("output %.40q … %q", text, text[len(text)-20:])
	}
	last := g.LastLines()
	if len(last) != keptLines || last[0] != "12" || last[keptLines-1] != "end" {
		t.Errorf("last lines %q", last)
	}
	if e := g.EndedWhen("before it was ready"); e.Error() != "the load ended before it was ready: exit status 0" {
		t.Error(e)
	}
	for text, want := range map[string]string{"a\x1b[31mb\tc": "a?[31mb c", "\xff\x00ä工": "??ä工", strings.Repeat("x", 500): strings.Repeat("x", maxKeptRunes) + "…"} {
		if got := printable(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// failing is a writer that nobody reads behind.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestOutputNobodyTakes does not hold the command up.
func TestOutputNobodyTakes(t *testing.T) {
	g, err := Start(Options{Name: "the load", Output: failing{}, Args: []string{"sh", "-c", "head -c 1000000 /dev/zero; echo; echo done"}})
	if err != nil {
		t.Fatal(err)
	}
	<-g.Ended()
	if err := g.Stop(time.Hour, nil); err != nil || !g.Succeeded() || g.LastLines()[len(g.LastLines())-1] != "done" {
		t.Errorf("%v, %s, %q", err, g.State(), g.LastLines())
	}
}
