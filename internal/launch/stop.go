package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/capture/proc"
)

const (
	pollInterval = 20 * time.Millisecond
	killTimeout  = 10 * time.Second // for what SIGKILL has hit to be gone
	maxEnviron   = 4 << 20
)

// Members are the processes of the command that live: those of its group, and
// those that left it and still have the mark. They are sorted by pid.
func (g *Group) Members() ([]proc.Process, error) {
	all, err := g.proc.Processes()
	if err != nil {
		return nil, err
	}
	members := all[:0]
	for _, p := range all {
		if p.Group == g.PID() || p.StartTicks >= g.since && g.marked(p.PID) {
			members = append(members, p)
		}
	}
	return members, nil
}

// marked reports whether a process has inherited the mark. Its environment is
// looked at for nothing else and not kept.
func (g *Group) marked(pid int) bool {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // another user's: not started by us
	}
	defer func() { _ = f.Close() }()
	environ, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if err != nil {
		return false
	}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if string(entry) == g.mark {
			return true
		}
	}
	return false
}

// Stop ends the command and all that it started, and returns when nothing of it
// is left: at once where it had ended, else within the grace after SIGTERM, or
// after SIGKILL. When hurry, which may be nil, is closed, the grace is over. It
// may be called more than once; only the first call does anything.
func (g *Group) Stop(grace time.Duration, hurry <-chan struct{}) error {
	g.stop.Do(func() { g.stopErr = g.end(grace, hurry) })
	return g.stopErr
}

func (g *Group) end(grace time.Duration, hurry <-chan struct{}) error {
	left, err := g.Members()
	if len(left) > 0 && grace > 0 {
		g.signal(left, unix.SIGTERM)
		g.signal(left, unix.SIGCONT) // one that is stopped would not hear it
		left, err = g.await(grace, hurry)
	}
	for deadline := time.Now().Add(killTimeout); len(left) > 0 && err == nil && time.Now().Before(deadline); {
		g.signal(left, unix.SIGKILL)
		left, err = g.await(pollInterval, nil)
	}
	if err != nil { // proc cannot be read: the group can be killed all the same
		_ = unix.Kill(-g.PID(), unix.SIGKILL)
	}
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("pid %d still runs after SIGKILL", left[0].PID))
	}
	defer abandon()
	close(g.reap)
	select {
	case <-g.reaped:
		g.reapOrphans()
	case <-time.After(killTimeout):
		err = errors.Join(err, errors.New("it cannot be waited for"))
	}
	_ = g.output.SetReadDeadline(time.Now().Add(drainTimeout))
	<-g.drained
	_ = g.output.Close()
	if err != nil {
		return fmt.Errorf("stop %s: %w", g.name, err)
	}
	return nil
}

// await waits until no member is left, or the time is over.
func (g *Group) await(d time.Duration, hurry <-chan struct{}) ([]proc.Process, error) {
	over := time.NewTimer(d)
	defer over.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		left, err := g.Members()
		if err != nil || len(left) == 0 {
			return left, err
		}
		select {
		case <-poll.C:
		case <-over.C:
			return left, nil
		case <-hurry:
			return left, nil
		}
	}
}

// signal sends a signal to the group at once, and to each member outside of it.
func (g *Group) signal(members []proc.Process, s unix.Signal) {
	_ = unix.Kill(-g.PID(), s) // the command is not reaped yet: the number is its own
	for _, p := range members {
		if p.Group != g.PID() {
			g.outsiders[p.PID] = true
			g.signalOutsider(p, s)
		}
	}
}

// signalOutsider signals a process through a descriptor of it, so that it cannot
// hit another one that was given its pid meanwhile.
func (g *Group) signalOutsider(p proc.Process, s unix.Signal) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		return // it has ended
	}
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
	}
	if g.proc.Check(p.PID, p.StartTicks) != nil {
		return
	}
	if err == nil {
		_ = unix.PidfdSendSignal(fd, s, nil, 0)
		return
	}
	_ = unix.Kill(p.PID, s) // a kernel before 5.3
}
