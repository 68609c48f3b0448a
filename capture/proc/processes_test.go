package proc

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestProcesses looks for a process in a group of its own, while it lives and
// when it has ended and is not reaped yet.
func TestProcesses(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	find := func(pid int) (Process, bool) {
		t.Helper()
		all, err := NewFS("").Processes()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(p Process) bool { return p.PID == pid })
		if i < 0 {
			return Process{}, false
		}
		return all[i], true
	}
	if p, ok := find(pid); !ok || p.Group != pid || NewFS("").Check(pid, p.StartTicks) != nil {
		t.Errorf("%+v, found: %v", p, ok)
	}
	if p, ok := find(os.Getpid()); !ok || p.Group != syscall.Getpgrp() {
		t.Errorf("ourselves: %+v, found: %v", p, ok)
	}
	_ = cmd.Process.Kill()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, ok := find(pid); !ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a process that has ended is listed")
		}
	}
	_ = cmd.Wait()

	if _, err := NewFS(t.TempDir() + "/none").Processes(); err == nil {
		t.Error("no proc, no error")
	}
}
