package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// Process is a process that lives, as far as a look at all of them tells.
type Process struct {
	PID        int
	Group      int    // process group
	StartTicks uint64 // since boot; for [FS.Check]
}

// Processes lists the processes that live, sorted by pid. One that ends while
// the list is made may be in it or not; one that is hidden from us is not.
func (f FS) Processes() ([]Process, error) {
	dir, err := os.Open(f.mount)
	if err != nil {
		return nil, fmt.Errorf("list of processes: %w", bare(err))
	}
	defer func() { _ = dir.Close() }()
	var all []Process
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			pid, convErr := strconv.Atoi(name)
			if convErr != nil || pid <= 0 {
				continue
			}
			s, statErr := f.stat(pid)
			if statErr != nil || !s.alive() {
				continue // it has ended
			}
			all = append(all, Process{PID: pid, Group: s.group, StartTicks: s.startTicks})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list of processes: %w", bare(err))
		}
	}
	slices.SortFunc(all, func(a, b Process) int { return a.PID - b.PID })
	return all, nil
}
