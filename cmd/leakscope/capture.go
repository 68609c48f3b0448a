package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/term"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// captureFlags are those of capture and its parts.
type captureFlags struct {
	pid      int
	file     string
	force    bool
	count    int
	interval time.Duration
	heap     bool
	live     bool
	dump     string
	dumpDir  string
	memory   string
	unmasked bool
	attach   bool
	budget   time.Duration
	nice     int
	freeze   bool
	maxPause time.Duration
}

func (a *app) captureCommand() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use:   "capture PID",
		Short: "take a snapshot of a running process",
		Long: `capture reads a running process into a snapshot file: its identity and memory,
its connections as the kernel sees them, and, where it is a JVM, which off-heap
memory is held by which connection. It reads the JVM's memory from outside:
nothing runs in the target for it, and nothing stops.

Where a heap never holds still, --freeze stops all threads of the target while
it is copied, --max-pause at the most. Where it can't be read from outside (ZGC),
--heap streams a heap dump and keeps the same of it, reduced while it is read.
Both pause the target for about as long as is printed before.
Nothing of the dump stays on disk.

The path of each snapshot is printed on stdout, everything else on stderr.`,
		Example: `  leakscope capture 4242
  leakscope capture --count 4 --interval 1m 4242
  leakscope capture --freeze --max-pause 200ms 4242
  leakscope capture --heap 4242
  leakscope capture --heap-dump dump.hprof.gz -o dump.lscope
  leakscope capture connections 4242 -o - > connections.lscope`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.capture(cmd.Context(), f, nil, args) },
	}
	f.register(cmd)
	f.registerReading(cmd)
	cmd.Flags().IntVar(&f.nice, "nice", defaultNice, "lower leakscope's own priority while the target runs: 0 (not at all) to 19")
	cmd.Flags().StringVar(&f.dump, "heap-dump", "", "read the heap from an existing HPROF `FILE`, which may be gzipped")
	cmd.AddCommand(
		a.capturePart(capture.PartHeap, "stream a heap dump: pauses the target"),
		a.capturePart(capture.PartMmap, "take the memory split and mappings alone"),
		a.capturePart(capture.PartConnections, "take the connection table alone"),
	)
	return cmd
}

func (a *app) capturePart(part capture.Part, short string) *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use: string(part) + " PID", Short: short, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.capture(cmd.Context(), f, []capture.Part{part}, args)
		},
	}
	f.register(cmd)
	if part == capture.PartHeap {
		f.registerHeap(cmd)
	}
	return cmd
}

func (f *captureFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVarP(&f.pid, "pid", "p", 0, "the process, instead of an argument")
	cmd.Flags().StringVarP(&f.file, "output", "o", "", "write the snapshot to `FILE`; - is stdout (default NAME-PID-TIME.lscope)")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace an existing file")
	cmd.Flags().IntVarP(&f.count, "count", "n", 1, "take so many snapshots")
	cmd.Flags().DurationVarP(&f.interval, "interval", "i", 30*time.Second, "time from the start of one snapshot to the next")
	cmd.Flags().BoolVar(&f.unmasked, "show-command-line", false, "keep the command line as it is: it may hold secrets")
}

// registerReading adds the flags that say how a running JVM is read.
func (f *captureFlags) registerReading(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.heap, "heap", false, "take a heap dump instead of reading from outside: pauses the target")
	cmd.Flags().BoolVar(&f.attach, "attach", false, "ask the JVM too, for its system properties and native memory: sends it SIGQUIT once, which has it listen")
	cmd.Flags().DurationVar(&f.budget, "budget", 10*time.Second, "longest time for reading the heap from outside, tries included")
	cmd.Flags().BoolVar(&f.freeze, "freeze", false, "stop all threads of the target while its heap is copied from outside: pauses the target")
	cmd.Flags().DurationVar(&f.maxPause, "max-pause", 0, "let the target go on after so long, with --freeze, copied or not (default 500ms)")
	f.registerHeap(cmd)
}

func (f *captureFlags) registerHeap(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.live, "live", false, "have the JVM collect garbage first: that changes the evidence")
	cmd.Flags().StringVar(&f.dumpDir, "heap-dump-dir", "", "`DIR` of the target, as the target sees it, for the dump to pass through (default: any that is writable)")
	cmd.Flags().StringVar(&f.memory, "max-memory", "", "bound leakscope's own memory, e.g. 512MiB: slower where it is too little")
}

// options checks the flags and turns them into those of a capture.
func (f *captureFlags) options(parts []capture.Part, args []string) (capture.Options, error) {
	o := capture.Options{
		PID: f.pid, Parts: parts, HeapDumpFile: f.dump, KeepCommandLine: f.unmasked, Version: version,
	}
	if len(args) == 1 {
		pid, err := strconv.Atoi(args[0])
		switch {
		case err != nil || pid <= 0:
			return o, usageError("pgrep -a java lists JVMs", "%q is no process id", args[0])
		case f.pid != 0 && f.pid != pid:
			return o, usageError("give one of them", "two process ids: %d and --pid %d", pid, f.pid)
		}
		o.PID = pid
	}
	switch {
	case o.PID < 0:
		return o, usageError("pgrep -a java lists JVMs", "--pid %d is no process id", o.PID)
	case o.PID == 0 && f.dump == "":
		return o, usageError("leakscope capture PID; pgrep -a java lists JVMs", "which process?")
	case f.dump != "" && f.heap:
		return o, usageError("--heap dumps the running process, --heap-dump reads a file", "--heap and --heap-dump exclude each other")
	case f.nice < 0 || f.nice > maxNice:
		return o, usageError("--nice 10", "--nice %d: want 0 to %d", f.nice, maxNice)
	case f.freeze && o.PID == 0:
		return o, usageError("give a PID", "--freeze is about a running process")
	case f.count < 1:
		return o, usageError("--count 4 --interval 1m", "--count %d: want at least 1", f.count)
	case f.count > 1 && o.PID == 0:
		return o, usageError("give a PID", "a heap dump file can only be read once, not --count %d times", f.count)
	case f.count > 1 && f.file == "-":
		return o, usageError("give -o a file name; each snapshot gets a number", "%d snapshots cannot go to one stdout", f.count)
	case f.count > 1 && f.interval <= 0:
		return o, usageError("--interval 30s", "--interval %s: want more than nothing", f.interval)
	}
	return o, f.heapOptions(&o)
}

// defaultMaxPause is a limit that a user of the target may notice once.
const defaultMaxPause = 500 * time.Millisecond

// heapOptions adds what the flags say of the heap.
func (f *captureFlags) heapOptions(o *capture.Options) error {
	if f.live && !f.heap && !slices.Contains(o.Parts, capture.PartHeap) {
		return usageError("add --heap", "--live is about a heap dump")
	}
	if f.budget < 0 || len(o.Parts) == 0 && f.budget == 0 {
		return usageError("--budget 10s", "--budget %s: want more than nothing", f.budget)
	}
	o.Heap.Live, o.Heap.Directory = f.live, f.dumpDir
	o.Attach, o.Budget = f.attach, f.budget
	switch {
	case f.freeze && f.heap:
		return usageError("--freeze reads the heap from outside, --heap dumps it", "--freeze and --heap exclude each other")
	case f.maxPause != 0 && !f.freeze:
		return usageError("add --freeze", "--max-pause is about a stop of the target")
	case f.freeze && f.maxPause == 0:
		o.MaxPause = defaultMaxPause
	case f.freeze && f.maxPause < 0:
		return usageError("--max-pause 500ms", "--max-pause %s: want more than nothing", f.maxPause)
	case f.freeze:
		o.MaxPause = f.maxPause
	}
	if f.heap {
		o.Parts = []capture.Part{capture.PartMmap, capture.PartConnections, capture.PartJVM, capture.PartHeap}
	}
	if f.memory != "" {
		limit, err := units.ParseBytes(f.memory)
		if err != nil {
			return usageError("e.g. --max-memory 512MiB", "--max-memory: %w", err)
		}
		o.Heap.MaxMemoryBytes = limit
	}
	return nil
}

// capture takes the snapshots and writes each as soon as it is there.
func (a *app) capture(ctx context.Context, f captureFlags, parts []capture.Part, args []string) error {
	o, err := f.options(parts, args)
	if err != nil {
		return err
	}
	if f.file == "-" && term.IsTerminal(a.stdout) {
		return usageError("leakscope capture PID -o FILE, or redirect stdout", "a snapshot is binary and stdout is a terminal")
	}
	if err := f.checkFiles(); err != nil {
		return err
	}
	if ownProcess && f.nice > 0 && !f.freeze && !o.PausesForReader() {
		if err := lowerPriority(f.nice); err != nil {
			a.warn("%v", err)
		}
	}
	var files []string
	var problem error
	started := time.Now()
	for i := range f.count {
		if i > 0 && !sleepUntil(ctx, started.Add(time.Duration(i)*f.interval)) {
			break
		}
		bar := a.progress()
		o.Announce, o.Progress = a.announce, bar.report
		s, err := capture.Run(ctx, o)
		bar.finish()
		if err != nil {
			problem = captureError(err, i)
			break
		}
		file, err := a.keep(s, f, i)
		if err != nil {
			return err
		}
		files = append(files, file)
		a.describe(s)
		problem = errors.Join(problem, missing(s, o))
	}
	if f.file != "-" && len(files) > 0 {
		a.suggest(files, o)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return problem
}

func captureError(err error, taken int) error {
	if errors.Is(err, capture.ErrNoTarget) {
		hint := "pgrep -a java lists JVMs"
		if taken > 0 {
			hint = "the snapshots taken before are kept"
		}
		return &failure{code: exitError, err: fmt.Errorf("capture: %w", err), hint: hint}
	}
	return fmt.Errorf("capture: %w", err)
}

// sleepUntil waits, and reports false when ctx ended first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// fileName is where snapshot i goes.
func (f *captureFlags) fileName(s *snapshot.Snapshot, i int) string {
	if f.file == "" {
		return defaultName(s)
	}
	if f.count == 1 {
		return f.file
	}
	ext := filepath.Ext(f.file)
	return fmt.Sprintf("%s-%0*d%s", strings.TrimSuffix(f.file, ext), len(strconv.Itoa(f.count)), i+1, ext)
}

// checkFiles refuses names that are taken before the target is touched.
func (f *captureFlags) checkFiles() error {
	if f.file == "" || f.file == "-" {
		return nil
	}
	for i := range f.count {
		name := f.fileName(nil, i)
		if _, err := os.Lstat(name); err == nil && !f.force {
			return &snapshot.ExistsError{Path: name}
		}
		if _, err := os.Stat(filepath.Dir(name)); err != nil {
			return &failure{code: exitUsage, err: err, hint: "make the directory first"}
		}
	}
	return nil
}

var unsafeInNames = regexp.MustCompile(`[^A-Za-z0-9._]+`)

// defaultName is made of process, pid and time.
func defaultName(s *snapshot.Snapshot) string {
	t := s.Manifest.Target
	name := strings.Trim(unsafeInNames.ReplaceAllString(t.Name, "-"), "-.")
	when := s.Manifest.Clock.Started.UTC().Format("20060102T150405Z")
	if t.PID == 0 {
		return fmt.Sprintf("%s-%s.lscope", cmp.Or(name, "heap"), when)
	}
	return fmt.Sprintf("%s-%d-%s.lscope", cmp.Or(name, "process"), t.PID, when)
}

// keep writes a snapshot and prints its path.
func (a *app) keep(s *snapshot.Snapshot, f captureFlags, i int) (string, error) {
	if f.file == "-" {
		return "-", snapshot.Write(a.stdout, s)
	}
	file := f.fileName(s, i)
	if err := snapshot.WriteFile(file, s, f.force); err != nil {
		return "", err
	}
	_, err := fmt.Fprintln(a.stdout, file)
	return file, err
}

// describe says in a line what was captured, and in one each what was not.
func (a *app) describe(s *snapshot.Snapshot) {
	t := s.Manifest.Target
	var parts []string
	if s.Memory != nil {
		if rss, ok := s.Memory.RSSBytes.Get(); ok {
			parts = append(parts, "rss "+units.Bytes(rss))
		}
	}
	if s.Sockets != nil {
		parts = append(parts, fmt.Sprintf("%d sockets", len(s.Sockets)))
	}
	if s.Heap != nil {
		parts = append(parts, fmt.Sprintf("%d allocations on %d heap connections", len(s.Heap.Allocations), len(s.Heap.Connections)))
	}
	who := t.Name
	if t.PID != 0 {
		who = fmt.Sprintf("%s, pid %d", t.Name, t.PID)
	}
	a.note("captured %s: %s", who, strings.Join(parts, ", "))
	for _, source := range s.Manifest.Sources {
		if source.Status == snapshot.StatusOK {
			if pause, ok := source.PauseSeconds.Get(); ok && pause > 0 {
				a.note("%s paused the target for %s", source.Name, units.Seconds(pause))
			}
			continue
		}
		if source.Status == snapshot.StatusAbsent && source.Name != snapshot.SourceHeapDump {
			continue // not there to be read, e.g. native memory tracking that is off: inspect shows it
		}
		a.warn("%s: %s: %s", source.Name, source.Status, source.Reason)
		if source.Hint != "" {
			_, _ = fmt.Fprintf(a.stderr, "leakscope: hint: %s\n", source.Hint)
		}
	}
}

// missing is the error of a capture that could not do what it was asked for by
// name; the snapshot with the rest is kept.
func missing(s *snapshot.Snapshot, o capture.Options) error {
	name := snapshot.SourceHeapDump
	if o.MaxPause > 0 {
		name = snapshot.SourceVMStructs
	} else if !slices.Contains(o.Parts, capture.PartHeap) {
		return nil
	}
	if s.Heap != nil {
		return nil
	}
	for _, source := range s.Manifest.Sources {
		if source.Name == name {
			return &failure{code: exitError, err: fmt.Errorf("no heap evidence: %s", source.Reason), hint: source.Hint}
		}
	}
	return nil
}

// suggest prints the next command to type.
func (a *app) suggest(files []string, o capture.Options) {
	if len(files) > 1 {
		a.note("next: leakscope diff %s", strings.Join(files, " "))
		return
	}
	file := files[0]
	if earlier := earlierSnapshot(file, o.PID); earlier != "" {
		a.note("next: leakscope diff %s %s", earlier, file)
		return
	}
	if o.PID == 0 {
		a.note("next: leakscope report %s", file)
		return
	}
	heap := ""
	if slices.Contains(o.Parts, capture.PartHeap) {
		heap = "--heap "
	}
	a.note("next: wait a minute, then: leakscope capture %s%d -o second.lscope && leakscope diff %s second.lscope", heap, o.PID, file)
}

// earlierSnapshot finds the oldest snapshot of the same process beside file,
// by the default names.
func earlierSnapshot(file string, pid int) string {
	if pid == 0 {
		return ""
	}
	base := filepath.Base(file)
	cut := strings.LastIndex(base, fmt.Sprintf("-%d-", pid))
	if cut < 0 {
		return ""
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(file), base[:cut]+fmt.Sprintf("-%d-*.lscope", pid)))
	if err != nil || len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	if names[0] == file || filepath.Base(names[0]) == base {
		return ""
	}
	return names[0]
}

// announce says what a pause will cost, before it is caused.
func (a *app) announce(e capture.Estimate) {
	if e.MaxPause > 0 {
		a.note("stop of all threads while a heap of %s is copied: the target will pause for about %s, at most %s", units.Bytes(e.HeapBytes), units.Seconds(e.PauseSeconds), units.Seconds(e.MaxPause.Seconds()))
		return
	}
	a.note("heap dump by %s of a heap with %s in use: the target will pause for about %s", e.Method, units.Bytes(e.HeapBytes), units.Seconds(e.PauseSeconds))
}
