package proc

import (
	"bytes"
	"math"
	"strconv"

	"github.com/leakscope/leakscope/snapshot"
)

// status is what is kept of /proc/PID/status. Lines that an older kernel does
// not write stay unknown.
type status struct {
	namespacePID snapshot.Optional[int] // innermost value of NSpid (kernel 4.1)
	uid, gid     snapshot.Optional[int] // effective
	threads      snapshot.Optional[int64]

	rss, rssAnon, rssFile, rssShmem snapshot.Optional[int64]
	peak, virtual, swap, pageTables snapshot.Optional[int64]
}

func (f FS) status(pid int) (status, error) {
	content, err := f.read(pid, "status", maxSmallFile)
	if err != nil {
		return status{}, err
	}
	s, err := parseStatus(content)
	if err != nil {
		return s, &Error{PID: pid, File: shown(pid, "status"), Err: err}
	}
	return s, nil
}

// parseStatus reads "Key:\tvalue" lines, see proc_pid_status(5). Unknown keys
// are skipped; a known key with a value of another form is an error.
func parseStatus(content []byte) (status, error) {
	var s status
	line := 0
	for row := range bytes.Lines(content) {
		line++
		key, value, ok := bytes.Cut(row, []byte(":"))
		if !ok {
			return s, syntaxError(line, "key: value", row)
		}
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "VmRSS":
			s.rss, ok = kilobytes(value)
		case "RssAnon":
			s.rssAnon, ok = kilobytes(value)
		case "RssFile":
			s.rssFile, ok = kilobytes(value)
		case "RssShmem":
			s.rssShmem, ok = kilobytes(value)
		case "VmHWM":
			s.peak, ok = kilobytes(value)
		case "VmSize":
			s.virtual, ok = kilobytes(value)
		case "VmSwap":
			s.swap, ok = kilobytes(value)
		case "VmPTE":
			s.pageTables, ok = kilobytes(value)
		case "Threads":
			var n int
			if n, ok = number(value); ok {
				s.threads = snapshot.Known(int64(n))
			}
		case "Uid":
			s.uid, ok = field(value, 1)
		case "Gid":
			s.gid, ok = field(value, 1)
		case "NSpid":
			s.namespacePID, ok = field(value, -1)
		}
		if !ok {
			return s, syntaxError(line, "a value of "+string(key), value)
		}
	}
	return s, nil
}

// kilobytes parses "12 kB" into bytes.
func kilobytes(value []byte) (snapshot.Optional[int64], bool) {
	digits, ok := bytes.CutSuffix(value, []byte(" kB"))
	if !ok {
		return snapshot.Optional[int64]{}, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/1024 {
		return snapshot.Optional[int64]{}, false
	}
	return snapshot.Known(n * 1024), true
}

// field parses one of the numbers on a line; -1 is the last.
func field(value []byte, i int) (snapshot.Optional[int], bool) {
	all := bytes.Fields(value)
	if i < 0 {
		i += len(all)
	}
	if i < 0 || i >= len(all) {
		return snapshot.Optional[int]{}, false
	}
	n, ok := number(all[i])
	if !ok {
		return snapshot.Optional[int]{}, false
	}
	return snapshot.Known(n), true
}

func number(digits []byte) (int, bool) {
	n, err := strconv.ParseUint(string(digits), 10, 32)
	return int(n), err == nil
}
