package hotspot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogMark in the environment turns a start of this program into a
// watchdog. Its arguments are the names it guards, in the directory it inherits
// as descriptor 3; descriptor 4 is the connection over which the JVM answers.
const (
	watchdogMark = "LEAKSCOPE_DUMP_WATCHDOG"
	directoryFD  = 3
	connFD       = 4
)

// dismissed is what a watchdog reads when all was cleaned up without it.
const dismissed = 'd'

const (
	watchdogPoll = 5 * time.Millisecond
	abandonWait  = 3 * time.Second // for the watchdog's work, when leakscope lives
)

// watchdog is a process that outlives leakscope. It learns of leakscope's
// death by the end of its standard input.
type watchdog struct {
	stdin io.WriteCloser
	ended chan struct{}
	once  sync.Once
}

// startWatchdog starts a watchdog over the names a dump passes through and the
// connection that asks for it.
func startWatchdog(dir *directory, conn *net.UnixConn, names ...string) (*watchdog, error) {
	w, err := runWatchdog(dir, conn, names)
	if err != nil {
		return nil, fmt.Errorf("start the dump's watchdog: %w", err)
	}
	return w, nil
}

func runWatchdog(dir *directory, conn *net.UnixConn, names []string) (*watchdog, error) {
	connFile, err := conn.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = connFile.Close() }()
	cmd := exec.Command("/proc/self/exe", names...) // also where the program's file was replaced
	cmd.Env = []string{watchdogMark + "=1"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal of the terminal reaches it
	cmd.ExtraFiles = []*os.File{dir.file, connFile}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ready.Close() }()
	cmd.Stdout = readyEnd
	err = errors.Join(cmd.Start(), readyEnd.Close())
	if err != nil {
		return nil, err
	}
	w := &watchdog{stdin: stdin, ended: make(chan struct{})}
	// Passing a descriptor on can make it blocking, for both processes.
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), true) })
	}
	go func() {
		_ = cmd.Wait()
		close(w.ended)
	}()
	// One byte says that it watches: FIFOs are open from then on.
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		_ = stdin.Close()
		return nil, err
	}
	return w, nil
}

// dismiss ends the watchdog: nothing is left for it to do.
func (w *watchdog) dismiss() {
	w.once.Do(func() {
		_, _ = w.stdin.Write([]byte{dismissed})
		_ = w.stdin.Close()
	})
	<-w.ended
}

// abandon leaves the dump and the clean-up to the watchdog.
func (w *watchdog) abandon() { w.once.Do(func() { _ = w.stdin.Close() }) }

// await waits for the watchdog's end, for a while.
func (w *watchdog) await(limit time.Duration) {
	select {
	case <-w.ended:
	case <-time.After(limit):
	}
}

// Watchdog reports whether this process was started as a dump's watchdog, and
// then does its work before it returns. Every program that dumps heaps calls it
// first in main, and ends when it returns true.
func Watchdog() bool {
	if os.Getenv(watchdogMark) == "" {
		return false
	}
	w := guarded{directory: &directory{os.NewFile(directoryFD, "directory")}, names: os.Args[1:]}
	w.openPipes()
	_, _ = os.Stdout.Write([]byte{1})
	var word [1]byte
	if n, _ := os.Stdin.Read(word[:]); n == 1 && word[0] == dismissed {
		return true
	}
	// A request that was not sent will not come: then the JVM's listener must
	// not wait for it.
	_ = unix.Shutdown(connFD, unix.SHUT_WR)
	_ = unix.SetNonblock(connFD, true)
	if len(w.pipes) > 0 {
		w.abortPipes()
	} else {
		w.dropFile()
	}
	w.remove()
	return true
}

// guarded is what a watchdog looks after.
type guarded struct {
	directory *directory
	names     []string
	pipes     []int
	ended     bool // the JVM has answered, or is gone
}

// openPipes opens what is a FIFO among the names. Also for writing: so that a
// moment without a writer is no end.
func (w *guarded) openPipes() {
	for _, name := range w.names {
		fd, err := unix.Openat(w.directory.fd(), name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO {
			w.pipes = append(w.pipes, fd)
		} else {
			_ = unix.Close(fd)
		}
	}
}

func (w *guarded) remove() {
	for _, name := range w.names {
		_ = unix.Unlinkat(w.directory.fd(), name, 0)
	}
}

// jvmEnded reads what the JVM answers, to its end.
func (w *guarded) jvmEnded() bool {
	var b [4096]byte
	for !w.ended {
		n, err := unix.Read(connFD, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.EINTR):
		case n <= 0:
			w.ended = true
		}
	}
	return true
}

// abortPipes has the JVM give up a dump whose reader died. It drains until the
// JVM has the last FIFO open, for opening one without a reader would stop it
// for good; then it takes the names away and closes, which the JVM sees as a
// broken pipe; then it waits for the answer.
func (w *guarded) abortPipes() {
	buffer := make([]byte, pipeBytes)
	for opened := false; !opened && !w.jvmEnded(); {
		moved := false
		for i, fd := range w.pipes {
			n, _ := unix.Read(fd, buffer)
			moved = moved || n > 0
			opened = opened || n > 0 && i == len(w.pipes)-1
		}
		if !moved {
			time.Sleep(watchdogPoll)
		}
	}
	w.remove()
	for _, fd := range w.pipes {
		_ = unix.Close(fd)
	}
	for !w.jvmEnded() {
		time.Sleep(watchdogPoll)
	}
}

// dropFile unlinks the file of a dump whose reader died, as soon as the JVM has
// made it, and gives its blocks back until the JVM has written it.
func (w *guarded) dropFile() {
	var f *os.File
	var punched int64
	for !w.jvmEnded() {
		if f == nil {
			var err error
			f, err = os.OpenFile(w.directory.path(w.names[0]), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
			switch {
			case err == nil:
				defer func() { _ = f.Close() }()
				w.remove()
			case errors.Is(err, fs.ErrPermission):
				w.remove()
			}
		} else if info, err := f.Stat(); err == nil && info.Size() > punched {
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, punched, info.Size()-punched)
			punched = info.Size()
		}
		time.Sleep(watchdogPoll)
	}
}
