package hotspot

import (
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// AttachProblem says what stands in the way of asking the JVM, without asking
// it: nil where it listens, [ErrNoListener] where it takes a signal to have it
// listen, or why that signal would not be sent. It sends nothing.
func (j *JVM) AttachProblem() error {
	p := j.process
	if err := p.readStatus(); err != nil {
		return err
	}
	if p.stopped {
		return ErrStopped
	}
	listens, err := p.hasSocket()
	if err != nil || listens {
		return err
	}
	if err := p.maySignal(); err != nil {
		return err
	}
	perf, err := readPerfData(p)
	if err == nil && perf.attachDisabled() || err != nil && p.attachOption() {
		return ErrDisabled
	}
	return ErrNoListener
}

// hasSocket reports whether the attach socket is there and the target's.
func (p *process) hasSocket() (bool, error) {
	tmp, err := p.directory("/tmp")
	if err != nil {
		return false, err
	}
	defer tmp.close()
	var stat unix.Stat_t
	err = unix.Fstatat(tmp.fd(), ".java_pid"+strconv.Itoa(p.nspid), &stat, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && stat.Mode&unix.S_IFMT == unix.S_IFSOCK && int(stat.Uid) == p.uid, nil
}

// PerfDataProblem is nil where the JVM publishes its counters in a file.
func (j *JVM) PerfDataProblem() error {
	_, err := readPerfData(j.process)
	return err
}

// DumpDirectory returns the directory, as the target knows it, that a heap dump
// would pass through, "" for its working directory; or why none can take it. It
// makes nothing there.
func (j *JVM) DumpDirectory(o DumpOptions) (string, error) {
	at, err := j.dumpPlace(o, method(o.Feature))
	if err != nil {
		return "", err
	}
	at.directory.close()
	return path.Dir(at.target), nil
}

// EstimateDump is what a heap dump would cost a JDK of that feature version.
func EstimateDump(feature int, usedBytes int64) Estimate {
	m := method(feature)
	return Estimate{Method: m, PauseSeconds: fixedPause + pauseRates[m]*float64(usedBytes)/(1<<30)}
}

// DumpRoom is the free space that a heap dump wants in the target's directory.
func DumpRoom(feature int, usedBytes int64) int64 {
	if method(feature) == MethodFIFO {
		return 0
	}
	return roomFor(usedBytes)
}
