package hotspot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The limits of a conversation.
const (
	maxArgument  = 1024     // bytes; AttachOperation::arg_length_max
	maxReply     = 32 << 20 // bytes of text; VM.flags -all is 60 KiB
	attachWait   = 10 * time.Second
	attachPoll   = 5 * time.Millisecond
	commandLimit = 30 * time.Second // for commands that only ask
	stoppedPoll  = 250 * time.Millisecond
	stoppedPolls = 4
	endingWait   = 500 * time.Millisecond
)

// JVM is a HotSpot JVM to which commands can be sent, one at a time.
type JVM struct {
	process  *process
	asTarget bool // it wants to be asked by its own user
	quiet    bool // no signal may be sent to it
}

// ErrNoListener says that nobody has attached to the JVM yet: it starts to
// listen when it gets a signal.
var ErrNoListener = errors.New("it does not listen for attach requests yet, and starts when it gets a signal")

// Open proves that pid is a HotSpot JVM. It sends nothing yet. Close it after
// use.
func Open(pid int) (*JVM, error) {
	p, err := openProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("attach to pid %d: %w", pid, err)
	}
	return &JVM{process: p}, nil
}

// OpenQuiet is Open for a JVM that gets no signal: where it does not listen
// yet, commands fail with [ErrNoListener].
func OpenQuiet(pid int) (*JVM, error) {
	j, err := Open(pid)
	if err == nil {
		j.quiet = true
	}
	return j, err
}

// Close forgets the JVM.
func (j *JVM) Close() { j.process.close() }

// ask sends one command and returns the text of its reply. A JDK 8 refuses
// root when it runs as somebody else, by closing the connection without a word;
// then the command is sent again as its user.
func (j *JVM) ask(ctx context.Context, command string, arguments ...string) (string, error) {
	request, err := encodeRequest(command, arguments)
	if err != nil {
		return "", err
	}
	askCtx, cancel := context.WithTimeoutCause(ctx, commandLimit, fmt.Errorf("no answer within %s", commandLimit))
	defer cancel()
	text, err := j.exchange(askCtx, request)
	if errors.Is(err, errNoReply) && os.Geteuid() == 0 && j.process.uid != 0 && !j.asTarget {
		j.asTarget = true
		text, err = j.exchange(askCtx, request)
	}
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, errNoReply) && j.process.endsWithin(endingWait):
		err = ErrGone
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case askCtx.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrNoAnswer, context.Cause(askCtx))
	}
	return "", fmt.Errorf("attach command %s: %w", command, err)
}

// encodeRequest writes version 1 of the protocol, which every HotSpot from 6 on
// takes: version, command and always three arguments, each ended by a NUL
// (attachListener_posix.cpp, read_request).
func encodeRequest(command string, arguments []string) ([]byte, error) {
	const wanted = 3
	if len(arguments) > wanted {
		return nil, fmt.Errorf("attach command %s: %d arguments, at most %d", command, len(arguments), wanted)
	}
	request := []byte("1\x00" + command + "\x00")
	for i := range wanted {
		argument := ""
		if i < len(arguments) {
			argument = arguments[i]
		}
		if len(argument) > maxArgument || strings.ContainsRune(argument, 0) {
			return nil, fmt.Errorf("attach command %s: argument %d is longer than %d bytes or has a NUL", command, i+1, maxArgument)
		}
		request = append(append(request, argument...), 0)
	}
	return request, nil
}

var errNoReply = errors.New("the JVM closed the connection without a reply")

// exchange sends a request over a connection of its own and reads the reply.
func (j *JVM) exchange(ctx context.Context, request []byte) (string, error) {
	conn, err := j.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return j.converse(ctx, conn, request)
}

// converse sends a request and waits for the end of the reply as long as ctx
// lets it and the target is not stopped: the JVM's listener has one thread, and
// a command can wait behind another.
func (j *JVM) converse(ctx context.Context, conn *net.UnixConn, request []byte) (string, error) {
	ctx, cancel := j.whileRunning(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(request); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return "", errNoReply
		}
		return "", answerError(ctx, err)
	}
	reply, err := io.ReadAll(io.LimitReader(conn, maxReply+1))
	switch {
	case errors.Is(err, syscall.ECONNRESET) && len(reply) == 0:
		return "", errNoReply
	case err != nil:
		return "", answerError(ctx, err)
	case len(reply) > maxReply:
		return "", fmt.Errorf("reply longer than %d bytes", maxReply)
	}
	return decodeReply(reply)
}

// answerError prefers the reason why a conversation was cut.
func answerError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// whileRunning is ctx, which also ends when the target stays stopped. That can
// take a moment to be true: a shell stops and continues its jobs.
func (j *JVM) whileRunning(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(stoppedPoll)
		defer tick.Stop()
		for seen := 0; seen < stoppedPolls; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p := process{pid: j.process.pid}
			if err := p.readStatus(); err == nil && p.stopped {
				seen++
			} else {
				seen = 0
			}
		}
		cancel(fmt.Errorf("%w: it does not answer before SIGCONT", ErrStopped))
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// CommandError is a command that the JVM refused or could not do.
type CommandError struct {
	Status int
	Text   string // what the JVM says, cut to one line
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("the JVM answers %q (status %d)", e.Text, e.Status)
}

// Unwrap is the system's error that the text names, or nil: a caller can ask
// for syscall.ENOSPC or fs.ErrPermission.
func (e *CommandError) Unwrap() error {
	for _, errno := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.EEXIST, unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.EPERM, unix.EROFS, unix.EPIPE} {
		// The C library writes them as the Go one, but for the case.
		if strings.HasSuffix(strings.ToLower(e.Text), errno.Error()) {
			return errno
		}
	}
	return nil
}

// decodeReply splits a reply into its status line and its text. Since JDK 24
// the status is written before the command runs, so failure is in the text.
func decodeReply(reply []byte) (string, error) {
	if len(reply) == 0 {
		return "", errNoReply
	}
	line, text, found := strings.Cut(string(reply), "\n")
	status, err := strconv.Atoi(line)
	if err != nil || !found {
		return "", fmt.Errorf("reply %.40q: want a status and a new line", line)
	}
	if status != 0 || failed(text) {
		return "", &CommandError{Status: status, Text: firstLine(text)}
	}
	return text, nil
}

// failed recognises the ways a command that ran says that it failed.
func failed(text string) bool {
	for _, prefix := range []string{"Unable to create", "java.lang.", "java.io.", "Exception", "Could not", "Dump failed", "File exists", "Unknown diagnostic command"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return line
}

// connect connects to the attach socket; where there is none yet, or one of a
// JVM that is gone, it has the JVM make one.
func (j *JVM) connect(ctx context.Context) (*net.UnixConn, error) {
	conn, err := j.dial()
	if !noListener(err) {
		return conn, err
	}
	if j.quiet {
		return nil, ErrNoListener
	}
	return j.startListener(ctx)
}

var errNoSocket = errors.New("no attach socket")

func noListener(err error) bool {
	return errors.Is(err, errNoSocket) || errors.Is(err, syscall.ECONNREFUSED)
}

// dial connects once and checks that the listener is the target's.
func (j *JVM) dial() (*net.UnixConn, error) {
	tmp, err := j.process.directory("/tmp") // os::get_temp_directory
	if err != nil {
		if j.process.ended() {
			return nil, ErrGone
		}
		return nil, err
	}
	defer tmp.close()
	var conn *net.UnixConn
	path := tmp.path(".java_pid" + strconv.Itoa(j.process.nspid))
	dial := func() { conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"}) }
	if !j.asTarget {
		dial()
	} else if switchErr := asUser(j.process.uid, j.process.gid, dial); switchErr != nil {
		return nil, switchErr
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNoSocket
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	case err != nil:
		return nil, err
	}
	if err := j.checkPeer(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// checkPeer makes sure that the socket's owner is the target's user: anybody
// can put a socket into /tmp.
func (j *JVM) checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return fmt.Errorf("credentials of the attach socket's owner: %w", err)
	}
	if int(peer.Uid) != j.process.uid {
		return fmt.Errorf("%w: the attach socket belongs to uid %d, the target to uid %d", ErrDenied, peer.Uid, j.process.uid)
	}
	return nil
}

// asUser runs f with another effective user and group, on a thread of its own
// that ends with it. The kernel takes the credentials of the connecting thread
// for SO_PEERCRED.
func asUser(uid, gid int, f func()) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not used again
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, ^uintptr(0), uintptr(gid), ^uintptr(0)); e != 0 {
			result <- fmt.Errorf("become group %d: %w", gid, e)
			return
		}
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); e != 0 {
			result <- fmt.Errorf("become user %d: %w", uid, e)
			return
		}
		f()
		result <- nil
	}()
	return <-result
}

// startListener has the JVM open its attach socket, and connects: a file
// .attach_pid<pid> that belongs to its user, and a SIGQUIT
// (attachListener_posix.cpp, is_init_trigger). The gate before the signal: it
// is a JVM that catches it *and* attaching is not switched off.
func (j *JVM) startListener(ctx context.Context) (*net.UnixConn, error) {
	p := j.process
	if err := p.maySignal(); err != nil {
		return nil, err
	}
	perf, err := readPerfData(p)
	if err == nil && perf.attachDisabled() || err != nil && p.attachOption() {
		return nil, fmt.Errorf("%w: -XX:+DisableAttachMechanism", ErrDisabled)
	}
	remove, err := p.makeAttachFile()
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := unix.PidfdSendSignal(p.pidfd, unix.SIGQUIT, nil, 0); err != nil {
		return nil, classify(err)
	}
	limited, cancelLimit := context.WithTimeoutCause(ctx, attachWait, fmt.Errorf("%w: no attach socket within %s", ErrNoAnswer, attachWait))
	defer cancelLimit()
	running, cancel := j.whileRunning(limited)
	defer cancel()
	tick := time.NewTicker(attachPoll)
	defer tick.Stop()
	for {
		select {
		case <-running.Done():
			return nil, context.Cause(running)
		case <-tick.C:
		}
		if conn, err := j.dial(); !noListener(err) {
			return conn, err
		}
		if p.ended() {
			return nil, ErrGone
		}
	}
}

// makeAttachFile makes the trigger in the target's working directory, or its
// /tmp, and returns what removes it.
func (p *process) makeAttachFile() (remove func(), err error) {
	name := ".attach_pid" + strconv.Itoa(p.nspid)
	var problems error
	for _, open := range []func() (*directory, error){p.workingDirectory, func() (*directory, error) { return p.directory("/tmp") }} {
		dir, err := open()
		if err == nil {
			if err = p.makeTrigger(dir, name); err == nil {
				return func() {
					_ = unix.Unlinkat(dir.fd(), name, 0)
					dir.close()
				}, nil
			}
			dir.close()
		}
		problems = errors.Join(problems, err)
	}
	return nil, fmt.Errorf("make the attach file: %w", classify(problems))
}

// makeTrigger makes an empty file that belongs to the target's user. One that
// is there was left by a tool that was killed.
func (p *process) makeTrigger(dir *directory, name string) error {
	_ = unix.Unlinkat(dir.fd(), name, 0)
	fd, err := unix.Openat(dir.fd(), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if os.Geteuid() == p.uid {
		return nil
	}
	if err := unix.Fchown(fd, p.uid, p.gid); err != nil {
		return errors.Join(err, unix.Unlinkat(dir.fd(), name, 0))
	}
	return nil
}
