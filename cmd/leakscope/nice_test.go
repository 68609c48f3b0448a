package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLowerPriority lowers that of a process of its own: it can't be taken back.
func TestLowerPriority(t *testing.T) {
	const child = "LEAKSCOPE_TEST_NICE"
	if os.Getenv(child) != "" {
		if err := lowerPriority(defaultNice); err != nil {
			t.Fatal(err)
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for range tasks {
			// The system call returns 20 less the nice value.
			if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || raw > 20-defaultNice {
				t.Errorf("priority %d, %v", raw, err)
			}
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLowerPriority$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v: %s", err, out)
	}
}
