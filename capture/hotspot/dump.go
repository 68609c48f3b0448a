package hotspot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// DumpOptions are those of a heap dump.
type DumpOptions struct {
	Live      bool   // collect first; the default dumps garbage too
	Directory string // as the target sees it; "": any that is writable
	Feature   int    // the JDK's feature version
	UsedBytes int64  // of the heap, for the estimate and the check of free space
	// Announce is told of the estimate before the target is paused; may be nil.
	Announce func(Estimate)
}

// Estimate is what a dump will cost.
type Estimate struct {
	Method       string
	PauseSeconds float64
}

// DumpStream is a heap dump while the JVM writes it. All readers must be read
// at once: the JVM writes them in turn and waits for the slowest.
type DumpStream struct {
	Main     io.Reader   // an HPROF file
	Segments []io.Reader // further streams of top-level records, without a file header
}

// DumpReport says what a dump cost.
type DumpReport struct {
	Method      string
	Estimate    Estimate
	Pause       snapshot.Optional[float64] // seconds
	PauseSource string
	Seconds     float64 // from the command to its reply
}

// The methods of streaming a dump.
const (
	MethodFile     = "file read while it is written"
	MethodWhole    = "file read when it is complete"
	MethodFIFO     = "fifo"
	firstStreaming = 17 // before, HotSpot seeks back while it writes
	firstFIFO      = 22 // since, object segments go to a file of their own
)

// pauseRates are the measured seconds of pause for each GiB in use, by method;
// fixedPause is added.
var pauseRates = map[string]float64{MethodFile: 1.7, MethodWhole: 6, MethodFIFO: 1.0}

const fixedPause = 0.05

// method picks the default for a JDK.
func method(feature int) string {
	switch {
	case feature >= firstFIFO:
		return MethodFIFO
	case feature >= firstStreaming:
		return MethodFile
	}
	return MethodWhole
}

// DumpHeap has the JVM write a heap dump and gives it to consume while it is
// written. Nothing of it stays on disk, also when leakscope is killed: a
// watchdog process cleans up. When ctx ends, the dump is abandoned: over a
// FIFO the JVM gives up at once; a file it writes to the end, unlinked, while
// the watchdog gives its blocks back.
func (j *JVM) DumpHeap(ctx context.Context, o DumpOptions, consume func(context.Context, DumpStream) error) (DumpReport, error) {
	r := DumpReport{Method: method(o.Feature)}
	r.Estimate = Estimate{Method: r.Method, PauseSeconds: fixedPause + pauseRates[r.Method]*float64(o.UsedBytes)/(1<<30)}
	place, err := j.dumpPlace(o, r.Method)
	if err != nil {
		return r, err
	}
	if o.Announce != nil {
		o.Announce(r.Estimate)
	}
	before, beforeErr := j.pausedSoFar()
	started := time.Now()
	switch r.Method {
	case MethodFIFO:
		err = j.dumpThroughFIFO(ctx, place, o, consume)
	default:
		err = j.dumpThroughFile(ctx, place, o, r.Method == MethodWhole, consume)
	}
	r.Seconds = time.Since(started).Seconds()
	if after, afterErr := j.pausedSoFar(); beforeErr == nil && afterErr == nil && after > before {
		r.Pause, r.PauseSource = snapshot.Known(after-before), "safepoint time in hsperfdata"
	} else if err == nil {
		r.Pause, r.PauseSource = snapshot.Known(r.Seconds), "time from command to reply: an upper bound"
	}
	if err != nil {
		return r, fmt.Errorf("heap dump by %s: %w", r.Method, err)
	}
	return r, nil
}

func (j *JVM) pausedSoFar() (float64, error) {
	perf, err := readPerfData(j.process)
	if err != nil {
		return 0, err
	}
	seconds, ok := perf.pausedSeconds()
	if !ok {
		return 0, ErrUnsupported
	}
	return seconds, nil
}

// place is a path that does not exist yet, as the target sees it and as we do.
type place struct{ target, here string }

// spaceMargin is the free space wanted beyond what a dump may need.
const spaceMargin = 64 << 20

// SpaceError says that no directory of the target can take a dump.
type SpaceError struct {
	Directory            string
	FreeBytes, NeedBytes int64
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("directory %q of the target has %d bytes free, a dump may need %d", e.Directory, e.FreeBytes, e.NeedBytes)
}

// dumpPlace finds a directory that the target can write to, with room for the
// whole dump where it passes through a file: the punching of holes behind the
// reader needs a file system that can, and a reader that keeps up.
func (j *JVM) dumpPlace(o DumpOptions, method string) (place, error) {
	directories := []string{"/tmp", "/var/tmp", "/dev/shm"}
	if cwd, err := os.Readlink(j.process.path("cwd")); err == nil && path.IsAbs(cwd) {
		directories = append([]string{cwd}, directories...)
	}
	if o.Directory != "" {
		directories = []string{o.Directory}
	}
	var problems error
	for _, dir := range directories {
		here := j.process.inRoot(dir)
		var fs unix.Statfs_t
		if err := unix.Statfs(here, &fs); err != nil {
			problems = errors.Join(problems, fmt.Errorf("directory %q of the target: %w", dir, err))
			continue
		}
		need := int64(spaceMargin)
		if method != MethodFIFO {
			need += o.UsedBytes
		}
		if free := int64(fs.Bavail) * fs.Bsize; method != MethodFIFO && free < need {
			problems = errors.Join(problems, &SpaceError{Directory: dir, FreeBytes: free, NeedBytes: need})
			continue
		}
		if err := j.writable(here); err != nil {
			problems = errors.Join(problems, fmt.Errorf("directory %q of the target: %w", dir, err))
			continue
		}
		name := ".leakscope-" + strconv.Itoa(j.process.nspid) + "-" + randomName() + ".hprof"
		return place{target: path.Join(dir, name), here: here + "/" + name}, nil
	}
	return place{}, problems
}

func randomName() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// writable asks the kernel as the target's user.
func (j *JVM) writable(dir string) error {
	var err error
	check := func() { err = unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) }
	if os.Geteuid() == j.process.uid {
		check()
		return err
	}
	if asErr := asUser(j.process.uid, j.process.gid, check); asErr != nil {
		return asErr
	}
	return err
}

// dumpCommand starts the dump and delivers the JVM's answer.
func (j *JVM) dumpCommand(ctx context.Context, target string, o DumpOptions, overwrite bool) <-chan error {
	line := "GC.heap_dump"
	if !o.Live {
		line += " -all"
	}
	if overwrite {
		line += " -overwrite"
	}
	done := make(chan error, 1)
	go func() {
		var err error
		if overwrite {
			_, err = j.send(ctx, "jcmd", line+" "+quote(target))
		} else {
			what := "-all"
			if o.Live {
				what = "-live"
			}
			_, err = j.send(ctx, "dumpheap", target, what)
		}
		done <- err
	}()
	return done
}

// quote protects a path in a jcmd line (DCmdArgIter takes both quotes).
func quote(path string) string { return `"` + path + `"` }
