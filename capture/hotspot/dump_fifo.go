package hotspot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipeBytes is the widest pipe an unprivileged process may ask for by default.
const pipeBytes = 1 << 20

// dumpThroughFIFO has the JVM write into two FIFOs: the file itself, and the
// segment file of its one dumper thread, <path>.p0, which since JDK 22 holds
// the heap dump segments (heapDumper.cpp: DumpMerger would append it to the
// file afterwards; of a FIFO, whose size is 0, it appends nothing). Both are
// opened before the command, because a JVM that opens a FIFO without a reader
// stands still in its safepoint. For the same reason a watchdog holds and
// drains them if leakscope dies.
func (j *JVM) dumpThroughFIFO(ctx context.Context, at place, o DumpOptions, consume func(context.Context, DumpStream) error) (err error) {
	paths := []string{at.here, at.here + ".p0"}
	var pipes []*fifo
	defer func() {
		for _, p := range pipes {
			p.close()
		}
		for _, path := range paths {
			if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	for _, path := range paths {
		p, err := makeFIFO(path, j.process.uid, j.process.gid)
		if err != nil {
			return err
		}
		pipes = append(pipes, p)
	}
	guard, err := startWatchdog(paths...)
	if err != nil {
		return err
	}
	defer guard.dismiss()

	commandCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	answer := j.dumpCommand(commandCtx, at.target, o, true)
	var commandErr error
	var answered sync.WaitGroup
	answered.Go(func() {
		commandErr = <-answer
		for _, p := range pipes {
			p.finish()
		}
	})
	stop := context.AfterFunc(ctx, func() { // without a read end the JVM gives up cleanly
		guard.dismiss()
		for _, p := range pipes {
			p.close()
		}
	})
	defer stop()

	consumeErr := consume(ctx, DumpStream{Main: pipes[0], Segments: []io.Reader{pipes[1]}})
	var drains sync.WaitGroup
	for _, p := range pipes { // the JVM waits until everything is read
		drains.Go(func() { _, _ = io.Copy(io.Discard, p) })
	}
	drains.Wait()
	answered.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(commandErr, consumeErr)
}

// fifo reads from a named pipe without ever seeing the end that the absence of
// a writer would be: it ends when finish was called and the pipe is empty.
type fifo struct {
	file *os.File
	done chan struct{}
	once sync.Once
	shut sync.Once
}

func makeFIFO(path string, uid, gid int) (*fifo, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make fifo %q: %w", path, err)
	}
	if os.Geteuid() != uid {
		if err := os.Chown(path, uid, gid); err != nil {
			return nil, errors.Join(err, os.Remove(path))
		}
	}
	// Read and write: so that opening does not wait for a writer.
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	// Not through Fd, which would make the descriptor blocking.
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	_ = raw.Control(func(fd uintptr) { // best effort: a narrow pipe works too
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes)
	})
	return &fifo{file: file, done: make(chan struct{})}, nil
}

// finish says that the writer has answered: what is in the pipe is the rest.
func (f *fifo) finish() {
	f.once.Do(func() {
		close(f.done)
		_ = f.file.SetReadDeadline(time.Unix(1, 0))
	})
}

func (f *fifo) Read(p []byte) (int, error) {
	select {
	case <-f.done:
		return f.readRest(p)
	default:
	}
	n, err := f.file.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		return f.readRest(p)
	}
	return n, err
}

// readRest reads what is there, and takes an empty pipe for the end.
func (f *fifo) readRest(p []byte) (int, error) {
	raw, err := f.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := 0
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), p) })
	switch {
	case controlErr != nil:
		return 0, controlErr
	case errors.Is(err, syscall.EAGAIN):
		return 0, io.EOF
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (f *fifo) close() { f.shut.Do(func() { _ = f.file.Close() }) }
