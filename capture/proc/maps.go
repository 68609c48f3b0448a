package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/leakscope/leakscope/snapshot"
)

// maxMappings bounds the rows of one process; vm.max_map_count defaults to
// 65530 and is raised to a few hundred thousand by databases.
const maxMappings = 4 << 20

// Range says what lies in a part of the address space; the runtime knows it
// better than the kernel (for a JVM the heap's range in GC.heap_info).
type Range struct {
	Start, End uint64 // End is exclusive
	Kind       snapshot.MappingKind
}

// vma is one mapping as the kernel describes it.
type vma struct {
	start, end     uint64
	offset         uint64
	inode          uint64
	dev            uint64
	perms          [4]byte
	flagNoHugePage bool // VmFlags nh
	flagsKnown     bool
	measured       bool   // the three figures below were read
	rss, pss, swap uint64 // bytes
	name           string // base name; [heap] and the like
	origin         origin
	kind           snapshot.MappingKind
}

// origin is what a mapping's path says, before the base name is all that is
// kept of it.
type origin uint8

const (
	originAnonymous origin = iota
	originNamed            // [anon:…], still private memory
	originFile
	originShared // memfd, shmem, System V
	originHeap   // [heap]
	originStack  // [stack]
	originThread // [stack:TID] of kernels before 4.5, or a name that says so
	originKernel // [vdso], [vvar], [vsyscall]
)

// Mappings returns the address space of a process by kind, sorted by start
// (/proc/PID/smaps; needs ptrace-read permission). The kinds follow the rules
// in kinds.go; a mapping that lies mostly in a hint has the hint's kind.
//
// Where the kernel has no smaps, the rows come from maps, without figures, and
// the error is a [PartialError]. With an error that is no [PartialError] the
// result is nil.
//
// smaps makes the kernel walk the page tables, about 5 µs a mapping; the
// target can wait for it in mmap, munmap and mprotect, but runs on otherwise.
// It is not one instant: a mapping made during the reading may be missing.
func (f FS) Mappings(pid int, hints ...Range) ([]snapshot.Mapping, error) {
	var all []vma
	keep := func(v *vma) { all = append(all, *v) }
	var missing []error
	err := f.eachMapping(pid, "smaps", keep)
	if errors.Is(err, ErrUnsupported) && len(all) == 0 {
		missing = append(missing, err)
		err = f.eachMapping(pid, "maps", keep)
	}
	switch {
	case err != nil && len(all) == 0:
		return nil, err
	case err != nil:
		missing = append(missing, err)
	}
	classifyMappings(all, f.stackPointers(pid, len(all)), hints)
	out := make([]snapshot.Mapping, len(all))
	for i := range all {
		v := &all[i]
		m := &out[i]
		m.Start, m.End = snapshot.Address(v.start), snapshot.Address(v.end)
		m.Permissions, m.Kind, m.Name = permissions(v.perms), v.kind, v.name
		if v.measured {
			m.RSSBytes, m.PSSBytes, m.SwapBytes = known(v.rss), known(v.pss), known(v.swap)
		}
	}
	return out, partial(missing)
}

// permissions avoids an allocation for those that nearly all mappings have.
func permissions(p [4]byte) string {
	switch string(p[:]) {
	case "rw-p":
		return "rw-p"
	case "---p":
		return "---p"
	case "r--p":
		return "r--p"
	case "r-xp":
		return "r-xp"
	}
	return string(p[:])
}

func known(v uint64) snapshot.Optional[int64] {
	if v > math.MaxInt64 {
		return snapshot.Optional[int64]{}
	}
	return snapshot.Known(int64(v))
}

// eachMapping calls visit for each mapping in maps or smaps. The value is only
// valid during the call. What came before an error was visited.
func (f FS) eachMapping(pid int, name string, visit func(*vma)) error {
	r, err := f.open(pid, name)
	if err != nil {
		return err
	}
	defer r.close()
	if err := parseMappings(r, visit); err != nil {
		var bad *SyntaxError
		if errors.As(err, &bad) || errors.Is(err, errTooLarge) {
			return &Error{PID: pid, File: shown(pid, name), Err: err}
		}
		return f.fail(pid, name, err)
	}
	return nil
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	n, err := readFD(r.fd, p)
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// parseMappings reads maps or smaps: a mapping's line and, in smaps, its
// figures, see proc_pid_maps(5) and proc_pid_smaps(5). Unknown figures are
// skipped.
func parseMappings(r io.Reader, visit func(*vma)) error {
	lines := bufio.NewReaderSize(r, 64<<10) // a path is at most 4 KiB, escaped at most 16
	names := nameTable{}
	var v vma
	open := false
	line, count := 0, 0
	for {
		row, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return syntaxError(line+1, "a line of at most 64 KiB", row)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			if open {
				visit(&v)
			}
			return err
		}
		if len(row) > 0 {
			line++
			row = bytes.TrimSuffix(row, []byte("\n"))
			// Keys of smaps begin with a capital; addresses are lower-case.
			if row = bytes.TrimRight(row, " "); len(row) > 0 && row[0] >= 'A' && row[0] <= 'Z' {
				if !open {
					return syntaxError(line, "a mapping before its figures", row)
				}
				if !v.figure(row) {
					return syntaxError(line, "a figure in kB", row)
				}
			} else {
				if open {
					visit(&v)
				}
				if count++; count > maxMappings {
					return fmt.Errorf("%w: limit %d mappings", errTooLarge, maxMappings)
				}
				var ok bool
				if v, ok = parseMapping(row, names); !ok {
					return syntaxError(line, "start-end perms offset device inode [path]", row)
				}
				open = true
			}
		}
		if err != nil {
			if open {
				visit(&v)
			}
			return nil
		}
	}
}

// figure takes one "Key: 12 kB" line of smaps.
func (v *vma) figure(row []byte) bool {
	var to *uint64
	switch {
	case bytes.HasPrefix(row, []byte("Rss:")):
		to, row = &v.rss, row[len("Rss:"):]
		v.measured = true
	case bytes.HasPrefix(row, []byte("Pss:")):
		to, row = &v.pss, row[len("Pss:"):]
	case bytes.HasPrefix(row, []byte("Swap:")):
		to, row = &v.swap, row[len("Swap:"):]
	case bytes.HasPrefix(row, []byte("VmFlags:")):
		v.flagsKnown = true
		v.flagNoHugePage = bytes.Contains(row, []byte(" nh"))
		return true
	default:
		return bytes.IndexByte(row, ':') > 0
	}
	row, ok := bytes.CutSuffix(row, []byte(" kB"))
	n, rest, digits := decimal(bytes.TrimLeft(row, " "))
	if !ok || !digits || len(rest) != 0 || n > math.MaxInt64/1024 {
		return false
	}
	*to = n * 1024
	return true
}

// parseMapping reads "start-end perms offset major:minor inode   path".
func parseMapping(row []byte, names nameTable) (vma, bool) {
	var v vma
	var ok [7]bool
	v.start, row, ok[0] = hexadecimal(row)
	row, ok[1] = skip(row, '-')
	v.end, row, ok[2] = hexadecimal(row)
	row, ok[3] = skip(row, ' ')
	if ok != [7]bool{0: true, 1: true, 2: true, 3: true} || v.end <= v.start || len(row) < 5 || row[4] != ' ' {
		return v, false
	}
	copy(v.perms[:], row)
	for i, set := range [4]string{"r-", "w-", "x-", "ps"} {
		if v.perms[i] != set[0] && v.perms[i] != set[1] {
			return v, false
		}
	}
	row = row[5:]
	v.offset, row, ok[0] = hexadecimal(row)
	row, ok[1] = skip(row, ' ')
	var major, minor uint64
	major, row, ok[2] = hexadecimal(row)
	row, ok[3] = skip(row, ':')
	minor, row, ok[4] = hexadecimal(row)
	row, ok[5] = skip(row, ' ')
	v.dev = major<<32 | minor&math.MaxUint32
	v.inode, row, ok[6] = decimal(row)
	for _, is := range ok {
		if !is {
			return v, false
		}
	}
	if len(row) > 0 && row[0] != ' ' {
		return v, false
	}
	n := names.of(bytes.TrimLeft(row, " "), v.inode)
	v.name, v.origin = n.base, n.origin
	if v.origin == originAnonymous && v.inode != 0 {
		v.origin = originFile // a file whose path the kernel does not tell
	}
	return v, true
}

func skip(row []byte, c byte) ([]byte, bool) {
	if len(row) == 0 || row[0] != c {
		return row, false
	}
	return row[1:], true
}

func hexadecimal(row []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(row); i++ {
		c := row[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return n, row[i:], i > 0
		}
		if n > math.MaxUint64>>4 {
			return 0, row, false
		}
		n = n<<4 | uint64(c)
	}
	return n, row[i:], i > 0
}

func decimal(row []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(row) && row[i] >= '0' && row[i] <= '9'; i++ {
		c := uint64(row[i] - '0')
		if n > (math.MaxUint64-c)/10 {
			return 0, row, false
		}
		n = n*10 + c
	}
	return n, row[i:], i > 0
}

// nameTable keeps each distinct path's base name once.
type nameTable map[string]pathName

type pathName struct {
	base   string
	origin origin
}

func (t nameTable) of(path []byte, inode uint64) pathName {
	if len(path) == 0 {
		return pathName{}
	}
	if n, ok := t[string(path)]; ok {
		return n
	}
	n := describePath(path, inode)
	t[string(path)] = n
	return n
}

func describePath(path []byte, inode uint64) pathName {
	const longest = 128
	full := path
	path = bytes.TrimSuffix(path, []byte(" (deleted)"))
	n := pathName{base: printable(path)}
	has := func(prefix string) bool { return bytes.HasPrefix(path, []byte(prefix)) }
	switch {
	case has("[heap"):
		n.origin = originHeap
	case string(path) == "[stack]":
		n.origin = originStack
	case has("[stack:"), has("[anon:stack_and_tls:"), has("[anon: glibc: pthread stack"):
		n.origin = originThread
	case has("[anon:"):
		n.origin = originNamed
	case has("[anon_shmem:"):
		n.origin = originShared
	case has("[v"), has("[uprobes"):
		n.origin = originKernel
	case has("/memfd:"), has("/SYSV"), has("/dev/shm/"), string(full) == "/dev/zero (deleted)":
		n.origin = originShared
	case has("/"), has("anon_inode:"), inode != 0:
		n.origin = originFile
	default:
		n.origin = originKernel
	}
	if i := bytes.LastIndexByte(path, '/'); i >= 0 && path[0] == '/' {
		n.base = printable(path[i+1:])
	}
	if len(n.base) > longest {
		n.base = printable([]byte(n.base[:longest]))
	}
	return n
}
