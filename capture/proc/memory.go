package proc

import (
	"bytes"

	"github.com/leakscope/leakscope/snapshot"
)

// Memory returns the resident memory of a process, its split and its limits
// (/proc/PID/status, smaps_rollup, and the files of its memory control group).
// The rss is the kernel's counter in status, so that anon, file and shmem sum
// to it. The error is a [PartialError] when only some files could be read.
//
// smaps_rollup (kernel 4.14, needs ptrace-read permission) makes the kernel
// walk the page tables, about 1.5 µs a mapping; the target can wait for it in
// mmap, munmap and mprotect, but runs on otherwise.
func (f FS) Memory(pid int) (*snapshot.Memory, error) {
	s, err := f.status(pid)
	if err != nil {
		return nil, err
	}
	m := &snapshot.Memory{
		RSSBytes: s.rss, RSSAnonBytes: s.rssAnon, RSSFileBytes: s.rssFile, RSSShmemBytes: s.rssShmem,
		PeakRSSBytes: s.peak, SwapBytes: s.swap, VirtualBytes: s.virtual, PageTablesBytes: s.pageTables,
		Threads: s.threads,
	}
	var missing []error
	if r, err := f.rollup(pid); err != nil {
		missing = append(missing, err)
	} else {
		m.PSSBytes = r.pss
	}
	m.CgroupUsedBytes, m.CgroupLimitBytes, err = f.cgroupMemory(pid)
	if err != nil {
		missing = append(missing, err)
	}
	return m, partial(missing)
}

// rollup is what is kept of /proc/PID/smaps_rollup.
type rollup struct{ rss, pss, swap snapshot.Optional[int64] }

func (f FS) rollup(pid int) (rollup, error) {
	content, err := f.read(pid, "smaps_rollup", maxSmallFile)
	if err != nil {
		return rollup{}, err
	}
	r, err := parseRollup(content)
	if err != nil {
		return r, &Error{PID: pid, File: shown(pid, "smaps_rollup"), Err: err}
	}
	return r, nil
}

// parseRollup reads the one pseudo mapping of smaps_rollup; an empty file (a
// kernel thread, a process that is exiting) leaves everything unknown.
func parseRollup(content []byte) (rollup, error) {
	var r rollup
	line := 0
	for row := range bytes.Lines(content) {
		line++
		if line == 1 {
			continue // the address range
		}
		key, value, ok := bytes.Cut(row, []byte(":"))
		if !ok {
			return r, syntaxError(line, "key: value", row)
		}
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "Rss":
			r.rss, ok = kilobytes(value)
		case "Pss":
			r.pss, ok = kilobytes(value)
		case "Swap":
			r.swap, ok = kilobytes(value)
		}
		if !ok {
			return r, syntaxError(line, "a value of "+string(key), value)
		}
	}
	return r, nil
}
