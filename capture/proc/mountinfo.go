package proc

import (
	"bytes"
	"strings"
)

// mount is one line of /proc/PID/mountinfo.
type mount struct {
	root       string // the part of the file system that is mounted
	point      string // where
	fsType     string
	superBlock []byte // its options, comma separated
}

// hasOption reports whether the super block has an option, e.g. "memory" for
// the memory controller of version 1 control groups.
func (m mount) hasOption(want string) bool {
	for option := range bytes.SplitSeq(m.superBlock, []byte(",")) {
		if string(option) == want {
			return true
		}
	}
	return false
}

// parseMountinfo reads "id parent dev root point options [tags…] - type source
// superoptions", see proc_pid_mountinfo(5).
func parseMountinfo(content []byte) ([]mount, error) {
	var all []mount
	line := 0
	for row := range bytes.Lines(content) {
		line++
		before, after, ok := bytes.Cut(row, []byte(" - "))
		left, right := bytes.Fields(before), bytes.Fields(after)
		if !ok || len(left) < 6 || len(right) < 1 {
			return all, syntaxError(line, "a mount", row)
		}
		m := mount{root: unescape(left[3]), point: unescape(left[4]), fsType: string(right[0])}
		if len(right) > 1 {
			m.superBlock = right[len(right)-1] // the source before it can be empty
		}
		all = append(all, m)
	}
	return all, nil
}

// unescape undoes the kernel's octal escapes of space, tab, newline and
// backslash.
func unescape(field []byte) string {
	if bytes.IndexByte(field, '\\') < 0 {
		return string(field)
	}
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) && octal(field[i+1]) && octal(field[i+2]) && octal(field[i+3]) {
			b.WriteByte((field[i+1]-'0')<<6 | (field[i+2]-'0')<<3 | (field[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(field[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
