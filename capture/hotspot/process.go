package hotspot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Errors that a caller decides on; the errors returned wrap them.
var (
	ErrNotJVM      = errors.New("not a HotSpot JVM")
	ErrUnsupported = errors.New("not supported by this JVM")
	ErrDenied      = errors.New("permission denied")
	ErrGone        = errors.New("the process ended")
	ErrDisabled    = errors.New("the attach mechanism is switched off")
	ErrStopped     = errors.New("the process is stopped")
	ErrNoAnswer    = errors.New("the JVM does not answer")
)

// process is a JVM's identity as far as attaching needs it. It is found
// through the process itself (a pidfd), so that a reused pid is never
// signalled.
type process struct {
	pid      int
	pidfd    int
	nspid    int // its pid inside its own pid namespace
	uid, gid int // effective
	signals  uint64
	stopped  bool // by SIGSTOP or the like, not by a debugger
	running  bool // a JVM runs in it, as far as its mappings tell
}

// openProcess reads a process's identity and proves that it is a HotSpot JVM:
// it has libjvm.so mapped. Close it after use.
func openProcess(pid int) (*process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, classify(err)
	}
	p := &process{pid: pid, pidfd: pidfd}
	if err := errors.Join(p.readStatus(), p.proveJVM()); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) close() { _ = unix.Close(p.pidfd) }

// ended reports whether the process is gone, or a zombie: its pidfd is readable.
func (p *process) ended() bool { return p.endsWithin(0) }

// endsWithin waits for that: a process that ends closes its connections first.
func (p *process) endsWithin(limit time.Duration) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
	return err == nil && n > 0
}

// path is a path of /proc/PID.
func (p *process) path(elements ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(p.pid)}, elements...)...)
}

// readStatus reads /proc/PID/status (Documentation/filesystems/proc.rst).
func (p *process) readStatus() error {
	text, err := os.ReadFile(p.path("status"))
	if err != nil {
		return classify(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "NStgid":
			p.nspid, err = strconv.Atoi(fields[len(fields)-1])
		case "Uid":
			p.uid, err = effective(fields)
		case "Gid":
			p.gid, err = effective(fields)
		case "SigCgt":
			p.signals, err = strconv.ParseUint(fields[0], 16, 64)
		case "State":
			p.stopped = fields[0] == "T"
		}
		if err != nil {
			return fmt.Errorf("/proc/%d/status: %s: %w", p.pid, key, err)
		}
	}
	if p.nspid == 0 { // kernels before 4.1
		p.nspid = p.pid
	}
	return nil
}

// effective is the second of real, effective, saved and file system id.
func effective(fields []string) (int, error) {
	if len(fields) < 2 {
		return 0, fmt.Errorf("%d fields, want 4", len(fields))
	}
	return strconv.Atoi(fields[1])
}

// proveJVM looks for the JVM's library among the mappings, and for what only a
// JVM that runs has mapped: its launcher's library or its counters.
func (p *process) proveJVM() error {
	f, err := os.Open(p.path("maps"))
	if err != nil {
		return classify(err)
	}
	defer func() { _ = f.Close() }()
	library := false
	p.running = false
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		path := strings.TrimSuffix(lines.Text(), " (deleted)")
		name := filepath.Base(path)
		switch {
		case name == "libjvm.so":
			library = true
		case name == "libjli.so", strings.Contains(path, "/hsperfdata_"):
			p.running = true
		case strings.HasPrefix(name, "libj9vm"):
			return fmt.Errorf("%w: OpenJ9 speaks another attach protocol and dumps another format", ErrUnsupported)
		}
	}
	if err := lines.Err(); err != nil {
		return classify(err)
	}
	if !library {
		return fmt.Errorf("%w: no libjvm.so is mapped", ErrNotJVM)
	}
	return nil
}

// dispatcher is the name of the thread that takes a JVM's SIGQUIT (os.cpp); on
// JDK 8 threads have no names of their own.
const dispatcher = "Signal Dispatch"

// maySignal is the gate before a SIGQUIT, on fresh evidence: libjvm.so is
// mapped, SIGQUIT is caught, and it is a JVM that catches it, for the runtimes
// of other languages catch it too and die of it.
func (p *process) maySignal() error {
	if err := errors.Join(p.readStatus(), p.proveJVM()); err != nil {
		return err
	}
	switch {
	case p.stopped:
		return fmt.Errorf("%w: it would not answer before SIGCONT", ErrStopped)
	case !p.catchesQuit():
		return fmt.Errorf("%w: no SIGQUIT handler (a JVM that is starting or ending)", ErrNotJVM)
	case p.running:
		return nil
	}
	names, err := filepath.Glob(p.path("task", "*", "comm"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(comm)) == dispatcher {
			return nil
		}
	}
	return fmt.Errorf("%w: libjvm.so is mapped, but no JVM seems to run", ErrNotJVM)
}

// attachOption reports whether the command line switches attaching off.
func (p *process) attachOption() bool {
	line, err := os.ReadFile(p.path("cmdline"))
	return err == nil && bytes.Contains(line, []byte("\x00-XX:+DisableAttachMechanism\x00"))
}

// catchesQuit reports whether the process has a handler for SIGQUIT. Without
// one the signal would kill it.
func (p *process) catchesQuit() bool { return p.signals&(1<<(unix.SIGQUIT-1)) != 0 }

// classify maps what the system says to the errors of this package.
func classify(err error) error {
	switch {
	case errors.Is(err, syscall.ESRCH), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}
