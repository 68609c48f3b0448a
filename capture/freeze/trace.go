package freeze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// thread is one that this package traces.
type thread struct {
	id      int
	stopped bool
	signal  int // that it was about to take when it stopped; it takes it on release
}

// target is a process under trace. All its methods run on one thread of the
// system, which the process that started the target must not be: its waiting
// for the end of a child would take the news of the child's stops.
type target struct {
	pid     int
	threads []thread
}

const poll = 50 * time.Microsecond

// check refuses what cannot be stopped before anything is touched.
func (t *target) check() error {
	_, tracer, err := status(filepath.Join("/proc", strconv.Itoa(t.pid), "status"))
	if err == nil && tracer != 0 {
		err = fmt.Errorf("%w: pid %d", ErrTraced, tracer)
	}
	return err
}

// status reads the State and TracerPid lines of a status file of /proc
// (Documentation/filesystems/proc.rst).
func status(path string) (state byte, tracer int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, classify(err)
	}
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "State":
			if len(value) > 0 {
				state = value[0]
			}
		case "TracerPid":
			if tracer, err = strconv.Atoi(string(value)); err != nil {
				return 0, 0, fmt.Errorf("%s: TracerPid: %w", path, err)
			}
		}
	}
	if state == 0 {
		return 0, 0, fmt.Errorf("%s: no State", path)
	}
	return state, tracer, nil
}

// taskFolder lists the threads of a process, by their ids in our namespace.
func taskFolder(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "task") }

// tasks lists the threads of a process.
func tasks(pid int) ([]int, error) {
	f, err := os.Open(taskFolder(pid))
	if err != nil {
		return nil, classify(err)
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, classify(err)
	}
	ids := make([]int, 0, len(names))
	for _, name := range names {
		id, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", taskFolder(pid), name, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// classify maps what the system says to the errors of this package.
func classify(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// stopAll stops thread after thread until a listing made while all known ones
// were stopped shows no other.
func (t *target) stopAll(ctx context.Context, deadline time.Time) error {
	known := map[int]bool{}
	for {
		ids, err := tasks(t.pid)
		if err != nil {
			return err
		}
		found := false
		for _, id := range ids {
			if known[id] {
				continue
			}
			known[id] = true
			seized, err := t.seize(id)
			if err != nil {
				return err
			}
			found = found || seized
		}
		if !found {
			if len(t.threads) == 0 {
				return ErrGone
			}
			return nil
		}
		if err := t.await(ctx, deadline); err != nil {
			return err
		}
	}
}

// seize attaches to a thread and asks it to stop; one that is ending is passed
// over.
func (t *target) seize(id int) (bool, error) {
	err := unix.PtraceSeize(id)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	path := filepath.Join(taskFolder(t.pid), strconv.Itoa(id))
	if err != nil {
		state, tracer, statusErr := status(filepath.Join(path, "status"))
		switch {
		case errors.Is(statusErr, ErrGone), state == 'Z', state == 'X':
			return false, nil // a main thread that has ended before the others
		case tracer != 0:
			return false, fmt.Errorf("%w: pid %d", ErrTraced, tracer)
		}
		return false, classify(fmt.Errorf("ptrace of thread %d: %w", id, err))
	}
	t.threads = append(t.threads, thread{id: id})
	// The kernel keeps what is left of a traced thread until its tracer has waited
	// for it, so one that is not there is no thread of the target.
	if _, err := os.Lstat(path); err != nil {
		return false, fmt.Errorf("thread %d: its id is of another process by now", id)
	}
	if err := unix.PtraceInterrupt(id); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, classify(fmt.Errorf("interrupt of thread %d: %w", id, err))
	}
	return true, nil
}

// await waits until all threads are stopped or have ended.
func (t *target) await(ctx context.Context, deadline time.Time) error {
	for {
		running := 0
		kept := t.threads[:0]
		for _, th := range t.threads {
			if !th.stopped && !th.wait() {
				continue // ended
			}
			if !th.stopped {
				running++
			}
			kept = append(kept, th)
		}
		t.threads = kept
		switch {
		case running == 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(deadline):
			return &LimitError{Running: running}
		}
		time.Sleep(poll)
	}
}

// wait looks whether the thread has stopped; it reports false when it has
// ended. A signal can come before the stop that was asked for: the thread stops
// just as well, and the signal is kept for it.
func (th *thread) wait() bool {
	var ws unix.WaitStatus
	var id int
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		id, err = unix.Wait4(th.id, &ws, unix.WNOHANG|unix.WALL, nil)
	}
	switch {
	case err != nil:
		return false
	case id == 0:
		return true
	case !ws.Stopped():
		return false
	}
	th.stopped = true
	if event := int(ws) >> 16; event != unix.PTRACE_EVENT_STOP {
		th.signal = int(ws.StopSignal())
	}
	return true
}

// release lets every thread go on, and returns how many were no longer there.
// One that runs cannot be detached from: the end of this process does that.
func (t *target) release() (ended int) {
	for i := range t.threads {
		th := &t.threads[i]
		if !th.stopped {
			continue
		}
		if err := detach(th.id, th.signal); err != nil {
			ended++ // killed while it was stopped
			th.wait()
		}
	}
	return ended
}

func detach(id, signal int) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(id), 0, uintptr(signal), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
