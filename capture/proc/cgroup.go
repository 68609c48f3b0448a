package proc

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// cgroup is one line of /proc/PID/cgroup: a hierarchy and the path in it.
type cgroup struct {
	controllers string // comma separated; "" for version 2, "name=…" for a named hierarchy
	path        string
}

// parseCgroup reads "id:controllers:path" lines, see cgroups(7).
func parseCgroup(content []byte) ([]cgroup, error) {
	var all []cgroup
	line := 0
	for row := range bytes.Lines(content) {
		line++
		_, rest, ok := bytes.Cut(bytes.TrimSuffix(row, []byte("\n")), []byte(":"))
		controllers, place, ok2 := bytes.Cut(rest, []byte(":"))
		if !ok || !ok2 || !bytes.HasPrefix(place, []byte("/")) {
			return all, syntaxError(line, "id:controllers:/path", row)
		}
		all = append(all, cgroup{controllers: string(controllers), path: string(place)})
	}
	return all, nil
}

func (f FS) cgroups(pid int) ([]cgroup, error) {
	content, err := f.read(pid, "cgroup", maxSmallFile)
	if err != nil {
		return nil, err
	}
	all, err := parseCgroup(content)
	if err != nil {
		return all, &Error{PID: pid, File: shown(pid, "cgroup"), Err: err}
	}
	return all, nil
}

// containerID finds the id that container engines give to control groups: 64
// hexadecimal digits, alone (docker, containerd, podman with cgroupfs) or after
// a prefix and before ".scope" ("docker-…", "cri-containerd-…", "crio-…",
// "libpod-…", "pod-slice:cri-containerd:…"). The deepest one counts, since
// containers nest. "" when there is none.
func containerID(all []cgroup) string {
	for _, g := range all {
		segments := strings.Split(g.path, "/")
		for i := len(segments) - 1; i >= 0; i-- {
			name := strings.TrimSuffix(segments[i], ".scope")
			prefix := ""
			if cut := strings.LastIndexAny(name, "-:"); cut >= 0 {
				prefix, name = name[:cut], name[cut+1:]
			}
			// conmon watches a container from outside of it
			if isContainerID(name) && !strings.HasSuffix(prefix, "conmon") {
				return name
			}
		}
	}
	return ""
}

// containerIDFromMounts finds the id in the place of the files that an engine
// mounts into a container (/etc/hostname and the like). Inside a namespace of
// control groups their paths do not show it.
func containerIDFromMounts(all []mount) string {
	for _, m := range all {
		segments := strings.Split(m.root, "/")
		for i := 1; i < len(segments)-1; i++ {
			parent := segments[i-1]
			if (parent == "containers" || parent == "overlay-containers") && isContainerID(segments[i]) {
				return segments[i]
			}
		}
	}
	return ""
}

func isContainerID(name string) bool {
	if len(name) != 64 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// unlimited is the least value that means "no limit" in version 1: the kernel
// writes the largest multiple of the page size instead of a word.
const unlimited = 1 << 62

// cgroupMemory returns what the control group of a process uses, and the least
// limit from it up to the top of what is mounted. Both stay unknown where no
// limit is set and in the root group.
func (f FS) cgroupMemory(pid int) (used, limit snapshot.Optional[int64], err error) {
	groups, err := f.cgroups(pid)
	if err != nil {
		return used, limit, err
	}
	// The mounts of the reader, because its files are opened, and because the
	// kernel writes the paths of control groups as the reader sees them.
	name := "self/mountinfo"
	content, err := f.readShared(name, maxMountinfo)
	if err != nil {
		return used, limit, err
	}
	mounts, err := parseMountinfo(content)
	if err != nil {
		return used, limit, &Error{File: "/proc/" + name, Err: err}
	}
	at, ok := memoryController(groups, mounts)
	if !ok {
		return used, limit, &Error{
			PID: pid, File: shown(pid, "cgroup"), Kind: ErrUnsupported,
			Err: errors.New("no mounted memory controller holds its control group"),
		}
	}
	var errs []error
	figure := func(dir, name string) snapshot.Optional[int64] {
		value, err := f.cgroupFigure(at.point + dir + "/" + name)
		if err != nil {
			errs = append(errs, err)
		}
		return value
	}
	used = figure(at.dir, at.usage)
	for dir := at.dir; ; dir = path.Dir(dir) {
		if dir == "/" {
			dir = ""
		}
		if value, ok := figure(dir, at.limit).Get(); ok && value < limit.Or(unlimited) {
			limit = snapshot.Known(value)
		}
		if dir == "" || dir == "." {
			return used, limit, errors.Join(errs...)
		}
	}
}

// controller is where the memory figures of one control group are.
type controller struct {
	point, dir   string // mount point and the group below it; dir is "" or begins with /
	usage, limit string // names of the files
}

// memoryController finds the group in the mounted hierarchies: version 1's
// memory controller where there is one, else version 2.
func memoryController(groups []cgroup, mounts []mount) (controller, bool) {
	for _, g := range groups {
		v1 := false
		for name := range strings.SplitSeq(g.controllers, ",") {
			v1 = v1 || name == "memory"
		}
		if !v1 {
			continue
		}
		for _, m := range mounts {
			if m.fsType != "cgroup" || !m.hasOption("memory") {
				continue
			}
			if dir, ok := below(g.path, m.root); ok {
				return controller{m.point, dir, "memory.usage_in_bytes", "memory.limit_in_bytes"}, true
			}
		}
	}
	for _, g := range groups {
		if g.controllers != "" {
			continue
		}
		for _, m := range mounts {
			if m.fsType != "cgroup2" {
				continue
			}
			if dir, ok := below(g.path, m.root); ok {
				return controller{m.point, dir, "memory.current", "memory.max"}, true
			}
		}
	}
	return controller{}, false
}

// below returns the part of a group's path under the mounted root. A path with
// ".." leads out of the reader's namespace of control groups: not visible.
func below(group, root string) (string, bool) {
	for segment := range strings.SplitSeq(group, "/") {
		if segment == ".." {
			return "", false
		}
	}
	group, root = path.Clean(group), path.Clean(root)
	if group == root {
		return "", true
	}
	if root == "/" {
		return group, true
	}
	rest, ok := strings.CutPrefix(group, root)
	return rest, ok && strings.HasPrefix(rest, "/")
}

// cgroupFigure reads a file with one number of bytes. A file that is not there
// (the root group has none) and the word "max" are unknown.
func (f FS) cgroupFigure(name string) (snapshot.Optional[int64], error) {
	var none snapshot.Optional[int64]
	content, err := readFile(f.host+name, maxSmallFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return none, nil
	case err != nil:
		return none, &Error{File: "cgroup " + path.Base(name), Kind: classify(err), Err: bare(err)}
	}
	text := string(bytes.TrimSpace(content))
	if text == "max" {
		return none, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return none, &Error{File: "cgroup " + path.Base(name), Err: syntaxError(1, "bytes, or max", content)}
	}
	if n >= unlimited {
		return none, nil
	}
	return snapshot.Known(int64(n)), nil
}
