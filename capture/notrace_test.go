package capture_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// footprint is what a capture from outside must leave as it is.
type footprint struct {
	pageTablesBytes, residentBytes int64
	threads                        string
	signals                        string // pending and caught
	safepoints                     int64
	files                          []string // in its working directory and /tmp
}

func footprintOf(t *testing.T, p *scenario.Process) footprint {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	var f footprint
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "VmPTE", "RssAnon":
			n, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			if key == "VmPTE" {
				f.pageTablesBytes = n << 10
			} else {
				f.residentBytes = n << 10
			}
		case "Threads":
			f.threads = value
		case "SigPnd", "ShdPnd", "SigCgt":
			f.signals += key + " " + value + " "
		}
	}
	out, err := exec.Command(filepath.Join(p.JDK.Home, "bin", "jcmd"), strconv.Itoa(p.PID), "PerfCounter.print").CombinedOutput()
	if err != nil {
		t.Fatalf("jcmd: %v: %s", err, out)
	}
	_, count, ok := strings.Cut(string(out), "sun.rt.safepoints=")
	count, _, _ = strings.Cut(count, "\n")
	if f.safepoints, err = strconv.ParseInt(strings.TrimSpace(count), 10, 64); !ok || err != nil {
		t.Fatalf("no sun.rt.safepoints: %v", err)
	}
	for _, pattern := range []string{"/proc/%d/cwd/.[al]*", "/proc/%d/root/tmp/.[al]*"} {
		names, err := filepath.Glob(fmt.Sprintf(pattern, p.PID))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if base := filepath.Base(name); strings.HasPrefix(base, ".attach_pid") || strings.HasPrefix(base, ".leakscope") {
				f.files = append(f.files, name)
			}
		}
	}
	return f
}

// TestNoTrace captures a program at rest from outside, again and again, and
// looks at what it does to it: nothing that its threads, its memory, its
// virtual machine or its files show. LEAKSCOPE_CAPTURES says how many to take.
func TestNoTrace(t *testing.T) {
	jdk := scenario.Required(t)
	p := scenario.Start(t, "session-open", jdk, scenario.Options{JVMArguments: []string{
		"-Xmx512m", "-XX:+UnlockDiagnosticVMOptions", "-XX:GuaranteedSafepointInterval=0", // none for its own sake
	}})
	p.Hiccups(t)
	var readings []float64
	read := func() {
		s := run(t, capture.Options{PID: p.PID})
		if s.Heap == nil {
			t.Fatalf("not read: %+v", sourceOf(t, s, snapshot.SourceVMStructs))
		}
		readings = append(readings, sourceOf(t, s, snapshot.SourceVMStructs).DurationSeconds)
	}
	read()
	footprintOf(t, p) // the program has answered once, and compiled what its meter runs
	time.Sleep(200 * time.Millisecond)
	before := footprintOf(t, p)

	const rounds = 4
	captures := many(t, 8)
	var idle, busy []scenario.Hiccups
	for range rounds {
		p.Hiccups(t)
		started := time.Now()
		for range (captures + rounds - 1) / rounds {
			read()
		}
		busy = append(busy, p.Hiccups(t))
		time.Sleep(time.Since(started)) // as long without
		idle = append(idle, p.Hiccups(t))
	}
	after := footprintOf(t, p)

	for i := range rounds {
		t.Logf("hiccups at rest %+v, while captured %+v", idle[i], busy[i])
	}
	t.Logf("a reading took %.0f ms; page tables %d, then %d bytes; resident %d, then %d; safepoints %d, then %d",
		median(readings)*1000, before.pageTablesBytes, after.pageTablesBytes, before.residentBytes, after.residentBytes, before.safepoints, after.safepoints)
	if after.pageTablesBytes > before.pageTablesBytes {
		t.Errorf("the target's page tables grew from %d to %d bytes", before.pageTablesBytes, after.pageTablesBytes)
	}
	if grown := after.residentBytes - before.residentBytes; grown > 1<<20 {
		t.Errorf("the target's resident memory grew by %d bytes", grown)
	}
	if opened := after.safepoints - before.safepoints; opened >= int64(captures) {
		t.Errorf("%d safepoints in %d captures", opened, captures)
	}
	if before.threads != after.threads || before.signals != after.signals {
		t.Errorf("threads %s, then %s; signals %s, then %s", before.threads, after.threads, before.signals, after.signals)
	}
	if len(after.files) > 0 {
		t.Errorf("left behind: %v", after.files)
	}
	// A target that stood still for each reading would come late by one, most of
	// the time.
	for i, h := range busy {
		if float64(h.P90Micros)/1e6 > median(readings)/2 {
			t.Errorf("round %d: while captured the target's threads came late by %+v; a reading takes %.3f s", i, h, median(readings))
		}
	}

	// The meter sees what it is there to see.
	p.Hiccups(t)
	const stop = 100 * time.Millisecond
	s, err := freeze.Stop(t.Context(), p.PID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(stop)
	if _, err := s.Release(); err != nil {
		t.Fatal(err)
	}
	if h := p.Hiccups(t); h.MaxMicros < stop.Microseconds()/2 {
		t.Errorf("stopped for %s, and its meter says %+v", stop, h)
	}
}
