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
)

// JVM is a HotSpot JVM to which commands can be sent.
type JVM struct{ process *process }

// Open proves that pid is a HotSpot JVM. It sends nothing yet. Close it after
// use.
func Open(pid int) (*JVM, error) {
	p, err := openProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("attach to pid %d: %w", pid, err)
	}
	return &JVM{process: p}, nil
}

// Close forgets the JVM.
func (j *JVM) Close() { j.process.close() }

// ask sends one command and returns the text of its reply.
func (j *JVM) ask(ctx context.Context, command string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	return j.send(ctx, command, arguments...)
}

// send sends one command and waits for the end of its reply as long as ctx
// lets it: the JVM's listener has one thread, and a command can wait behind
// another. A JDK 8 refuses root when it runs as somebody else, by closing the
// connection without a word; then the command is sent again as its user.
func (j *JVM) send(ctx context.Context, command string, arguments ...string) (string, error) {
	request, err := encodeRequest(command, arguments)
	if err != nil {
		return "", err
	}
	text, err := j.exchange(ctx, request, false)
	if errors.Is(err, errNoReply) && os.Geteuid() == 0 && j.process.uid != 0 {
		text, err = j.exchange(ctx, request, true)
	}
	if err != nil {
		return "", fmt.Errorf("attach command %s: %w", command, err)
	}
	return text, nil
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

func (j *JVM) exchange(ctx context.Context, request []byte, asTarget bool) (string, error) {
	conn, err := j.connect(ctx, asTarget)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
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

func answerError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrNoAnswer, context.Cause(ctx))
	}
	return err
}

// CommandError is a command that the JVM refused or could not do.
type CommandError struct {
	Status int
	Text   string // what the JVM says, cut to one line
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("the JVM answers %q (status %d)", e.Text, e.Status)
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

// connect connects to the attach socket; where there is none yet, it has the
// JVM make one.
func (j *JVM) connect(ctx context.Context, asTarget bool) (*net.UnixConn, error) {
	conn, err := j.dial(asTarget)
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		return conn, err
	}
	if err := j.startListener(ctx); err != nil {
		return nil, err
	}
	return j.dial(asTarget)
}

func (j *JVM) socketPath() string {
	return j.process.inRoot("/tmp/.java_pid" + strconv.Itoa(j.process.nspid))
}

// dial connects once and checks that the listener is the target's.
func (j *JVM) dial(asTarget bool) (*net.UnixConn, error) {
	var conn *net.UnixConn
	var err error
	dial := func() {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: j.socketPath(), Net: "unix"})
	}
	if asTarget {
		err = errors.Join(asUser(j.process.uid, j.process.gid, dial), err)
	} else {
		dial()
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: %w", ErrDenied, err)
		}
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

// startListener has the JVM open its attach socket: a file .attach_pid<pid>
// that belongs to its user, and a SIGQUIT (attachListener_posix.cpp,
// is_init_trigger). The gate before the signal: the process has libjvm.so
// mapped *and* catches SIGQUIT *and* has attaching switched on; any other
// process might die of it.
func (j *JVM) startListener(ctx context.Context) error {
	p := j.process
	switch {
	case p.stopped:
		return fmt.Errorf("%w: it would not answer before SIGCONT", ErrStopped)
	case !p.catchesQuit():
		return fmt.Errorf("%w: no SIGQUIT handler (a JVM that is starting or ending, or one with -Xrs)", ErrNotJVM)
	}
	if perf, err := readPerfData(p); err == nil && perf.attachDisabled() {
		return fmt.Errorf("%w: -XX:+DisableAttachMechanism", ErrDisabled)
	}
	file, err := p.makeAttachFile()
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	if err := unix.PidfdSendSignal(p.pidfd, unix.SIGQUIT, nil, 0); err != nil {
		return classify(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, attachWait, fmt.Errorf("no attach socket within %s", attachWait))
	defer cancel()
	tick := time.NewTicker(attachPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoAnswer, context.Cause(ctx))
		case <-tick.C:
		}
		if _, err := os.Lstat(j.socketPath()); err == nil {
			return nil
		}
		if err := unix.PidfdSendSignal(p.pidfd, 0, nil, 0); err != nil {
			return classify(err)
		}
	}
}

// makeAttachFile makes the trigger in the target's working directory, or its
// /tmp.
func (p *process) makeAttachFile() (string, error) {
	name := ".attach_pid" + strconv.Itoa(p.nspid)
	var problems error
	for _, path := range []string{p.path("cwd", name), p.inRoot("/tmp/" + name)} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrExist) { // left by a tool that was killed
			_ = os.Remove(path)
			f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
		}
		if err != nil {
			problems = errors.Join(problems, err)
			continue
		}
		err = f.Close()
		if os.Geteuid() != p.uid {
			err = errors.Join(err, os.Chown(path, p.uid, p.gid))
		}
		if err != nil {
			_ = os.Remove(path)
			problems = errors.Join(problems, err)
			continue
		}
		return path, nil
	}
	return "", classify(problems)
}
