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

// dumpThroughFIFO has the JVM write into two FIFOs: the file itself, with the
// file header, the strings, classes and traces, and the segment file of its one
// dumper thread, <path>.p0, which since JDK 22 holds the heap dump segments
// (heapDumper.cpp: DumpMerger would append it to the file afterwards; of a
// FIFO, whose size is 0, it appends nothing, and writes the end record). Both
// are opened before the command, because a JVM that opens a FIFO without a
// reader stands still in its safepoint. For the same reason a watchdog holds
// and drains them if leakscope dies.
func (j *JVM) dumpThroughFIFO(ctx context.Context, at place, o DumpOptions, consume func(context.Context, DumpStream) error) error {
	names := []string{at.name, at.name + ".p0"}
	var pipes []*fifo
	defer func() {
		for _, p := range pipes {
			p.close()
		}
	}()
	remove := func() {
		for _, name := range names {
			_ = unix.Unlinkat(at.directory.fd(), name, 0) // the JVM has removed .p0
		}
	}
	for _, name := range names {
		p, err := makeFIFO(at.directory, name, j.process.uid, j.process.gid)
		if err != nil {
			remove()
			return err
		}
		pipes = append(pipes, p)
	}
	guard, answer, err := j.startDump(ctx, at, o, true, names...)
	if err != nil {
		remove()
		return err
	}
	var commandErr error
	answered := make(chan struct{})
	go func() {
		commandErr = <-answer
		for _, p := range pipes {
			p.finish()
		}
		close(answered)
	}()
	// Without a read end the JVM gives up; but it must not meet a FIFO without
	// one when it opens it, nor make a file in its place. The watchdog knows when.
	abandon := func() {
		guard.abandon()
		for _, p := range pipes {
			p.close()
		}
	}
	stop := context.AfterFunc(ctx, abandon)
	consumeErr := consume(ctx, DumpStream{Main: pipes[0], Segments: []io.Reader{pipes[1]}})
	if consumeErr == nil {
		var drains sync.WaitGroup
		for _, p := range pipes { // the JVM waits until everything is read
			drains.Go(func() { _, _ = io.Copy(io.Discard, p) })
		}
		drains.Wait()
		if stop() {
			<-answered // all pipes have ended, so it has come
		}
	}
	var cut error // why nothing is known of the dump's end
	select {
	case <-answered:
		if ctx.Err() == nil && commandErr == nil || errors.As(commandErr, new(*CommandError)) {
			stop()
			remove()
			guard.dismiss()
			if commandErr != nil {
				return commandErr // and not what consume makes of half a dump
			}
			return consumeErr
		}
		cut = commandErr
	default:
	}
	stop()
	abandon()
	if !errors.Is(cut, ErrStopped) { // then the watchdog waits for SIGCONT
		guard.await(abandonWait)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case cut != nil:
		return cut
	}
	return consumeErr
}

// fifo reads from a named pipe without ever seeing the end that the absence of
// a writer would be: it ends when finish was called and the pipe is empty.
type fifo struct {
	file *os.File
	done chan struct{}
	once sync.Once
	shut sync.Once
}

func makeFIFO(dir *directory, name string, uid, gid int) (*fifo, error) {
	if err := unix.Mkfifoat(dir.fd(), name, 0o600); err != nil {
		return nil, fmt.Errorf("make fifo %q: %w", name, err)
	}
	remove := func() error { return unix.Unlinkat(dir.fd(), name, 0) }
	if os.Geteuid() != uid {
		if err := unix.Fchownat(dir.fd(), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, errors.Join(err, remove())
		}
	}
	// Read and write: so that opening does not wait for a writer.
	file, err := os.OpenFile(dir.path(name), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	if info, err := file.Stat(); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return nil, errors.Join(fmt.Errorf("fifo %q was replaced", name), err, file.Close())
	}
	// Not through Fd, which would make the descriptor blocking.
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close(), remove())
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
