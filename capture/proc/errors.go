package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/leakscope/leakscope/snapshot"
)

// The reasons for which a file of a process cannot be read. Every error of
// this package matches at most one of them under errors.Is.
var (
	ErrDenied      = errors.New("permission denied")
	ErrGone        = errors.New("the process is gone")
	ErrUnsupported = errors.New("not supported by this kernel or process")
)

// Error says which file of which process could not be read or understood.
type Error struct {
	PID  int    // 0: the file belongs to no process
	File string // e.g. "/proc/42/status" wherever proc is mounted
	Kind error  // ErrDenied, ErrGone, ErrUnsupported, or nil
	Err  error  // the cause
}

func (e *Error) Error() string {
	switch {
	case e.Err == nil, e.Kind == ErrDenied: //nolint:errorlint // set by this package alone
		return fmt.Sprintf("%s: %v", e.File, e.Kind)
	case e.Kind == nil:
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: %v (%v)", e.File, e.Kind, e.Err)
}

// Unwrap makes both the kind and the cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	all := make([]error, 0, 2)
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// SyntaxError says that a file does not have the form it should have.
type SyntaxError struct {
	Line int // from 1; 0: the file as a whole
	Want string
	Got  string // the start of what was there instead
}

func (e *SyntaxError) Error() string {
	at := ""
	if e.Line > 0 {
		at = fmt.Sprintf("line %d: ", e.Line)
	}
	return fmt.Sprintf("%swant %s, got %q", at, e.Want, e.Got)
}

func syntaxError(line int, want string, got []byte) error {
	const enough = 64
	if len(got) > enough {
		got = got[:enough]
	}
	return &SyntaxError{Line: line, Want: want, Got: string(got)}
}

// PartialError accompanies a value that is usable but not whole.
type PartialError struct {
	Missing []error // one for each part that is missing; never empty
}

func (e *PartialError) Error() string {
	parts := make([]string, len(e.Missing))
	for i, err := range e.Missing {
		parts[i] = err.Error()
	}
	return strings.Join(parts, "; ")
}

// Unwrap gives the errors of the missing parts.
func (e *PartialError) Unwrap() []error { return e.Missing }

// partial returns a PartialError of what is missing, or nil for nothing.
func partial(missing []error) error {
	if len(missing) == 0 {
		return nil
	}
	return &PartialError{Missing: missing}
}

// classify gives the kind of a failed system call on a file of a process.
// ENOENT is decided by the caller, because it can mean that the process is gone
// or that the kernel has no such file.
func classify(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return ErrDenied
	case errors.Is(err, syscall.ESRCH):
		return ErrGone
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP):
		return ErrUnsupported
	}
	return nil
}

// Outcome turns an error of this package into a source's status, reason and
// hint. A nil error is StatusOK.
func Outcome(err error) (status snapshot.Status, reason, hint string) {
	if err == nil {
		return snapshot.StatusOK, "", ""
	}
	reason = err.Error()
	switch {
	case errors.Is(err, ErrGone):
		hint = "the process has ended, or its pid was reused; a proc mounted with hidepid hides processes of other users too"
	case errors.Is(err, ErrDenied):
		hint = "run as the user of the target, as root, or with CAP_SYS_PTRACE"
	case errors.Is(err, ErrUnsupported):
		hint = "the kernel of this machine does not offer this file"
	}
	var some *PartialError
	switch {
	case errors.As(err, &some):
		return snapshot.StatusPartial, reason, hint
	case errors.Is(err, ErrGone):
		return snapshot.StatusAbsent, reason, hint
	case errors.Is(err, ErrDenied):
		return snapshot.StatusDenied, reason, hint
	case errors.Is(err, ErrUnsupported):
		return snapshot.StatusUnsupported, reason, hint
	}
	return snapshot.StatusPartial, reason, hint
}
