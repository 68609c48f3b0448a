package hotspot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogMark in the environment turns a start of this program into a
// watchdog. Its arguments are the paths it guards.
const watchdogMark = "LEAKSCOPE_DUMP_WATCHDOG"

// dismissed is what a watchdog reads when all was cleaned up without it.
const dismissed = 'd'

// The limits of a watchdog's life after leakscope's.
const (
	watchdogPoll  = 20 * time.Millisecond
	watchdogQuiet = 10 * time.Second // nothing was written for so long: it is over
	watchdogLimit = 30 * time.Minute
)

// watchdog is a process that outlives leakscope. It learns of leakscope's
// death by the end of its standard input.
type watchdog struct {
	stdin io.WriteCloser
	cmd   *exec.Cmd
	once  sync.Once
}

// startWatchdog starts a watchdog over the paths a dump passes through.
func startWatchdog(paths ...string) (*watchdog, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the dump's watchdog: %w", err)
	}
	cmd := exec.Command(self, paths...)
	cmd.Env = []string{watchdogMark + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal of the terminal reaches it
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the dump's watchdog: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the dump's watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the dump's watchdog: %w", err)
	}
	// One byte says that it watches: FIFOs are open from then on.
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		_ = stdin.Close()
		return nil, fmt.Errorf("start the dump's watchdog: %w", errors.Join(err, cmd.Wait()))
	}
	return &watchdog{stdin: stdin, cmd: cmd}, nil
}

// dismiss ends the watchdog: nothing is left for it to do.
func (w *watchdog) dismiss() {
	w.once.Do(func() {
		_, _ = w.stdin.Write([]byte{dismissed})
		_ = w.stdin.Close()
		_ = w.cmd.Wait()
	})
}

// abandon leaves the clean-up to the watchdog and does not wait for it.
func (w *watchdog) abandon() { w.once.Do(func() { _ = w.stdin.Close() }) }

// Watchdog reports whether this process was started as a dump's watchdog, and
// then does its work before it returns. Every program that dumps heaps calls it
// first in main, and ends when it returns true.
func Watchdog() bool {
	if os.Getenv(watchdogMark) == "" {
		return false
	}
	var pipes []*os.File
	for _, path := range os.Args[1:] {
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
				pipes = append(pipes, f)
			}
		}
	}
	_, _ = os.Stdout.Write([]byte{1})
	var word [1]byte
	if n, _ := os.Stdin.Read(word[:]); n == 1 && word[0] == dismissed {
		return true
	}
	if len(pipes) > 0 {
		drainUntilQuiet(pipes)
		for _, path := range os.Args[1:] {
			_ = os.Remove(path)
		}
		return true
	}
	for _, path := range os.Args[1:] {
		dropFile(path)
	}
	return true
}

// drainUntilQuiet reads the FIFOs of a dump whose reader died, so that the JVM
// does not stand still, until nothing has come for a while.
func drainUntilQuiet(pipes []*os.File) {
	buffer := make([]byte, 1<<20)
	end, last := time.Now().Add(watchdogLimit), time.Now()
	for time.Now().Before(end) && time.Since(last) < watchdogQuiet {
		moved := false
		for _, f := range pipes {
			raw, err := f.SyscallConn()
			if err != nil {
				continue
			}
			n := 0
			_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buffer) })
			moved = moved || n > 0
		}
		if moved {
			last = time.Now()
			continue
		}
		time.Sleep(watchdogPoll)
	}
}

// dropFile unlinks the file of a dump whose reader died, as soon as the JVM has
// made it, and gives its blocks back until the JVM stops writing: it cannot be
// made to give up.
func dropFile(path string) {
	var f *os.File
	end := time.Now().Add(watchdogQuiet)
	for f == nil && time.Now().Before(end) {
		var err error
		if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			time.Sleep(watchdogPoll)
		}
	}
	_ = os.Remove(path)
	if f == nil {
		return
	}
	defer func() { _ = f.Close() }()
	end = time.Now().Add(watchdogLimit)
	var punched int64
	last := time.Now()
	for time.Now().Before(end) && time.Since(last) < watchdogQuiet {
		info, err := f.Stat()
		if err != nil {
			return
		}
		if size := info.Size(); size > punched {
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, punched, size-punched)
			punched, last = size, time.Now()
		}
		time.Sleep(watchdogPoll)
	}
}
