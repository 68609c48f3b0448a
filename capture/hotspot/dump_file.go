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
// written, or afterwards, and loses its blocks behind the reader.
func (j *JVM) dumpThroughFile(ctx context.Context, at place, o DumpOptions, whole bool, consume func(context.Context, DumpStream) error) error {
	guard, err := startWatchdog(at.here)
	if err != nil {
		return err
	}
	answer := j.dumpCommand(ctx, at.target, o, false)
	follower := &follower{ctx: ctx, path: at.here, answer: answer, whole: whole}
	err = consume(ctx, DumpStream{Main: follower})
	if ctx.Err() != nil {
		// The JVM goes on writing. The watchdog unlinks the file and gives its
		// blocks back until the JVM has finished.
		guard.abandon()
		follower.close()
		return context.Cause(ctx)
	}
	_, drainErr := io.Copy(io.Discard, follower) // whatever consume left: the file must not stay
	follower.close()
	removeErr := os.Remove(at.here)
	if errors.Is(removeErr, fs.ErrNotExist) {
		removeErr = nil
	}
	guard.dismiss()
	if follower.commandErr != nil {
		return follower.commandErr
	}
	return errors.Join(err, drainErr, removeErr)
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

func (f *follower) open() error {
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) { // not ours to write: then no holes
		file, err = os.Open(f.path)
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
