package proc

import (
	"bytes"
	"os"
	"slices"
)

// maxStackPointers bounds the threads asked for their stack pointer, at about
// 10 µs each; beyond it the shape of a mapping must tell.
const maxStackPointers = 16 << 10

// stackPointers returns the stack pointers of the threads of a process, where
// the kernel tells them (/proc/PID/task/TID/syscall, needs ptrace permission). A
// thread that is running shows none; most threads wait. Nothing depends on all
// of them being there, so errors only mean fewer.
func (f FS) stackPointers(pid, mappings int) stackPointers {
	var s stackPointers
	if mappings == 0 {
		return s
	}
	dir, err := os.Open(f.path(file(pid, "task")))
	if err != nil {
		return s
	}
	defer func() { _ = dir.Close() }()
	tids, _ := dir.Readdirnames(maxStackPointers)
	for _, tid := range tids {
		content, err := f.read(pid, "task/"+tid+"/syscall", maxSmallFile)
		if err != nil {
			continue // this thread ended, or the kernel does not tell
		}
		if sp, ok := parseSyscall(content); ok {
			s.sorted = append(s.sorted, sp)
		}
	}
	s.known = len(s.sorted) > 0
	slices.Sort(s.sorted)
	return s
}

// parseSyscall reads "number arg… stack-pointer program-counter", or "running",
// or "-1 stack-pointer program-counter", see proc_pid_syscall(5).
func parseSyscall(content []byte) (stackPointer uint64, ok bool) {
	fields := bytes.Fields(content)
	if len(fields) != 3 && len(fields) != 9 {
		return 0, false
	}
	digits, ok := bytes.CutPrefix(fields[len(fields)-2], []byte("0x"))
	if !ok {
		return 0, false
	}
	sp, rest, ok := hexadecimal(digits)
	return sp, ok && len(rest) == 0 && sp != 0
}
