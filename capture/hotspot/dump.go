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
	"strings"
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

// pauseRates are seconds of pause for each GiB in use, by method; fixedPause is
// added. Measured with 1 GiB of small objects (a dump of 1.26 GiB) on two cores
// with other work on them, so that most targets pause for less: 2.2 to 2.4 s for
// a file on JDK 17, 1.4 s for FIFOs on 25. An idle machine takes 1.7 and 0.55 to
// 1.0 s. A file read when it is complete depends on the disk: 4.5 to 6.8 s.
var pauseRates = map[string]float64{MethodFile: 2.3, MethodWhole: 6, MethodFIFO: 1.4}

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
// watchdog process cleans up. When ctx ends or consume fails, the dump is
// abandoned: over a FIFO the JVM gives up; a file it writes to the end,
// unlinked, while the watchdog gives its blocks back. Then DumpHeap waits for
// the JVM a moment at most.
//
// An error of the JVM is a [CommandError], which unwraps to the system's error
// where it names one; a lack of room is a [SpaceError].
func (j *JVM) DumpHeap(ctx context.Context, o DumpOptions, consume func(context.Context, DumpStream) error) (DumpReport, error) {
	r := DumpReport{Method: method(o.Feature), Estimate: EstimateDump(o.Feature, o.UsedBytes)}
	// Before anything is made: whether it answers, and to whom.
	if _, err := j.jcmd(ctx, "VM.version"); err != nil {
		return r, err
	}
	place, err := j.dumpPlace(o, r.Method)
	if err != nil {
		return r, err
	}
	defer place.directory.close()
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

// place is a path that does not exist yet: a name in a directory, and how the
// target calls it.
type place struct {
	directory *directory
	name      string
	target    string
}

// candidate is a directory a dump may pass through.
type candidate struct {
	open func() (*directory, error)
	path string // as the target knows it; "" is its working directory
}

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

// roomFor is the free space wanted for a dump that passes through a file: in a
// dump references have 8 bytes and every object a record header, so it can
// exceed the heap. The holes behind the reader make it far less in fact, but
// they need a file system that can, and a reader that keeps up.
func roomFor(usedBytes int64) int64 { return usedBytes + usedBytes/2 + spaceMargin }

// dumpPlace finds a directory that the target can write to, with room for the
// whole dump where it passes through a file. It is not in memory (tmpfs) where
// the whole dump would lie there, unless it was asked for.
func (j *JVM) dumpPlace(o DumpOptions, method string) (place, error) {
	candidates := []candidate{{open: j.process.workingDirectory}}
	for _, path := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		candidates = append(candidates, candidate{func() (*directory, error) { return j.process.directory(path) }, path})
	}
	if o.Directory != "" {
		if !path.IsAbs(o.Directory) || strings.ContainsAny(o.Directory, "\"\x00\n") {
			return place{}, fmt.Errorf("heap dump directory %q: want an absolute path in the target, without quotes", o.Directory)
		}
		candidates = []candidate{{func() (*directory, error) { return j.process.directory(o.Directory) }, o.Directory}}
	}
	var problems error
	for _, c := range candidates {
		dir, err := c.open()
		if err == nil {
			if err = j.takesDump(dir, c, o, method); err == nil {
				name := ".leakscope-" + strconv.Itoa(j.process.nspid) + "-" + randomName() + ".hprof"
				return place{directory: dir, name: name, target: path.Join(c.path, name)}, nil
			}
			dir.close()
		}
		problems = errors.Join(problems, err)
	}
	return place{}, problems
}

// takesDump checks a directory's free space, kind and permission.
func (j *JVM) takesDump(dir *directory, c candidate, o DumpOptions, method string) error {
	name := c.path
	if name == "" {
		name = "."
	}
	if method != MethodFIFO {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(dir.fd(), &fs); err != nil {
			return fmt.Errorf("directory %q of the target: %w", name, err)
		}
		if method == MethodWhole && o.Directory == "" && fs.Type == unix.TMPFS_MAGIC {
			return fmt.Errorf("directory %q of the target: in memory", name)
		}
		if free, need := int64(fs.Bavail)*fs.Bsize, roomFor(o.UsedBytes); free < need {
			return &SpaceError{Directory: name, FreeBytes: free, NeedBytes: need}
		}
	}
	if err := j.writable(dir); err != nil {
		return fmt.Errorf("directory %q of the target: %w", name, classify(err))
	}
	return nil
}

func randomName() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// writable asks the kernel as the target's user.
func (j *JVM) writable(dir *directory) error {
	var err error
	check := func() { err = unix.Faccessat(dir.fd(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) }
	if os.Geteuid() == j.process.uid {
		check()
		return err
	}
	if asErr := asUser(j.process.uid, j.process.gid, check); asErr != nil {
		return asErr
	}
	return err
}

// dumpRequest is the command: through jcmd where an existing FIFO must be
// taken, as dumpheap, which every JDK knows, otherwise.
func dumpRequest(target string, o DumpOptions, overwrite bool) ([]byte, error) {
	switch {
	case overwrite && o.Live:
		return encodeRequest("jcmd", []string{`GC.heap_dump -overwrite "` + target + `"`})
	case overwrite:
		return encodeRequest("jcmd", []string{`GC.heap_dump -all -overwrite "` + target + `"`})
	case o.Live:
		return encodeRequest("dumpheap", []string{target, "-live"})
	}
	return encodeRequest("dumpheap", []string{target, "-all"})
}

// startDump starts the dump under the eyes of a watchdog, which learns of its
// end by a copy of the connection, and delivers the JVM's answer.
func (j *JVM) startDump(ctx context.Context, at place, o DumpOptions, overwrite bool, names ...string) (*watchdog, <-chan error, error) {
	request, err := dumpRequest(at.target, o, overwrite)
	if err != nil {
		return nil, nil, err
	}
	conn, err := j.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	guard, err := startWatchdog(at.directory, conn, names...)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	answer := make(chan error, 1)
	go func() {
		defer func() { _ = conn.Close() }()
		text, err := j.converse(ctx, conn, request)
		if err == nil {
			err = dumped(text)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrStopped) && j.process.endsWithin(endingWait) {
			err = fmt.Errorf("%w: while it wrote the dump", ErrGone)
		}
		answer <- err
	}()
	return guard, answer, nil
}

// dumped is nil when the JVM says that the dump is there: the status is 0 also
// when it is not, and the reason is the last line ("Dumping heap to x ...",
// "Unable to create x: File exists" or "Dump file is incomplete: No space left
// on device").
func dumped(text string) error {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "Heap dump file created") {
		return nil
	}
	return &CommandError{Text: firstLine(text[strings.LastIndex(text, "\n")+1:])}
}
