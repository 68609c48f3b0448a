package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// compareOutside holds what was read from outside against the program's own
// books, as compare does, and against the heap dump taken next.
func compareOutside(t *testing.T, outside, dump *recording, found *matrix, d scenario.Definition) {
	t.Helper()
	for _, pair := range [][2]string{{outside.first, dump.first}, {outside.second, dump.second}} {
		got, want := readSnapshot(t, pair[0]), readSnapshot(t, pair[1])
		source := sourceNamed(t, got, snapshot.SourceVMStructs)
		if source.Status != snapshot.StatusOK {
			t.Errorf("from outside: %s: %s", source.Status, source.Reason)
			return
		}
		t.Logf("from outside: %.0f ms, %s tries, %v", 1000*source.DurationSeconds, source.Detail["tries"], source.Detail)
		if differ := differences(got.Heap, want.Heap); len(differ) > 0 {
			t.Logf("from outside and by a dump: %d of %d rows differ: %q", len(differ), len(want.Heap.Allocations), differ[:min(len(differ), 6)])
		}
	}
	result := outside.diff(t)
	found.add(outcomeOf(d, outside.truth.After, result))
	failed := t.Failed()
	compare(t, result, outside.truth.Before, outside.truth.After, max(stackHeld(t, outside.first), stackHeld(t, outside.second)))
	compareFindings(t, result, expectedOf(t, d.Name))
	if t.Failed() && !failed {
		table, _ := leakscope(t, "diff", outside.first, outside.second, "--all")
		t.Logf("the errors above are of the reading from outside:\n%s", table)
	}
}

var stackWords = regexp.MustCompile(`with (\d+) bytes are held by words on the stacks`)

// stackHeld is how many bytes a reading from outside says are held by words on
// stacks alone: those may be left over.
func stackHeld(t *testing.T, file string) (bytes int64) {
	t.Helper()
	for _, w := range readSnapshot(t, file).Heap.Warnings {
		if m := stackWords.FindStringSubmatch(w); m != nil {
			bytes, _ = strconv.ParseInt(m[1], 10, 64)
		}
	}
	return bytes
}

func readSnapshot(t *testing.T, file string) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sourceNamed(t *testing.T, s *snapshot.Snapshot, name string) snapshot.Source {
	t.Helper()
	for _, source := range s.Manifest.Sources {
		if source.Name == name {
			return source
		}
	}
	t.Fatalf("no source %s", name)
	return snapshot.Source{}
}

// differences lists the allocations that only one of two heaps has, or has
// with another fate.
func differences(a, b *snapshot.Heap) []string {
	rows := func(h *snapshot.Heap) (out []string) {
		for _, a := range h.Allocations {
			out = append(out, fmt.Sprintf("0x%x %d %s %s", uint64(a.Address), a.Bytes, a.Kind, a.Fate))
		}
		return out
	}
	counts := map[string]int{}
	for _, row := range rows(a) {
		counts[row]++
	}
	for _, row := range rows(b) {
		counts[row]--
	}
	var out []string
	for row, n := range counts {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", n, row))
		}
	}
	slices.Sort(out)
	return out
}
