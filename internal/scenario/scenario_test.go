package scenario

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every scenario has a definition that is whole, and a class that plays it.
func TestDefinitions(t *testing.T) {
	catalogue, err := os.ReadFile(filepath.Join(folder(t), "src", "scenario", "Catalogue.java"))
	if err != nil {
		t.Fatal(err)
	}
	libraryNames := map[string]bool{}
	for _, l := range libraries(t) {
		libraryNames[l.name] = true
	}
	seen := map[string]bool{}
	for _, d := range Definitions(t) {
		if seen[d.Name] {
			t.Errorf("%s is defined twice", d.Name)
		}
		seen[d.Name] = true
		if !libraryNames[d.Library] {
			t.Errorf("%s: unknown library %q", d.Name, d.Library)
		}
		if d.OldestJDK < 8 {
			t.Errorf("%s: oldest JDK %d", d.Name, d.OldestJDK)
		}
		switch d.Verdict {
		case "leak", "growing", "steady":
		default:
			t.Errorf("%s: verdict %q", d.Name, d.Verdict)
		}
		if !strings.Contains(string(catalogue), `{"`+d.Name+`", `) {
			t.Errorf("%s: no class in Catalogue.java", d.Name)
		}
	}
	if rows := strings.Count(string(catalogue), "        {\""); rows != len(seen) {
		t.Errorf("Catalogue.java has %d scenarios, scenarios.tsv %d", rows, len(seen))
	}
}

// A scenario goes through its phases, says what its definition says, and ends
// with its peer.
func TestPhases(t *testing.T) {
	for _, jdk := range JDKs(t) {
		t.Run(jdk.String(), func(t *testing.T) {
			p := Start(t, "session-open", jdk, Options{})
			first := p.Truth()
			if first.PID != p.PID || first.Phase != 1 || first.Verdict != "" {
				t.Errorf("first truth: pid %d (want %d), phase %d, verdict %q", first.PID, p.PID, first.Phase, first.Verdict)
			}
			second := p.Next(t)
			if want := Named(t, "session-open").Verdict; second.Phase != 2 || second.Verdict != want {
				t.Errorf("second truth: phase %d, verdict %q, want 2, %q", second.Phase, second.Verdict, want)
			}
			if first.Fates["connection"].Bytes <= 0 || second.Fates["connection"].Bytes <= first.Fates["connection"].Bytes {
				t.Errorf("held by connections: %d, then %d bytes", first.Fates["connection"].Bytes, second.Fates["connection"].Bytes)
			}
			family := append(children(t, p.PID), p.PID)
			if len(family) != 2 {
				t.Errorf("%d processes, want the target and its peer", len(family))
			}
			p.Stop()
			for _, pid := range family {
				for end := time.Now().Add(patience); alive(pid); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("process %d lives on", pid)
					}
				}
			}
		})
	}
}

// alive reports whether a process runs; one that its new parent has not reaped
// yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// children lists the child processes of a process.
func children(t *testing.T, pid int) []int {
	t.Helper()
	var all []int
	lists, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatalf("%s: %v", list, err)
			}
			all = append(all, child)
		}
	}
	return all
}

// A truth whose books do not balance is refused.
func TestTruthCheck(t *testing.T) {
	reserved := int64(1 << 20)
	truth := Truth{
		Complete: true,
		Fates:    map[string]Sum{"connection": {Allocations: 1, Bytes: 1 << 20}},
		Counters: map[string]*int64{"bits_reserved_bytes": &reserved, "netty_used_direct_bytes": nil},
	}
	if err := truth.check(); err != nil {
		t.Errorf("balanced books: %v", err)
	}
	reserved += 64 << 10
	if err := truth.check(); err == nil {
		t.Error("64 KiB are missing in the books, and nothing is said")
	}
}
