package sockets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mdlayher/netlink"

	"github.com/leakscope/leakscope/snapshot"
)

// Request says whose sockets are wanted.
type Request struct {
	PID  int
	Proc string // where proc is mounted; "" means /proc
	// FDs are the target's descriptors, read just before. nil means that they
	// could not be read: rows are then kept by UID, and the outcome is partial.
	FDs []snapshot.FD
	UID snapshot.Optional[int] // the target's effective uid
}

// Outcome is what was read, and how good it is.
type Outcome struct {
	// Sockets are sorted by protocol, local, remote, inode and cookie. nil
	// when nothing could be read; empty when the target has none.
	Sockets []snapshot.Socket
	Status  snapshot.Status
	Reason  string // set unless Status is ok
	Hint    string
	// Detail has [snapshot.DetailWholeTables] where the status is partial,
	// "method" (sock_diag, procfs, or both), "rows_listed" (of all
	// processes in the namespace) and "rows_without_owner" (closed connections
	// that cannot be tied to any process).
	Detail map[string]string
}

const (
	methodDiag = "sock_diag"
	methodProc = "procfs"
)

// Read reads the connection table once. It sends nothing to the target and
// stops nothing; it takes some milliseconds for a thousand sockets.
func Read(ctx context.Context, r Request) Outcome {
	return read(ctx, r, dial)
}

type dialer func(ctx context.Context, proc string, pid int) (*netlink.Conn, error)

func read(ctx context.Context, r Request, dial dialer) Outcome {
	proc := filepath.Clean(r.Proc)
	if r.Proc == "" {
		proc = "/proc"
	}
	t := newTable(r)
	conn, dialErr := dial(ctx, proc, r.PID)
	if dialErr == nil {
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer func() {
			if stop() {
				_ = conn.Close()
			}
		}()
	}
	w := worker{ctx: ctx, proc: proc, pid: r.PID, conn: conn, dialErr: dialErr, table: t}
	for _, p := range []snapshot.Protocol{snapshot.TCP4, snapshot.TCP6, snapshot.Unix} {
		w.read(p)
		t.settle()
	}
	order(t.rows)
	return w.outcome(r)
}

// worker reads the tables one after another and notes how that went.
type worker struct {
	ctx     context.Context
	proc    string
	pid     int
	conn    *netlink.Conn
	dialErr error
	table   *table

	methods []string // used, each once
	less    []snapshot.Protocol
	why     error // why sock_diag was not used
	failed  []error
	good    int      // tables read
	whole   []string // protocols whose tables were read whole, by sock_diag
	damaged int
}

func (w *worker) read(p snapshot.Protocol) {
	diagErr := w.dialErr
	if diagErr == nil {
		w.table.listenersFirst = true
		damaged, err := readDiag(w.ctx, w.conn, p, w.table.add)
		w.damaged += damaged
		if err == nil {
			w.done(methodDiag)
			if damaged == 0 && w.table.descriptors != nil {
				w.whole = append(w.whole, string(p))
			}
			return
		}
		diagErr = err
	}
	if err := w.ctx.Err(); err != nil {
		w.failed = append(w.failed, err)
		return
	}
	w.why, w.table.listenersFirst = diagErr, false
	err := readProc(w.proc, w.pid, p, w.table.add)
	switch {
	case err == nil:
		w.done(methodProc)
		w.less = append(w.less, p)
	case p == snapshot.TCP6 && errors.Is(err, fs.ErrNotExist) && slices.Contains(w.methods, methodProc):
		w.good++ // a kernel without IPv6
	default:
		w.failed = append(w.failed, err)
	}
}

func (w *worker) done(method string) {
	w.good++
	if !slices.Contains(w.methods, method) {
		w.methods = append(w.methods, method)
	}
}

func (w *worker) outcome(r Request) Outcome {
	o := Outcome{Sockets: w.table.rows, Status: snapshot.StatusOK, Detail: map[string]string{}}
	if w.good == 0 {
		o.Sockets = nil
		o.Status, o.Reason, o.Hint = nothing(errors.Join(w.failed...))
		return o
	}
	o.Detail["method"] = strings.Join(w.methods, "+")
	w.table.detail(o.Detail)
	var reasons []string
	note := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	if r.FDs == nil {
		if uid, ok := r.UID.Get(); ok {
			note("the descriptors are not known; kept are all sockets of uid %d", uid)
		} else {
			note("neither the descriptors nor the uid of the target are known")
		}
		o.Hint = "run as the user of the target, as root, or with CAP_SYS_PTRACE"
	}
	if len(w.less) > 0 {
		names := make([]string, len(w.less))
		for i, p := range w.less {
			names[i] = string(p)
		}
		note("%s from /proc/%d/net, without ages and kernel memory: %v", strings.Join(names, ", "), w.pid, w.why)
		if o.Hint == "" {
			o.Hint = diagHint(w.why)
		}
	}
	for _, err := range w.failed {
		note("%v", err)
	}
	if w.damaged > 0 {
		note("%d rows could not be decoded whole", w.damaged)
	}
	if w.table.dropped > 0 {
		note("%d rows without an owner were not looked at", w.table.dropped)
	}
	if len(reasons) > 0 {
		if len(w.whole) > 0 && w.table.dropped == 0 {
			o.Detail[snapshot.DetailWholeTables] = strings.Join(w.whole, " ")
		}
		o.Status, o.Reason = snapshot.StatusPartial, strings.Join(reasons, "; ")
	}
	return o
}

// nothing says why no table at all could be read.
func nothing(err error) (status snapshot.Status, reason, hint string) {
	reason = err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH), errors.Is(err, syscall.EINVAL):
		return snapshot.StatusAbsent, reason, "the process has ended, or proc hides it"
	case errors.Is(err, fs.ErrPermission):
		return snapshot.StatusDenied, reason, "run as the user of the target, or as root"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return snapshot.StatusPartial, reason, ""
	}
	return snapshot.StatusUnsupported, reason, ""
}

func diagHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "entering the network namespace of the target needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE"
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EPROTONOSUPPORT):
		return "the kernel offers no sock_diag: load the modules tcp_diag and unix_diag"
	}
	return ""
}
