package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// maxFDs bounds the descriptors read; the kernel's own default limit for one
// process (fs.nr_open) is a quarter of it.
const maxFDs = 4 << 20

// FDs returns the open descriptors of a process, sorted by number
// (/proc/PID/fd; needs ptrace-read permission). A descriptor that is closed
// while the table is read is left out. With an error that is not a
// [PartialError] the result is nil.
func (f FS) FDs(pid int) ([]snapshot.FD, error) {
	dir, err := os.Open(f.path(file(pid, "fd")))
	if err != nil {
		return nil, f.fail(pid, "fd", err)
	}
	defer func() { _ = dir.Close() }()
	at := int(dir.Fd())
	fds := []snapshot.FD{}
	var missing []error
	link := make([]byte, 4096)
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			n, convErr := strconv.Atoi(name)
			if convErr != nil || n < 0 {
				continue
			}
			size, linkErr := unix.Readlinkat(at, name, link)
			switch {
			case errors.Is(linkErr, fs.ErrNotExist):
				continue // closed meanwhile
			case linkErr != nil:
				if len(missing) == 0 { // one tells what the others would
					missing = append(missing, f.fail(pid, "fd/"+name, linkErr))
				}
				continue
			}
			fds = append(fds, describeFD(n, string(link[:size])))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if len(fds) == 0 {
				return nil, f.fail(pid, "fd", err)
			}
			missing = append(missing, f.fail(pid, "fd", err))
			break
		}
		if len(fds) >= maxFDs {
			missing = append(missing, &Error{PID: pid, File: shown(pid, "fd"), Err: fmt.Errorf("%w: limit %d descriptors", errTooLarge, maxFDs)})
			break
		}
	}
	if len(fds) == 0 && len(missing) > 0 {
		return nil, missing[0]
	}
	slices.SortFunc(fds, func(a, b snapshot.FD) int { return a.Number - b.Number })
	return fds, partial(missing)
}

// describeFD reads the link of a descriptor: "socket:[1234]", "pipe:[5]",
// "anon_inode:[eventpoll]", "/memfd:name (deleted)" or a path. Paths are not
// kept.
func describeFD(number int, link string) snapshot.FD {
	fd := snapshot.FD{Number: number, Kind: "file"}
	if strings.HasPrefix(link, "/") {
		switch {
		case strings.HasPrefix(link, "/memfd:"):
			fd.Kind = "memfd"
		case strings.HasPrefix(link, "/dev/"):
			fd.Kind = "device"
		}
		return fd
	}
	kind, rest, ok := strings.Cut(link, ":")
	if !ok {
		return fd
	}
	if kind == "anon_inode" {
		fd.Kind = printable([]byte(link))
		return fd
	}
	digits, isInode := strings.CutPrefix(rest, "[")
	digits, closed := strings.CutSuffix(digits, "]")
	if inode, err := strconv.ParseUint(digits, 10, 64); isInode && closed && err == nil {
		fd.Kind, fd.Inode = printable([]byte(kind)), inode
	}
	return fd
}
