package launch

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/capture/proc"
)

// markName is the variable that marks what a command started.
const markName = "LEAKSCOPE_RUN"

// drainTimeout bounds the wait for the rest of the output, in case somebody who
// cannot be stopped holds its other end.
const drainTimeout = 2 * time.Second

// Options say what to start.
type Options struct {
	Name   string    // in messages, e.g. "the command"
	Args   []string  // the program, looked up in PATH, and its arguments
	Env    []string  // NAME=VALUE, beside our own environment
	Output io.Writer // gets stdout and stderr together, whole lines, one Write each
	// Line is told each line without its end, and may be nil.
	Line func(string)
}

// Group is a running command with all that it started.
type Group struct {
	name  string
	cmd   *exec.Cmd
	mark  string
	since uint64 // when it started, in ticks
	proc  proc.FS
	lines *lines
	// outsiders were seen to have left the group.
	outsiders map[int]bool

	ended   chan struct{} // closed when the command itself has ended
	reap    chan struct{} // closed to let it be waited for
	reaped  chan struct{} // closed when it was
	drained chan struct{} // closed at the end of its output
	output  *os.File
	stop    sync.Once
	stopErr error
}

// Start starts a command. It must be stopped, also when it ends by itself.
func Start(o Options) (*Group, error) {
	if len(o.Args) == 0 {
		return nil, errors.New("no command")
	}
	g := &Group{
		name: o.Name, mark: markName + "=" + rand.Text(), proc: proc.NewFS(""), lines: newLines(o.Output, o.Line),
		outsiders: map[int]bool{},
		ended:     make(chan struct{}), reap: make(chan struct{}), reaped: make(chan struct{}), drained: make(chan struct{}),
	}
	// A pipe of our own: that of exec is waited for without bound.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	g.output = read
	g.cmd = exec.Command(o.Args[0], o.Args[1:]...)
	g.cmd.Env = append(append(os.Environ(), o.Env...), g.mark)
	g.cmd.Stdout, g.cmd.Stderr = write, write
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	adopt()
	started := make(chan error)
	go g.wait(started)
	err = <-started
	_ = write.Close()
	if err != nil {
		abandon()
		_ = read.Close()
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	if all, err := g.proc.Processes(); err == nil {
		for _, p := range all {
			if p.PID == g.PID() {
				g.since = p.StartTicks
			}
		}
	}
	go func() {
		defer close(g.drained)
		g.lines.copy(read)
	}()
	return g, nil
}

// wait starts the command and sees it end. Both happen on one thread that lives
// as long as the command, because the kernel sends the signal of a parent's
// death when the thread ends that was the parent. Until it is reaped its pid,
// and so the number of its group, belong to nobody else.
func (g *Group) wait(started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with us
	err := g.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	for {
		err := unix.Waitid(unix.P_PID, g.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(g.ended)
	<-g.reap
	_ = g.cmd.Wait() // how it ended is in its state
	close(g.reaped)
}

// PID is that of the command itself.
func (g *Group) PID() int { return g.cmd.Process.Pid }

// Ended is closed when the command itself has ended; what it started may still
// run.
func (g *Group) Ended() <-chan struct{} { return g.ended }

// LastLines are the last lines of its output.
func (g *Group) LastLines() []string { return g.lines.last() }

// EndedError says that a command ended when it should not have.
type EndedError struct {
	Name string // of the command
	When string // e.g. "before it was ready"
	How  string // e.g. "exit status 1"
}

func (e *EndedError) Error() string { return fmt.Sprintf("%s ended %s: %s", e.Name, e.When, e.How) }

// EndedWhen is the error of a command that has ended by itself and was stopped.
func (g *Group) EndedWhen(when string) *EndedError {
	return &EndedError{g.name, when, g.State()}
}

// State says how a command that was stopped has ended, as "exit status 1" or
// "signal: killed".
func (g *Group) State() string {
	select {
	case <-g.reaped:
		return g.cmd.ProcessState.String()
	default:
		return "not known"
	}
}

// Succeeded reports whether a command that was stopped has ended with status 0.
func (g *Group) Succeeded() bool {
	select {
	case <-g.reaped:
		return g.cmd.ProcessState.Success()
	default:
		return false
	}
}
