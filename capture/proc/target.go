package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/leakscope/leakscope/snapshot"
)

// TargetOptions says how much of a target's identity is kept.
type TargetOptions struct {
	// KeepCommandLine keeps the command line as it is, with whatever secrets
	// it holds. Otherwise it is redacted, see the rules in redact.go.
	KeepCommandLine bool
}

// Target identifies a process: pid, start time and boot id, and what is known
// of the program it runs. It needs no permission but for the executable, the
// namespaces and the runtime, which need ptrace-read; when those are missing
// the error is a [PartialError]. Any other error means that the process could
// not be identified.
func (f FS) Target(pid int, o TargetOptions) (snapshot.Target, error) {
	t := snapshot.Target{PID: pid, NamespacePID: pid, Runtime: snapshot.RuntimeUnknown, Redacted: !o.KeepCommandLine}
	if pid <= 0 {
		return t, &Error{PID: pid, File: shown(pid, "stat"), Kind: ErrGone, Err: errors.New("no such pid")}
	}
	s, err := f.stat(pid)
	if err != nil {
		return t, err
	}
	if !s.alive() {
		return t, f.Check(pid, s.startTicks)
	}
	t.Name, t.StartTimeTicks = s.comm, s.startTicks
	boot, err := f.readShared("sys/kernel/random/boot_id", maxSmallFile)
	if err != nil {
		return t, err
	}
	t.BootID = printable(bytes.TrimSpace(boot))

	var missing []error
	miss := func(err error) {
		if err != nil {
			missing = append(missing, err)
		}
	}
	st, err := f.status(pid)
	miss(err)
	t.UID, t.GID, t.NamespacePID = st.uid, st.gid, st.namespacePID.Or(pid)
	t.StartedAt, err = f.startedAt(s.startTicks)
	miss(err)
	kernel, err := f.readShared("sys/kernel/osrelease", maxSmallFile)
	miss(err)
	t.Kernel = printable(bytes.TrimSpace(kernel))
	exe, err := f.link(pid, "exe")
	miss(err)
	if exe != "" {
		t.Executable = printable([]byte(path.Base(strings.TrimSuffix(exe, " (deleted)"))))
	}
	t.Runtime, err = f.runtimeOf(pid)
	if !sameCause(missing, err) {
		miss(err)
	}
	t.Namespaces, err = f.namespaces(pid)
	if !sameCause(missing, err) {
		miss(err)
	}
	args, err := f.commandLine(pid)
	miss(err)
	if name := jvmName(args, t); name != "" {
		t.Name = name
	}
	t.CommandLine = redact(args, isJVM(t.Runtime) || isLauncher(args))
	if o.KeepCommandLine {
		t.CommandLine = args
	}
	t.ContainerID, err = f.container(pid)
	miss(err)

	// What was read is of one process only if it is still the same.
	if err := f.Check(pid, s.startTicks); err != nil {
		return t, err
	}
	return t, partial(missing)
}

// sameCause reports whether an error only repeats a refusal that is known.
func sameCause(known []error, err error) bool {
	for _, k := range known {
		if errors.Is(err, ErrDenied) && errors.Is(k, ErrDenied) {
			return true
		}
	}
	return false
}

func isJVM(r snapshot.Runtime) bool {
	return r == snapshot.RuntimeHotSpot || r == snapshot.RuntimeOpenJ9
}

// jvmName is the main class or jar of a target that is, or looks like, a JVM.
func jvmName(args []string, t snapshot.Target) string {
	if !isLauncher(args) || (t.Runtime != snapshot.RuntimeUnknown && !isJVM(t.Runtime)) {
		return ""
	}
	return mainClass(args)
}

// commandLine returns the arguments of a process (/proc/PID/cmdline). It is
// empty for a kernel thread.
func (f FS) commandLine(pid int) ([]string, error) {
	content, err := f.read(pid, "cmdline", maxCmdline)
	args := parseCommandLine(content)
	if err != nil && len(args) > 0 {
		args = args[:len(args)-1] // the last one is cut
	}
	return args, err
}

func parseCommandLine(content []byte) []string {
	args := []string{}
	for arg := range bytes.SplitSeq(bytes.TrimRight(content, "\x00"), []byte{0}) {
		args = append(args, strings.ToValidUTF8(string(arg), "?"))
	}
	if len(args) == 1 && args[0] == "" {
		return []string{}
	}
	return args
}

// startedAt turns clock ticks since boot into a time, by the boot time in
// /proc/stat, which has whole seconds.
func (f FS) startedAt(ticks uint64) (*time.Time, error) {
	content, err := f.readShared("stat", maxMountinfo)
	if err != nil {
		return nil, err
	}
	boot, err := parseBootTime(content)
	if err != nil {
		return nil, &Error{File: "/proc/stat", Err: err}
	}
	if ticks/ticksPerSecond > math.MaxInt32 {
		return nil, &Error{File: "/proc/stat", Err: fmt.Errorf("start time of %d ticks is not plausible", ticks)}
	}
	at := time.Unix(boot, 0).Add(time.Duration(ticks) * (time.Second / ticksPerSecond)).UTC()
	return &at, nil
}

// parseBootTime reads the line "btime SECONDS" of /proc/stat.
func parseBootTime(content []byte) (int64, error) {
	line := 0
	for row := range bytes.Lines(content) {
		line++
		digits, ok := bytes.CutPrefix(row, []byte("btime "))
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 10, 40)
		if err != nil {
			return 0, syntaxError(line, "seconds since 1970", digits)
		}
		return int64(n), nil
	}
	return 0, syntaxError(0, "a btime line", nil)
}

// namespaces returns the inodes of the namespaces that matter to reading a
// process from outside.
func (f FS) namespaces(pid int) (map[string]uint64, error) {
	all := map[string]uint64{}
	for _, name := range []string{"cgroup", "mnt", "net", "pid", "time", "user"} {
		link, err := f.link(pid, "ns/"+name)
		if errors.Is(err, ErrUnsupported) {
			continue // an older kernel
		}
		if err != nil {
			return nil, err
		}
		inode, ok := parseNamespace(name, link)
		if !ok {
			return nil, &Error{PID: pid, File: shown(pid, "ns/"+name), Err: syntaxError(0, name+":[inode]", []byte(link))}
		}
		all[name] = inode
	}
	return all, nil
}

// parseNamespace reads "net:[4026531840]".
func parseNamespace(name, link string) (uint64, bool) {
	digits, ok := strings.CutPrefix(link, name+":[")
	digits, ok2 := strings.CutSuffix(digits, "]")
	inode, err := strconv.ParseUint(digits, 10, 64)
	return inode, ok && ok2 && err == nil
}

// container returns the id of the container a process runs in, "" for none.
func (f FS) container(pid int) (string, error) {
	groups, err := f.cgroups(pid)
	if err != nil {
		return "", err
	}
	if id := containerID(groups); id != "" {
		return id, nil
	}
	content, err := f.read(pid, "mountinfo", maxMountinfo)
	if err != nil {
		return "", err
	}
	mounts, err := parseMountinfo(content)
	if err != nil {
		return "", &Error{PID: pid, File: shown(pid, "mountinfo"), Err: err}
	}
	return containerIDFromMounts(mounts), nil
}
