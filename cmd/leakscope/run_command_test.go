package main

import (
	"bufio"
	"bytes"
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

	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/snapshot"
)

// self is this test binary under the name by which it is leakscope.
func self(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Args = append([]string{"leakscope"}, args...)
	return cmd
}

// lives reports whether a process is there, zombies not counted.
func lives(t *testing.T, pid int) bool {
	t.Helper()
	all, err := proc.NewFS("").Processes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(p proc.Process) bool { return p.PID == pid })
}

// TestRunInterrupted ends leak tests at every stage by a signal: the exit code
// names it, what was captured is kept, and no process that was started, by the
// command or by the load, is left.
func TestRunInterrupted(t *testing.T) {
	const (
		command = `setsid sleep 600 & echo "pid $!"; sleep 600 & echo "pid $! $$"; wait`
		ignores = `trap 'echo heard' TERM; ` + command + `; sleep 600; sleep 600`
	)
	for name, test := range map[string]struct {
		flags   []string
		command string
		at      string // the line at which the signal is sent
		signals []syscall.Signal
		pids    int
		kept    bool
	}{
		"waiting":         {[]string{"--ready-log", "never"}, command, "waiting for it", []syscall.Signal{syscall.SIGINT}, 3, false},
		"warming up":      {[]string{"--warmup", "1h"}, command, "pid", []syscall.Signal{syscall.SIGTERM}, 3, false},
		"between":         {[]string{"--warmup", "0s", "--duration", "9h"}, command, "captured", []syscall.Signal{syscall.SIGTERM}, 3, true},
		"under load":      {[]string{"--warmup", "0s", "--load", "setsid sleep 600 & echo pid $! $$; wait"}, command, "load 1 of", []syscall.Signal{syscall.SIGINT}, 5, true},
		"signalled twice": {[]string{"--warmup", "0s", "--duration", "9h", "--grace", "1h"}, ignores, "captured", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := t.TempDir()
			args := append([]string{"run", "--keep", kept}, test.flags...)
			cmd := self(t, append(args, "--", "sh", "-c", test.command)...)
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			var pids []int
			reached := false
			lines := bufio.NewScanner(stderr)
			for (len(pids) < test.pids || !reached) && lines.Scan() {
				if list, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
					for _, field := range strings.Fields(list) {
						pid, err := strconv.Atoi(field)
						if err != nil {
							t.Fatal(err)
						}
						pids = append(pids, pid)
					}
				}
				reached = reached || strings.Contains(lines.Text(), test.at)
			}
			for _, pid := range pids {
				if !lives(t, pid) {
					t.Errorf("pid %d does not run before the signal", pid)
				}
			}
			for i, s := range test.signals {
				for i > 0 && lines.Text() != "heard" && lines.Scan() {
					continue // until the first has reached the command
				}
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			rest, _ := io.ReadAll(stderr)
			_ = cmd.Wait()
			want := map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitTerminated}[test.signals[0]]
			if got := cmd.ProcessState.ExitCode(); got != want || stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; stdout %q, stderr:\n%s", got, want, stdout.String(), rest)
			}
			for _, pid := range pids {
				if lives(t, pid) {
					t.Errorf("pid %d is left", pid)
				}
				if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
					t.Errorf("pid %d was not waited for: %.60s", pid, stat)
				}
			}
			_, err = snapshot.ReadFile(filepath.Join(kept, "base.lscope"))
			if (err == nil) != test.kept {
				t.Errorf("the base is kept: %v, want %v", err, test.kept)
			}
		})
	}
}

// TestRunKilled kills a leak test with SIGKILL, which nobody can act on: the
// kernel ends the command.
func TestRunKilled(t *testing.T) {
	cmd := self(t, "run", "--warmup", "1h", "--", "sh", "-c", "echo pid $$; exec sleep 600")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(stderr); pid == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			if pid, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pid == 0 || !lives(t, pid) {
		t.Fatalf("pid %d does not run", pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(30 * time.Second); lives(t, pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("pid %d outlives leakscope", pid)
		}
	}
}
