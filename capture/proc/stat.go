package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// ticksPerSecond is USER_HZ, the unit of start times in /proc/PID/stat: 100 on
// every architecture that Go runs on.
const ticksPerSecond = 100

// stat is what is kept of /proc/PID/stat.
type stat struct {
	comm       string
	state      byte
	group      int // process group
	threads    int64
	startTicks uint64 // since boot
}

// alive reports whether the process still runs: a zombie with one thread has
// given back its memory and descriptors; with more, only its first thread ended.
func (s stat) alive() bool {
	return s.state != 'X' && s.state != 'x' && (s.state != 'Z' || s.threads > 1)
}

func (f FS) stat(pid int) (stat, error) {
	content, err := f.read(pid, "stat", maxSmallFile)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(content)
	if err != nil {
		return stat{}, &Error{PID: pid, File: shown(pid, "stat"), Err: err}
	}
	return s, nil
}

// parseStat reads "pid (comm) state …", see proc_pid_stat(5). The name may
// hold spaces and brackets, so fields are counted from the last bracket.
func parseStat(content []byte) (stat, error) {
	open, end := bytes.IndexByte(content, '('), bytes.LastIndexByte(content, ')')
	if open < 0 || end < open {
		return stat{}, syntaxError(1, "pid (name) state", content)
	}
	s := stat{comm: printable(content[open+1 : end])}
	const first, group, threads, start = 3, 5, 20, 22 // numbers of fields, as in the manual
	fields := bytes.Fields(content[end+1:])
	if len(fields) <= start-first {
		return stat{}, syntaxError(1, fmt.Sprintf("%d fields", start), content)
	}
	if len(fields[0]) != 1 {
		return stat{}, syntaxError(1, "a state letter", fields[0])
	}
	s.state = fields[0][0]
	var err error
	if s.group, err = strconv.Atoi(string(fields[group-first])); err != nil {
		return stat{}, syntaxError(1, "a process group in field 5", fields[group-first])
	}
	if s.threads, err = strconv.ParseInt(string(fields[threads-first]), 10, 64); err != nil {
		return stat{}, syntaxError(1, "a number of threads in field 20", fields[threads-first])
	}
	if s.startTicks, err = strconv.ParseUint(string(fields[start-first]), 10, 64); err != nil {
		return stat{}, syntaxError(1, "a start time in field 22", fields[start-first])
	}
	return s, nil
}

// Check returns nil when the process pid is still the one that started at
// startTicks (clock ticks since boot, [snapshot.Target.StartTimeTicks]).
// Otherwise the error matches [ErrGone], or says why it cannot be told.
func (f FS) Check(pid int, startTicks uint64) error {
	s, err := f.stat(pid)
	if err != nil {
		return err
	}
	switch {
	case !s.alive():
		err = errors.New("exited, not yet reaped by its parent")
	case s.startTicks != startTicks:
		err = fmt.Errorf("pid reused: started at tick %d, want %d", s.startTicks, startTicks)
	default:
		return nil
	}
	return &Error{PID: pid, File: shown(pid, "stat"), Kind: ErrGone, Err: err}
}

// printable makes a name from another process safe to show: invalid and control
// characters become question marks.
func printable(name []byte) string {
	clean := bytes.ToValidUTF8(name, []byte("?"))
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, clean))
}
