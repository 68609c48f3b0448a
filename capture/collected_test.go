package capture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// churner is a program that TestCollectedOften captures: how much of its heap is
// old, and how fast it makes objects that become old and that do not.
type churner struct {
	old, maxHeap, young string // megabytes
	promoted, dying     string // megabytes a second
	reconnect           string // milliseconds between two new connections
	strange             string // of how many pieces one loads a class
	captures            int
	budget              time.Duration
}

// start starts it and waits until its heap is full.
func (c churner) start(t *testing.T, jdk scenario.JDK, classes, collector string, flags ...string) (pid int) {
	t.Helper()
	flags = append(flags, "-Xmx"+c.maxHeap+"m", "-Xms"+c.maxHeap+"m", "-Xmn"+c.young+"m", "-XX:MaxTenuringThreshold=1", "-XX:+Use"+collector+"GC")
	return launch(t, jdk, append(flags, "-cp", classes, "Churner", c.old, c.promoted, c.dying, c.reconnect, c.strange)...)
}

// leftOpen takes of what a capture says is held what it left open, and says so:
// that is no claim. How many these were is returned beside.
func leftOpen(want, got []string) (held []string, open int) {
	place := func(row string) string { return strings.Join(strings.Fields(row)[:3], " ") }
	byPlace := map[string]string{}
	for _, row := range want {
		byPlace[place(row)] = row
	}
	for _, row := range got {
		if strings.Contains(row, " "+string(snapshot.FateUnattributed)) {
			open++
			if row = byPlace[place(row)]; row == "" {
				continue // garbage
			}
		}
		held = append(held, row)
	}
	slices.Sort(held)
	return held, open
}

// lasting leaves out of holdings what a Churner's clients hold that connect anew
// all the time: other connections each time, but always one. It tells of how many
// buffers a connection is said to hold, and fails the test where it is somebody else.
func lasting(t *testing.T, h *snapshot.Heap) (rows []string, byConnection int) {
	t.Helper()
	for _, a := range h.Allocations {
		if a.Bytes < 5000 || a.Bytes >= 5010 {
			continue
		}
		switch a.Fate {
		case snapshot.FateConnection:
			byConnection++
		case snapshot.FateUnattributed:
		default:
			t.Errorf("a buffer of %d bytes is held by the %s, and beside a connection", a.Bytes, a.Fate)
		}
	}
	return slices.DeleteFunc(holdings(h), func(row string) bool {
		fields := strings.Fields(row)
		n, _ := strconv.Atoi(fields[1])
		return strings.Contains(row, "127.0.0.2") || strings.Contains(row, "invalid AddrPort") || n >= 5000 && n < 5010
	}), byConnection
}

// outcome is what captures of a churner were like.
type outcome struct {
	perSecond            float64 // collections
	held                 int     // allocations and connections
	tries, settled, left []int   // of each that was accepted: settled in MiB, left how many were left open
	seconds              []float64
}

// captured captures a churner and fails the test where a reading that was accepted is
// not that of a heap dump.
func (c churner) captured(t *testing.T, pid int) (o outcome) {
	t.Helper()
	dumped := dump(t, pid)
	want, byConnection := lasting(t, dumped.Heap)
	if byConnection != clients {
		t.Fatalf("the dump says of %d buffers of %d that a connection is beside", byConnection, clients)
	}
	byConnection = 0
	begun, collections := time.Now(), dumped.JVM.Collections.Or(0)
	reasons := map[string]int{}
	for i := range c.captures {
		s := run(t, capture.Options{PID: pid, Budget: c.budget})
		source := sourceOf(t, s, snapshot.SourceVMStructs)
		for key, text := range source.Detail {
			if reason, ok := strings.CutPrefix(key, "rejected: "); ok {
				n, _ := strconv.Atoi(text)
				reasons[reason] += n
			}
		}
		if s.JVM != nil {
			collections = max(collections, s.JVM.Collections.Or(0))
		}
		if s.Heap == nil {
			t.Logf("capture %d: %s", i, source.Reason)
			continue
		}
		n, err := strconv.Atoi(source.Detail["tries"])
		if err != nil {
			t.Fatalf("tries: %v in %+v", err, source)
		}
		o.tries, o.seconds = append(o.tries, n), append(o.seconds, source.DurationSeconds)
		if bytes, ok := strings.CutSuffix(source.Detail["settled"], " bytes"); ok {
			n, _ := strconv.Atoi(bytes)
			o.settled = append(o.settled, n>>20)
		}
		now, beside := lasting(t, s.Heap)
		byConnection += beside
		held, open := leftOpen(want, now)
		o.left = append(o.left, open)
		if d := differences(want, held); len(d) > 0 {
			t.Errorf("capture %d was accepted after %d tries and is wrong (%s scanned before):\n%s\n%q", i, n, source.Detail["settled"], strings.Join(d, "\n"), s.Heap.Warnings)
		}
	}
	o.held, o.perSecond = len(want), float64(collections-dumped.JVM.Collections.Or(0))/time.Since(begun).Seconds()
	t.Logf("%d of %d accepted, tries %v, MiB scanned before %v, left open %v, rejected %v, %d of %d beside a connection that is new",
		len(o.tries), c.captures, o.tries, o.settled, o.left, reasons, byConnection, clients*len(o.tries))
	return o
}

// clients is how many of a Churner's connect anew.
const clients = 10

// TestCollectedOften captures a program whose young generation is so small that
// collections come more often than its heap can be scanned: the old objects are
// scanned before. They change too: some are promoted, others are dropped and
// reclaimed, and what holds off-heap memory moves with them. A reading that is
// accepted is the one of a heap dump, to the byte. LEAKSCOPE_CAPTURES asks for a
// large heap and all collectors, and says how many captures to take.
func TestCollectedOften(t *testing.T) {
	c := churner{old: "150", maxHeap: "320", young: "24", promoted: "5", dying: "30", reconnect: "100", strange: "256", captures: 2, budget: 5 * time.Second}
	jdks, collectors := scenario.JDKs(t), []string{"G1"}
	if os.Getenv("LEAKSCOPE_CAPTURES") != "" {
		collectors = []string{"G1", "Serial", "Parallel"}
		c = churner{old: "1200", maxHeap: "2048", young: "128", promoted: "40", dying: "400", reconnect: "100", strange: "1000000", captures: many(t, 0)}
	} else if os.Getenv("LEAKSCOPE_TEST_JDKS") == "" {
		jdks = []scenario.JDK{scenario.Required(t)}
	}
	classes := compiled(t, "testdata/Churner.java", "8")
	var table strings.Builder
	for _, jdk := range jdks {
		for _, collector := range collectors {
			t.Run(jdk.String()+"/"+collector, func(t *testing.T) {
				o := c.captured(t, c.start(t, jdk, classes, collector))
				if len(o.tries) == 0 {
					if os.Getenv("LEAKSCOPE_CAPTURES") != "" { // else the race detector may be what takes the time
						t.Error("nothing was accepted")
					}
					return
				}
				if open := median(o.left); open > o.held/20 && os.Getenv("LEAKSCOPE_CAPTURES") != "" { // else there may be no time for better
					t.Errorf("%d allocations of %d are left open", open, o.held)
				}
				fmt.Fprintf(&table, "| %s | %s | %.1f | %d of %d | %d | %d | %d | %.1f s |\n", collector, jdk, o.perSecond, len(o.tries), c.captures,
					median(o.tries), slices.Max(o.tries), median(o.left), median(o.seconds))
			})
		}
	}
	t.Logf("\n%s", &table)
}

// TestMarked captures a program whose old objects are marked all the time and whose
// classes are unloaded: G1 overwrites the dead of a region while the program runs, and
// no collection is counted for that (21 on).
func TestMarked(t *testing.T) {
	c := churner{old: "150", maxHeap: "400", young: "24", promoted: "10", dying: "20", reconnect: "1000", strange: "64", captures: many(t, 3), budget: 5 * time.Second}
	classes := compiled(t, "testdata/Churner.java", "8")
	found := false
	for _, jdk := range scenario.JDKs(t) {
		if jdk.Feature < 21 {
			continue
		}
		found = true
		t.Run(jdk.String(), func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "gc.log")
			inside := log
			if jdk.OwnRoot() {
				inside = "/host" + log
			}
			pid := c.start(t, jdk, classes, "G1", "-XX:InitiatingHeapOccupancyPercent=5", "-Xlog:gc*:file="+inside)
			count := func(what string) int {
				text, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Count(string(text), what)
			}
			const scrubbed, mixed = "Concurrent Rebuild Remembered Sets and Scrub Regions", "Pause Young (Mixed)"
			before, mixedBefore := count(scrubbed), count(mixed)
			accepted, scrubs := 0, 0
			for range 10 { // until it has happened in between
				accepted += len(c.captured(t, pid).tries)
				if scrubs = count(scrubbed) - before; scrubs > 0 {
					break
				}
			}
			t.Logf("regions were scrubbed %d times, %d mixed collections", scrubs/2, (count(mixed)-mixedBefore)/2) // each is logged twice
			if scrubs == 0 || accepted == 0 && os.Getenv("LEAKSCOPE_CAPTURES") != "" {
				t.Errorf("%d captures accepted while regions were scrubbed %d times", accepted, scrubs/2)
			}
		})
	}
	if !found {
		t.Log("no JDK at hand scrubs regions: see scripts/jdks.sh")
	}
}
