package hotspot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// directory is a directory of the target, held open. Names in it are used
// through its descriptor, so that no link inside the target leads a path of
// ours out of the target's root.
type directory struct{ file *os.File }

// directory opens a directory by the path the target knows it by
// (openat2(2), RESOLVE_IN_ROOT). Close it after use.
func (p *process) directory(path string) (*directory, error) {
	root, err := unix.Open(p.path("root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, classify(fmt.Errorf("root of the target: %w", err))
	}
	defer func() { _ = unix.Close(root) }()
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("directory %q of the target: %w", path, err)
	}
	return &directory{os.NewFile(uintptr(fd), path)}, nil
}

// workingDirectory opens the target's current directory, which may have
// another name here or none.
func (p *process) workingDirectory() (*directory, error) {
	fd, err := unix.Open(p.path("cwd"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, classify(fmt.Errorf("working directory of the target: %w", err))
	}
	d := &directory{os.NewFile(uintptr(fd), "working directory")}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Nlink == 0 {
		d.close()
		return nil, errors.Join(err, errors.New("working directory of the target: removed"))
	}
	return d, nil
}

func (d *directory) fd() int { return int(d.file.Fd()) }

// path is a name in the directory as this process can use it.
func (d *directory) path(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd()) + "/" + name
}

func (d *directory) close() { _ = d.file.Close() }

// readFile reads a regular file of at most limit bytes that belongs to uid, by
// a path without links.
func (d *directory) readFile(path string, uid int, limit int64) ([]byte, error) {
	fd, err := unix.Openat2(d.fd(), path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, // a FIFO in the file's place must not block
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }()
	var stat unix.Stat_t
	switch err := unix.Fstat(fd, &stat); {
	case err != nil:
		return nil, err
	case stat.Mode&unix.S_IFMT != unix.S_IFREG, int(stat.Uid) != uid, stat.Size > limit:
		return nil, fmt.Errorf("%q: not a regular file of uid %d with at most %d bytes", path, uid, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// names lists at most limit of the directory's entries.
func (d *directory) names(limit int) ([]string, error) {
	f, err := os.Open(d.path("."))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(limit)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}
