package freeze

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

// holderMark in the environment turns a start of this program into a holder.
// Its arguments are the target and the limit. Its standard input says letGo, or
// ends with leakscope; its standard output says that the target stands, and at
// the end what became of it.
const holderMark = "LEAKSCOPE_FREEZE_HOLDER"

// letGo is what a holder reads when it is to release its target.
const letGo = 'r'

// report is what a holder says.
type report struct {
	Threads int           `json:"threads"`
	Pause   time.Duration `json:"pause"`   // nanoseconds
	Kind    string        `json:"kind"`    // of the problem; "": none
	Text    string        `json:"text"`    // of the problem
	Limit   time.Duration `json:"limit"`   // of a problem with the limit
	Running int           `json:"running"` // of a problem with the limit
}

// kinds are the problems that a caller decides on, by name.
var kinds = map[string]error{"gone": ErrGone, "denied": ErrDenied, "traced": ErrTraced, "abandoned": errAbandoned}

// limitKind is that of a [LimitError].
const limitKind = "limit"

// told is a problem as the holder told it.
type told struct {
	kind error
	text string
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.kind }

// problem is the error that a report tells, or nil.
func (r report) problem() error {
	switch {
	case r.Kind == limitKind:
		return &LimitError{Limit: r.Limit, Running: r.Running}
	case r.Kind != "":
		return &told{kinds[r.Kind], r.Text}
	}
	return nil
}

func reportOf(threads int, pause time.Duration, err error) report {
	r := report{Threads: threads, Pause: pause}
	if err == nil {
		return r
	}
	r.Kind, r.Text = "other", err.Error()
	for kind, known := range kinds {
		if errors.Is(err, known) {
			r.Kind = kind
		}
	}
	var late *LimitError
	if errors.As(err, &late) {
		r.Kind, r.Limit, r.Running = limitKind, late.Limit, late.Running
	}
	return r
}

// Holder reports whether this process was started to hold a target, and then
// does so before it returns. Every program that stops targets calls it first in
// main, and ends when it returns true.
func Holder() bool {
	if os.Getenv(holderMark) == "" {
		return false
	}
	runtime.LockOSThread() // only the thread that attached may detach
	out := json.NewEncoder(os.Stdout)
	threads, pause, err := 0, time.Duration(0), fmt.Errorf("a holder with the arguments %q", os.Args[1:])
	if len(os.Args) == 3 {
		var pid int
		var limit time.Duration
		pid, err = strconv.Atoi(os.Args[1])
		if err == nil {
			limit, err = time.ParseDuration(os.Args[2])
		}
		if err == nil {
			threads, pause, err = hold(pid, limit, func(threads int) error { return out.Encode(report{Threads: threads}) })
		}
	}
	_ = out.Encode(reportOf(threads, pause, err))
	return true
}

// hold stops the target, says that it stands, and releases it when it is told
// so or left alone, at the latest when the limit is over.
func hold(pid int, limit time.Duration, stands func(threads int) error) (threads int, pause time.Duration, err error) {
	t := target{pid: pid}
	if err := t.check(); err != nil {
		return 0, 0, err
	}
	disarm, err := lastResort(limit + grace)
	if err != nil {
		return 0, 0, err
	}
	defer disarm()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { // what leakscope says; it says one thing
		var word [1]byte
		if n, _ := os.Stdin.Read(word[:]); n == 1 && word[0] == letGo {
			cancel(nil)
		} else {
			cancel(errAbandoned)
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	started := time.Now()
	err = t.stopAll(ctx, started.Add(limit))
	threads = len(t.threads)
	if err == nil {
		err = stands(threads)
	}
	if err == nil {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				err = cause
			}
		case <-timer.C:
			err = &LimitError{}
		}
	}
	ended := t.release()
	pause = time.Since(started)
	var late *LimitError
	switch {
	case errors.As(err, &late):
		late.Limit = limit
	case err == nil && ended > 0:
		err = ErrGone
	}
	return threads, pause, err
}
