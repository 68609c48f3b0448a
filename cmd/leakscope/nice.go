package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownProcess is set where this process runs one command and ends: then its
// priority may be lowered for good.
var ownProcess bool

const (
	defaultNice = 10
	maxNice     = 19
)

// lowerPriority gives all threads of this process a nice value, so that what is
// read while the target runs takes the processor time that nobody else wants.
// Threads started later have it from those that start them.
func lowerPriority(nice int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("nice %d: %w", nice, err)
		}
	}
	return nil
}
