package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	directoryPattern = "leakscope-demo-*"
	lockName         = "lock"
)

// directory is where a demo compiles its program. It is locked as long as the
// demo runs: the kernel takes the lock off a leakscope that was killed, and the
// next demo removes what it left.
type directory struct {
	path string
	lock *os.File
}

// newDirectory makes a directory of our own, and removes those that demos of
// the same user left behind.
func newDirectory() (*directory, error) {
	sweep(os.TempDir())
	path, err := os.MkdirTemp("", directoryPattern)
	if err != nil {
		return nil, err
	}
	// The lock gets its name when it is held: there is no moment at which it
	// could be taken for a stale one.
	lock, err := os.CreateTemp(path, lockName+"-*")
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(lock.Name(), filepath.Join(path, lockName))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), os.RemoveAll(path))
	}
	return &directory{path, lock}, nil
}

func (d *directory) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// sweep removes the directories of demos that run no more. What is not ours, or
// cannot be told, stays.
func sweep(in string) {
	found, _ := filepath.Glob(filepath.Join(in, directoryPattern))
	for _, path := range found {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // another is just being made, or it is none of ours
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = lock.Close()
	}
}
