package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// The exit codes; doc/exit-codes.md is their contract.
const (
	exitOK          = 0
	exitError       = 1 // it did not work
	exitUsage       = 2 // wrong usage, configuration or policy
	exitGate        = 3 // the gate failed
	exitUnjudged    = 4 // the gate could not be judged
	exitInterrupted = 130
	exitTerminated  = 143
)

// Messages follow three rules: the prefix "leakscope: ", then "error: ",
// "warning: " or "hint: "; lower case and no full stop; a hint is the way out,
// on a line of its own below what it belongs to.

// failure is an error with the exit code and the hint that go with it.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usageError(hint, format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return fmt.Sprintf("interrupted by %s", e.signal) }

// exitCode is the code for an error and the hint to print with it.
func exitCode(err error) (int, string) {
	var f *failure
	var stopped *signalError
	var differ *analyze.NotComparableError
	var format *snapshot.FormatError
	var exists *snapshot.ExistsError
	switch {
	case err == nil:
		return exitOK, ""
	case errors.As(err, &stopped):
		if stopped.signal == syscall.SIGTERM {
			return exitTerminated, ""
		}
		return exitInterrupted, ""
	case errors.As(err, &f):
		return f.code, f.hint
	case errors.As(err, &differ):
		return exitUnjudged, "give snapshots of one process: leakscope inspect FILE shows whose a snapshot is"
	case errors.As(err, &exists):
		return exitUsage, "give another name, or --force to replace it"
	case errors.Is(err, snapshot.ErrVersion):
		return exitError, "use the leakscope that wrote it, or a newer one"
	case errors.As(err, &format):
		return exitError, "capture again; a snapshot appears under its name only when it is whole"
	case errors.Is(err, analyze.ErrTooFew):
		return exitUsage, "leakscope diff BASE HEAD; leakscope report FILE shows one snapshot"
	case errors.Is(err, fs.ErrPermission):
		return exitError, "run as the user of the target, or as root"
	case errors.Is(err, context.Canceled):
		return exitInterrupted, ""
	}
	return exitError, ""
}

// complain prints an error and its hint.
func complain(w io.Writer, err error, hint string) {
	_, _ = fmt.Fprintf(w, "leakscope: error: %v\n", err)
	if hint != "" {
		_, _ = fmt.Fprintf(w, "leakscope: hint: %s\n", hint)
	}
}
