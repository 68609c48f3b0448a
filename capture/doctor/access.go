package doctor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

const maxStatus = 64 << 10 // bytes; a status file has about 1500

// readStatus reads the lines of /proc/PID/status (proc_pid_status(5)).
func readStatus(pid string) (map[string]string, error) {
	f, err := os.Open(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxStatus))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range bytes.Lines(text) {
		if key, value, ok := strings.Cut(string(line), ":"); ok {
			all[key] = strings.TrimSpace(value)
		}
	}
	return all, nil
}

// mayTrace reports whether this process has CAP_SYS_PTRACE (capabilities(7)).
func (p *patient) mayTrace() bool {
	effective, err := strconv.ParseUint(p.self["CapEff"], 16, 64)
	return err == nil && effective&(1<<unix.CAP_SYS_PTRACE) != 0
}

// ptraceScope is that of the Yama module; -1 where it is not there
// (Documentation/admin-guide/LSM/Yama.rst).
func ptraceScope() int {
	text, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return n
}

// memory tries to read the target's memory, and says what is in the way.
func (p *patient) memory() {
	err := tryRead(p.pid)
	if err == nil {
		p.readable = true
		by := "it is of the same user"
		if p.mayTrace() {
			by = "by CAP_SYS_PTRACE"
		}
		p.note("memory", snapshot.ConditionOK, "", "can be read from outside: %s", by)
		return
	}
	p.note("memory", snapshot.ConditionBlocks, p.accessHint(), "can't be read from outside: %s", p.whyDenied(err))
}

// tryRead reads a byte of the target's memory: of the first mapping that can be
// read and is in memory.
func tryRead(pid int) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxStatus)
	last := errors.New("no mapping that can be read")
	const enough = 64
	for tries := 0; lines.Scan() && tries < enough; {
		bounds, rest, _ := strings.Cut(lines.Text(), " ")
		start, _, _ := strings.Cut(bounds, "-")
		at, err := strconv.ParseUint(start, 16, 64)
		if err != nil || !strings.HasPrefix(rest, "r") {
			continue
		}
		tries++
		var b [1]byte
		local := []unix.Iovec{{Base: &b[0]}}
		local[0].SetLen(1)
		if _, err = unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: 1}}, 0); err == nil {
			return nil
		}
		last = fmt.Errorf("process_vm_readv: %w", err)
		if !errors.Is(err, unix.EFAULT) {
			return last
		}
	}
	return errors.Join(lines.Err(), last)
}

// sameUser reports whether the kernel takes this process for one of the
// target's user: all of the target's ids are ours (ptrace(2), PTRACE_MODE).
func (p *patient) sameUser() bool {
	own := strings.Fields(p.self["Uid"])
	theirs := strings.Fields(p.status["Uid"])
	for i := range 3 { // real, effective, saved
		if len(own) < 4 || len(theirs) < 4 || theirs[i] != own[3] {
			return false
		}
	}
	return true
}

// whyDenied names the obstacle of a reading that was refused.
func (p *patient) whyDenied(err error) string {
	denied := errors.Is(err, os.ErrPermission)
	scope := ptraceScope()
	switch {
	case errors.Is(err, unix.ENOSYS):
		return "this kernel, or a seccomp filter, has no process_vm_readv"
	case !denied:
		return err.Error()
	case !p.mayTrace() && !p.sameUser():
		return fmt.Sprintf("it runs as uid %s, leakscope as uid %s without CAP_SYS_PTRACE", firstWord(p.status["Uid"]), firstWord(p.self["Uid"]))
	case scope >= 3:
		return fmt.Sprintf("kernel.yama.ptrace_scope is %d: no process may trace until the next boot", scope)
	case !p.mayTrace() && scope == 2:
		return "kernel.yama.ptrace_scope is 2: only CAP_SYS_PTRACE may"
	case !p.mayTrace() && scope == 1:
		return "kernel.yama.ptrace_scope is 1: only a parent or CAP_SYS_PTRACE may"
	case p.self["Seccomp"] == "2":
		return "refused, perhaps by the seccomp filter that leakscope runs under"
	case !p.mayTrace():
		return "refused, though it is of the same user: it has made itself undumpable, or has capabilities that leakscope lacks"
	}
	return "refused in spite of CAP_SYS_PTRACE: it is in another user namespace, or a security module forbids it"
}

// accessHint is the way out of a refusal.
func (p *patient) accessHint() string {
	scope := ptraceScope()
	switch {
	case p.mayTrace() && (p.self["Seccomp"] == "2" || scope < 3):
		return "run leakscope on the machine itself, as root, rather than in a container"
	case scope >= 3:
		return "boot with another kernel.yama.ptrace_scope"
	case p.sameUser() && scope > 0:
		return "run as root, or: sysctl kernel.yama.ptrace_scope=0; in a container: --cap-add SYS_PTRACE"
	case p.sameUser():
		return "run as root; in a container: --cap-add SYS_PTRACE"
	}
	return fmt.Sprintf("run as uid %s (sudo -u '#%s' leakscope …), or as root; in a container: --cap-add SYS_PTRACE", firstWord(p.status["Uid"]), firstWord(p.status["Uid"]))
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, "\t")
	return word
}

// namespaces compares the target's with ours (namespaces(7)).
func (p *patient) namespaces() {
	var other []string
	for _, name := range []string{"user", "mount", "pid", "network"} {
		file := map[string]string{"user": "user", "mount": "mnt", "pid": "pid", "network": "net"}[name]
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.pid, file))
		if err != nil {
			p.note("namespaces", snapshot.ConditionUnknown, p.accessHint(), "can't be read")
			return
		}
		if ours, err := os.Readlink("/proc/self/ns/" + file); err == nil && ours != theirs {
			other = append(other, name)
		}
	}
	where := ""
	if p.target.ContainerID != "" {
		where = fmt.Sprintf(" in container %.12s", p.target.ContainerID)
	}
	if len(other) == 0 {
		p.note("namespaces", snapshot.ConditionOK, "", "the same as ours%s", where)
		return
	}
	p.note("namespaces", snapshot.ConditionNote, "", "its own %s namespace%s: leakscope goes through /proc/%d/root", strings.Join(other, ", "), where, p.pid)
}

// seccomp says what filters leakscope may run into; the target's own do not
// matter to being read.
func (p *patient) seccomp() {
	if p.self["Seccomp"] == "2" {
		state := snapshot.ConditionNote
		if !p.readable {
			state = snapshot.ConditionLimits
		}
		p.note("seccomp", state, "in a container: --cap-add SYS_PTRACE, or --security-opt seccomp=unconfined", "leakscope runs under a filter, which may forbid ptrace and process_vm_readv")
		return
	}
	if p.status["Seccomp"] == "2" {
		p.note("seccomp", snapshot.ConditionOK, "", "the target runs under a filter, which does not matter; leakscope does not")
		return
	}
	p.note("seccomp", snapshot.ConditionOK, "", "no filter")
}

// tracer says whether a debugger holds the target.
func (p *patient) tracer() {
	if pid := p.status["TracerPid"]; pid != "0" && pid != "" {
		p.traced = true
		p.note("tracer", snapshot.ConditionLimits, "end it before --freeze", "pid %s traces it", pid)
	}
}

// runState says whether the target can answer.
func (p *patient) runState() {
	switch state := p.status["State"]; {
	case strings.HasPrefix(state, "T"):
		p.stopped = true
		p.note("run state", snapshot.ConditionLimits, fmt.Sprintf("kill -CONT %d", p.pid), "stopped by a signal: it can be read from outside, and does not answer")
	case strings.HasPrefix(state, "t"):
		p.note("run state", snapshot.ConditionNote, "", "stopped by its tracer")
	}
	if swap := p.status["VmSwap"]; swap != "" && !strings.HasPrefix(swap, "0 ") {
		p.note("swap", snapshot.ConditionLimits, "--heap reads through the JVM, which brings it back", "%s are swapped out: to read those would bring them in, so leakscope does not", swap)
	}
}
