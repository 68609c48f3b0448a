package hotspot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// punchBytes is how much is read before its blocks are given back.
const punchBytes = 4 << 20

// followPoll is how often a reader at the end of the file looks for more.
const followPoll = 500 * time.Microsecond

// dumpThroughFile has the JVM write a regular file, which is read while it is
// written, or afterwards, and loses its blocks behind the reader. The JVM
// cannot be made to give it up: abandoned, it is unlinked, and the watchdog
// gives its blocks back until the JVM has finished.
func (j *JVM) dumpThroughFile(ctx context.Context, at place, o DumpOptions, whole bool, consume func(context.Context, DumpStream) error) error {
	guard, answer, err := j.startDump(ctx, at, o, false, at.name)
	if err != nil {
		return err
	}
	follower := &follower{ctx: ctx, path: at.directory.path(at.name), answer: answer, whole: whole}
	defer follower.close()
	err = consume(ctx, DumpStream{Main: follower})
	if err == nil {
		_, err = io.Copy(io.Discard, follower) // whatever consume left: the file must not stay
	}
	if !follower.finished() {
		guard.abandon()
		if !errors.Is(err, ErrStopped) { // then the watchdog waits for SIGCONT
			guard.await(abandonWait)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	removeErr := unix.Unlinkat(at.directory.fd(), at.name, 0)
	if errors.Is(removeErr, fs.ErrNotExist) {
		removeErr = nil
	}
	guard.dismiss()
	if follower.commandErr != nil {
		return follower.commandErr
	}
	return errors.Join(err, removeErr)
}

// follower reads a file while it is written: at its end it waits for more
// until the writer has answered.
type follower struct {
	ctx        context.Context //nolint:containedctx // a Reader's Read takes none
	path       string
	answer     <-chan error
	whole      bool // wait for the answer before reading
	answered   bool
	commandErr error
	file       *os.File
	offset     int64
	punched    int64
	noPunch    bool
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		final := f.answered // looked at before reading: what is written after the answer was before it
		if f.whole && !f.answered {
			if err := f.wait(0); err != nil {
				return 0, err
			}
			continue
		}
		if f.file == nil {
			if err := f.open(); err != nil {
				return 0, err
			}
		}
		if f.file != nil {
			n, err := f.file.ReadAt(p, f.offset)
			f.offset += int64(n)
			f.punch()
			switch {
			case n > 0:
				return n, nil
			case err != nil && !errors.Is(err, io.EOF):
				return 0, err
			}
		}
		if final {
			return 0, io.EOF
		}
		if err := f.wait(followPoll); err != nil {
			return 0, err
		}
	}
}

// wait waits for the answer, at most as long as poll; without end when poll is 0.
func (f *follower) wait(poll time.Duration) error {
	var tick <-chan time.Time
	if poll > 0 {
		timer := time.NewTimer(poll)
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case f.commandErr = <-f.answer:
		f.answered = true
		if f.commandErr != nil {
			return f.commandErr
		}
	case <-tick:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	return nil
}

// finished reports whether the JVM has said how the dump ended: a conversation
// that was cut says nothing.
func (f *follower) finished() bool {
	if !f.answered {
		select {
		case f.commandErr = <-f.answer:
			f.answered = true
		default:
			return false
		}
	}
	return f.commandErr == nil || errors.As(f.commandErr, new(*CommandError))
}

func (f *follower) open() error {
	const noLink = unix.O_NOFOLLOW | unix.O_NONBLOCK
	file, err := os.OpenFile(f.path, os.O_RDWR|noLink, 0)
	if errors.Is(err, fs.ErrPermission) { // not ours to write: then no holes
		file, err = os.OpenFile(f.path, os.O_RDONLY|noLink, 0)
		f.noPunch = true
	}
	switch {
	case err == nil:
		f.file = file
		return nil
	case errors.Is(err, fs.ErrNotExist) && !f.answered:
		return nil // not made yet
	}
	return err
}

// punch gives back the blocks of what was read.
func (f *follower) punch() {
	if f.noPunch || f.offset-f.punched < punchBytes {
		return
	}
	err := unix.Fallocate(int(f.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, f.punched, f.offset-f.punched)
	f.noPunch = err != nil
	f.punched = f.offset
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}
