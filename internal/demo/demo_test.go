package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// idle is the limit of the demo, in seconds.
const idle = 2

// temporary gives the demo a directory for temporary files of its own, and
// fails the test when something remains there.
func temporary(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("remains after the demo: %v (%v)", left, err)
		}
	})
}

func jdks(t *testing.T) []scenario.JDK {
	t.Helper()
	var all []scenario.JDK
	for _, jdk := range scenario.JDKs(t) {
		if jdk.Feature >= oldest {
			all = append(all, jdk)
		}
	}
	return all
}

// sourceLaunch returns a JDK in which javac cannot be seen, as in one that only
// has java: the program is then compiled as it starts.
func sourceLaunch(t *testing.T, jdk scenario.JDK) string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(jdk.Home, "bin", "java"), filepath.Join(home, "bin", "java")); err != nil {
		t.Fatal(err)
	}
	return home
}

// TestLive holds what leakscope finds in the program, in either phase, against
// what the program says.
func TestLive(t *testing.T) {
	for _, jdk := range jdks(t) {
		t.Run(jdk.String(), func(t *testing.T) { live(t, jdk.Home) })
	}
	t.Run("source launch", func(t *testing.T) { live(t, sourceLaunch(t, jdks(t)[0])) })
}

func live(t *testing.T, home string) {
	temporary(t)
	ctx := t.Context()
	p, err := Start(ctx, home)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop() //nolint:errcheck // checked below
	var inputs []analyze.Named
	var phases []Phase
	for _, name := range []string{First, Second} {
		phase, err := p.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// Silence is what is awaited: the kernel counts it, not this test.
		time.Sleep(idle*time.Second + 200*time.Millisecond)
		s, err := capture.Run(ctx, capture.Options{PID: p.PID(), Parts: []capture.Part{capture.PartJVM, capture.PartConnections, capture.PartHeap}})
		if err != nil {
			t.Fatal(err)
		}
		phases = append(phases, phase)
		inputs = append(inputs, analyze.Named{Name: name, Snapshot: s})
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	r, err := analyze.Diff(inputs, analyze.Options{IdleSeconds: idle})
	if err != nil {
		t.Fatal(err)
	}
	if r.Summary.Verdict != analyze.Leak {
		t.Errorf("verdict %s, want leak: %q", r.Summary.Verdict, r.Summary.Reasons)
	}
	if len(phases[1].States) != 5 {
		t.Errorf("the program tells of %v, want five states", phases[1].States)
	}
	for _, row := range r.States {
		base, head := phases[0].States[string(row.State)], phases[1].States[string(row.State)]
		if row.State == analyze.StateListening {
			base.Connections, head.Connections = 1, 1
		}
		same(t, row.State, "base", base, row.Connections.Base, row.Bytes.Base)
		same(t, row.State, "head", head, row.Connections.Head, row.Bytes.Head)
		delete(phases[1].States, string(row.State))
	}
	if len(phases[1].States) > 0 {
		t.Errorf("not found: %v", phases[1].States)
	}
	if s := inputs[1].Snapshot.Heap; s == nil {
		t.Error("no heap evidence")
	}
}

func same(t *testing.T, state analyze.State, side string, want Held, connections, bytes analyze.Int) {
	t.Helper()
	if got, ok := connections.Get(); !ok || got != want.Connections {
		t.Errorf("%s, %s: %d connections (known: %t), want %d", state, side, got, ok, want.Connections)
	}
	got, ok := bytes.Get()
	if off := max(got-want.Bytes, want.Bytes-got); !ok || off > want.Bytes/100 {
		t.Errorf("%s, %s: %d bytes (known: %t), want %d within 1 %%", state, side, got, ok, want.Bytes)
	}
}

// TestTruth holds the program to bytes that are the same in every run, and grow.
func TestTruth(t *testing.T) {
	temporary(t)
	p, err := Start(t.Context(), jdks(t)[0].Home)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop() //nolint:errcheck // the directory is checked
	const input, buffer = 16 << 10, 64 << 10
	for i, want := range []map[string]Held{
		{
			"idle": {6, 6 * input}, "active": {4, 4 * input}, "stalled": {4, 4 * (input + 16*buffer)},
			"peer-closed": {12, 12 * (input + 8*buffer)}, "closed": {8, 8 * (input + 4*buffer)},
		},
		{
			"idle": {6, 6 * input}, "active": {4, 4 * input}, "stalled": {4, 4 * (input + 32*buffer)},
			"peer-closed": {24, 24 * (input + 8*buffer)}, "closed": {16, 16 * (input + 4*buffer)},
		},
	} {
		phase, err := p.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for state, held := range want {
			if phase.States[state] != held {
				t.Errorf("phase %d: %s is %+v, want %+v", i+1, state, phase.States[state], held)
			}
		}
		if phase.Number != i+1 || len(phase.States) != len(want) {
			t.Errorf("phase %d: %+v", i+1, phase)
		}
	}
}

// TestEndOfInput shows that the JVM ends when leakscope is killed: all that is
// left of leakscope then is the end of the pipe.
func TestEndOfInput(t *testing.T) {
	temporary(t)
	p, err := Start(t.Context(), jdks(t)[0].Home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.ended // the test's own limit is the only one
	if !p.cmd.ProcessState.Success() {
		t.Errorf("the program ended with %s: %s", p.cmd.ProcessState, p.errors)
	}
	if _, err := p.Next(t.Context()); err == nil {
		t.Error("a phase of a program that ended")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestStartInterrupted(t *testing.T) {
	home := jdks(t)[0].Home
	temporary(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if p, err := Start(ctx, home); !errors.Is(err, cause) || p != nil {
		t.Errorf("Start returns %v, %v", p, err)
	}
}

func TestStartFails(t *testing.T) {
	temporary(t)
	if _, err := Start(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start without a JDK returns %v", err)
	}
}

// TestRecorded holds the recorded pair to what it is there to show.
func TestRecorded(t *testing.T) {
	first, second, err := Recorded()
	if err != nil {
		t.Fatal(err)
	}
	var inputs []analyze.Named
	for _, content := range [][]byte{first, second} {
		if len(content) > 60_000 {
			t.Errorf("%d bytes recorded, want at most 60,000", len(content))
		}
		s, err := snapshot.Read(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, analyze.Named{Snapshot: s})
	}
	r, err := analyze.Diff(inputs, analyze.Options{IdleSeconds: idle})
	if err != nil {
		t.Fatal(err)
	}
	found := map[analyze.State]int64{}
	for _, row := range r.States {
		found[row.State] = row.Connections.Head.Or(0)
	}
	for state, want := range map[analyze.State]int64{
		analyze.StateActive: 4, analyze.StateIdle: 6, analyze.StateStalled: 4, analyze.StatePeerClosed: 24, analyze.StateClosed: 16,
	} {
		if found[state] != want {
			t.Errorf("%d connections %s, want %d", found[state], state, want)
		}
	}
	if r.Summary.Verdict != analyze.Leak {
		t.Errorf("verdict %s, want leak", r.Summary.Verdict)
	}
}
