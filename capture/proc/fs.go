package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// DefaultMountPoint is where proc is mounted.
const DefaultMountPoint = "/proc"

// The most that is read of one file. Everything here comes from another
// process or describes it: a larger file is cut and its reading marked partial.
const (
	maxSmallFile = 1 << 20  // status, stat, cgroup, one-line files
	maxMountinfo = 16 << 20 // a host with tens of thousands of mounts
	maxCmdline   = 256 << 10
)

// errTooLarge says that a file was cut at the limit of its kind.
var errTooLarge = errors.New("larger than leakscope reads")

// FS is a mounted proc file system.
type FS struct {
	mount string
	// host is put before absolute paths that a file names (mount points of
	// control groups); only tests set it.
	host string
}

// NewFS returns the proc file system mounted at mountPoint; "" means
// [DefaultMountPoint].
func NewFS(mountPoint string) FS {
	if mountPoint == "" {
		mountPoint = DefaultMountPoint
	}
	return FS{mount: filepath.Clean(mountPoint)}
}

// file returns the path below the mount point of a file of a process.
func file(pid int, name string) string { return strconv.Itoa(pid) + "/" + name }

// shown is how an error names a file of a process.
func shown(pid int, name string) string { return "/proc/" + file(pid, name) }

func (f FS) path(name string) string { return f.mount + "/" + name }

// read returns the content of a file of a process, at most limit bytes. A file
// that is cut is returned with an error that wraps errTooLarge.
func (f FS) read(pid int, name string, limit int) ([]byte, error) {
	content, err := readFile(f.path(file(pid, name)), limit)
	if err != nil {
		return content, f.fail(pid, name, err)
	}
	return content, nil
}

// readShared returns the content of a file that belongs to no process.
func (f FS) readShared(name string, limit int) ([]byte, error) {
	content, err := readFile(f.path(name), limit)
	if err != nil {
		kind := classify(err)
		if errors.Is(err, fs.ErrNotExist) {
			kind = ErrUnsupported
		}
		return content, &Error{File: "/proc/" + name, Kind: kind, Err: err}
	}
	return content, nil
}

// link returns the target of a symbolic link of a process.
func (f FS) link(pid int, name string) (string, error) {
	target, err := os.Readlink(f.path(file(pid, name)))
	if err != nil {
		return "", f.fail(pid, name, err)
	}
	return target, nil
}

// fail wraps the error of a system call on a file of a process. A file that is
// not there, of a process that is, is one that the kernel does not offer.
func (f FS) fail(pid int, name string, err error) error {
	e := &Error{PID: pid, File: shown(pid, name), Kind: classify(err), Err: bare(err)}
	if errors.Is(err, fs.ErrNotExist) {
		e.Kind = ErrGone
		if unix.Access(f.path(strconv.Itoa(pid)), unix.F_OK) == nil {
			e.Kind = ErrUnsupported
		}
	}
	return e
}

// bare takes the path off an error of package os, since Error names it.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readFile reads a file of unknown size with plain system calls: files of proc
// need no poller, and their size is 0 until they are read.
func readFile(path string, limit int) ([]byte, error) {
	fd, err := openRead(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := readFD(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return buf, err
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return buf[:limit], fmt.Errorf("%w: limit %d bytes", errTooLarge, limit)
		}
	}
}

func openRead(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// reader reads a file that is too large to keep, a buffer at a time.
type reader struct{ fd int }

func (f FS) open(pid int, name string) (reader, error) {
	fd, err := openRead(f.path(file(pid, name)))
	if err != nil {
		return reader{-1}, f.fail(pid, name, err)
	}
	return reader{fd}, nil
}

func (r reader) close() { _ = unix.Close(r.fd) }
