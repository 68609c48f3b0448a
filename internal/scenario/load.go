package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"
)

// LoadReport is what a process did beside its scenario.
type LoadReport struct {
	Seconds        float64 `json:"seconds"`
	AllocatedBytes int64   `json:"allocated_bytes"` // on the heap
	Collections    int64   `json:"collections"`
}

// Load has the process allocate so many MiB of heap memory a second from now on,
// and run so many full collections a second. It returns what it did since the
// last call, or its start.
func (p *Process) Load(t testing.TB, mebibytes, collections int) LoadReport {
	t.Helper()
	var r LoadReport
	p.ask(t, fmt.Sprintf("load %d %d", mebibytes, collections), &r)
	return r
}

// Hiccups is by how much a thread of the process that rests for a millisecond
// at a time came late.
type Hiccups struct {
	Samples    int64 `json:"samples"`
	P50Micros  int64 `json:"p50_micros"`
	P90Micros  int64 `json:"p90_micros"`
	P99Micros  int64 `json:"p99_micros"`
	P999Micros int64 `json:"p999_micros"`
	MaxMicros  int64 `json:"max_micros"`
}

// Hiccups returns the distribution since the last call; the first call starts
// the meter.
func (p *Process) Hiccups(t testing.TB) Hiccups {
	t.Helper()
	var h Hiccups
	p.ask(t, "hiccups", &h)
	return h
}

// ask sends a command that is no phase and decodes the answer.
func (p *Process) ask(t testing.TB, command string, answer any) {
	t.Helper()
	if _, err := io.WriteString(p.input, command+"\n"); err != nil {
		t.Fatalf("%s: %v; its stderr:\n%s", p, err, p.errors.String())
	}
	select {
	case line, ok := <-p.answers:
		if !ok {
			t.Fatalf("%s ended early; its stderr:\n%s", p, p.errors.String())
		}
		if err := json.Unmarshal([]byte(line), answer); err != nil {
			t.Fatalf("%s: %s: %v in %s", p, command, err, line)
		}
	case <-time.After(patience):
		t.Fatalf("%s: no answer to %q after %v", p, command, patience)
	}
}
