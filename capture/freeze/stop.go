package freeze

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Errors that a caller decides on; the errors returned wrap them.
var (
	ErrGone   = errors.New("the process ended")
	ErrDenied = errors.New("permission denied")
	ErrTraced = errors.New("another process traces it")
)

// errAbandoned is a holder that was told nothing and left alone.
var errAbandoned = errors.New("abandoned")

// LimitError says that a stop came to its limit, and the target was released.
type LimitError struct {
	Limit   time.Duration
	Running int // threads that did not stop in time; 0: the caller took too long
}

func (e *LimitError) Error() string {
	if e.Running > 0 {
		return fmt.Sprintf("%d threads did not stop within %s: the target was released", e.Running, e.Limit)
	}
	return fmt.Sprintf("the target was released after %s, the limit of its stop", e.Limit)
}

// Stopped is a process none of whose threads runs. Release it.
type Stopped struct {
	// Threads is how many were stopped.
	Threads int

	running context.Context //nolint:containedctx // it is the result: over when the target runs
	stdin   io.WriteCloser
	once    sync.Once
	pause   time.Duration // set when running is over, as is err
	err     error
}

// Context ends when the target runs again. Its cause tells a release by the
// caller (context.Canceled) from one that came too early.
func (s *Stopped) Context() context.Context { return s.running }

// Release lets the target go on and returns how long it was stopped, from
// before its first thread stopped to after the last one was released. The error
// says why it ran before this call: a [LimitError], the cause of the end of the
// context given to [Stop], or [ErrGone]; what was read since is then unfit for
// use. It may be called more than once.
func (s *Stopped) Release() (pause time.Duration, err error) {
	s.once.Do(func() { _, _ = s.stdin.Write([]byte{letGo}) })
	<-s.running.Done()
	return s.pause, s.err
}

// Stop stops every thread of a process, and returns when none runs; a thread
// that is born meanwhile is stopped too. When ctx ends or limit is over the
// target is released, during Stop as well as after it.
//
// The program must call [Holder] first in main.
func Stop(ctx context.Context, pid int, limit time.Duration) (*Stopped, error) {
	s, err := start(ctx, pid, limit)
	if err != nil {
		return nil, fmt.Errorf("stop of pid %d: %w", pid, err)
	}
	return s, nil
}

func start(ctx context.Context, pid int, limit time.Duration) (*Stopped, error) {
	switch {
	case limit <= 0:
		return nil, fmt.Errorf("limit %s: want more than nothing", limit)
	case pid == os.Getpid():
		return nil, fmt.Errorf("%w: it is leakscope itself", ErrDenied)
	}
	cmd := exec.Command("/proc/self/exe", strconv.Itoa(pid), limit.String()) // also where the program's file was replaced
	cmd.Env = []string{holderMark + "=1"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal of the terminal reaches it
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	reports := json.NewDecoder(stdout)
	// next reads what the holder says; one that says nothing any more is gone,
	// and the target runs.
	next := func() (r report, err error) {
		if err := reports.Decode(&r); err != nil {
			r.Pause = time.Since(started) // an upper bound
			return r, errors.New("the process that held the target has ended early")
		}
		return r, r.problem()
	}
	forget := context.AfterFunc(ctx, func() { _ = stdin.Close() })
	end := func(err error) error {
		forget()
		_ = stdin.Close()
		_ = cmd.Wait() // then the kernel has detached from every thread
		if ctx.Err() != nil && err != nil {
			return context.Cause(ctx)
		}
		return err
	}
	first, err := next()
	if err != nil {
		return nil, end(err)
	}
	s := &Stopped{Threads: first.Threads, stdin: stdin}
	running, over := context.WithCancelCause(context.WithoutCancel(ctx))
	s.running = running
	go func() {
		last, err := next()
		if s.pause, s.err = last.Pause, err; err != nil {
			s.err = end(err)
		}
		over(s.err)
		if err == nil {
			_ = end(nil) // nobody has to wait for that
		}
	}()
	return s, nil
}
