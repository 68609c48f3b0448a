package scenario

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long a phase may take before the scenario counts as hung;
	// a healthy one takes a second or two, one that waits for timers twenty.
	patience = 3 * time.Minute
	// maxTruth bounds the line of a truth.
	maxTruth = 4 << 20
	heapFlag = "-Xmx96m"
	// directFlag leaves room enough that no allocation forces a collection.
	directFlag = "-XX:MaxDirectMemorySize=256m"
)

// Options of a start; the zero value is what most tests want.
type Options struct {
	JVMArguments []string // after the scenario's own, and so overriding them
	Network      *Network // of its own; scenarios that need one get it without asking
}

// Process is a running scenario.
type Process struct {
	PID int // in the namespace of the test
	JDK JDK

	command *exec.Cmd
	input   io.WriteCloser
	lines   chan string // truths
	answers chan string // to commands between phases
	errors  tail
	stopped sync.Once
	truth   Truth
}

// CommandLine compiles the scenarios where that is still to do, and returns the
// command that runs one on a JDK. The process reads "next" from its standard
// input, and ends at its end.
func CommandLine(t testing.TB, name string, jdk JDK, o Options) []string {
	t.Helper()
	d := Named(t, name)
	if !d.RunsOn(jdk.Feature) {
		t.Fatalf("scenario %s does not run on %s", name, jdk)
	}
	if d.Network && o.Network == nil {
		o.Network = NewNetwork(t)
	}
	command := []string{jdk.java(), heapFlag, directFlag}
	command = append(command, d.JVMArguments...)
	if o.Network != nil {
		command = append(o.Network.enter(), command...)
		command = append(command, o.Network.properties()...)
	}
	command = append(command, o.JVMArguments...)
	command = append(command, "-cp", strings.Join(append([]string{Compile(t)}, d.library(t).classPath(t)...), ":"), "scenario.Main", name)
	return command
}

// Start compiles the scenarios where that is still to do, starts one on a JDK
// and waits for the end of its first phase. The process and its peer end with
// the test, or with Stop.
func Start(t testing.TB, name string, jdk JDK, o Options) *Process {
	t.Helper()
	command := CommandLine(t, name, jdk, o)
	p := &Process{JDK: jdk, command: exec.Command(command[0], command[1:]...), lines: make(chan string, 1), answers: make(chan string, 1)}
	var err error
	if p.input, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.command.Stderr = &p.errors
	p.command.WaitDelay = 5 * time.Second // its peer holds the same stderr
	if err := p.command.Start(); err != nil {
		t.Fatalf("scenario %s: %v", name, err)
	}
	t.Cleanup(p.Stop)
	p.PID = p.command.Process.Pid
	go p.read(output)
	p.await(t, name)
	return p
}

func (d Definition) library(t testing.TB) library {
	t.Helper()
	for _, l := range libraries(t) {
		if l.name == d.Library {
			return l
		}
	}
	t.Fatalf("scenario %s: no library %q in libraries.tsv", d.Name, d.Library)
	return library{}
}

// read passes on the truths and the answers that the process prints.
func (p *Process) read(output io.Reader) {
	defer close(p.lines)
	defer close(p.answers)
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, maxTruth)
	for lines.Scan() {
		if truth, ok := strings.CutPrefix(lines.Text(), "TRUTH "); ok {
			p.lines <- truth
		} else if word, answer, ok := strings.Cut(lines.Text(), " "); ok && (word == "LOAD" || word == "HICCUPS") {
			p.answers <- answer
		}
	}
}

// await reads the next truth.
func (p *Process) await(t testing.TB, name string) {
	t.Helper()
	var line string
	var ok bool
	select {
	case line, ok = <-p.lines:
	case <-time.After(patience):
		p.Stop()
		t.Fatalf("scenario %s on %s: no truth after %v; its stderr:\n%s", name, p.JDK, patience, p.errors.String())
	}
	if !ok {
		p.Stop()
		t.Fatalf("scenario %s on %s ended early; its stderr:\n%s", name, p.JDK, p.errors.String())
	}
	p.truth = Truth{}
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p.truth); err != nil {
		t.Fatalf("scenario %s: truth: %v in %s", name, err, line)
	}
	if p.truth.Scenario != name {
		t.Fatalf("scenario %s: truth of %q", name, p.truth.Scenario)
	}
	if err := p.truth.check(); err != nil {
		t.Fatalf("scenario %s on %s: %v: %s", name, p.JDK, err, line)
	}
}

// Truth returns the truth of the present phase.
func (p *Process) Truth() Truth { return p.truth }

// Next takes the scenario one phase further and returns the truth at its end.
func (p *Process) Next(t testing.TB) Truth {
	t.Helper()
	if _, err := io.WriteString(p.input, "next\n"); err != nil {
		t.Fatalf("scenario %s: %v; its stderr:\n%s", p.truth.Scenario, err, p.errors.String())
	}
	p.await(t, p.truth.Scenario)
	return p.truth
}

// Stop ends the process and with it its peer, and waits for both. It may be
// called more than once.
func (p *Process) Stop() {
	p.stopped.Do(func() {
		_ = p.input.Close() // ends it, unless it hangs
		ended := make(chan struct{})
		go func() {
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				_ = p.command.Process.Kill()
			}
		}()
		for range p.lines { // Wait closes the pipe under a reader
		}
		_ = p.command.Wait()
		close(ended)
	})
}

// tail keeps the last few KiB that are written to it.
type tail struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

const maxTail = 16 << 10

func (b *tail) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept.Write(text)
	if over := b.kept.Len() - maxTail; over > 0 {
		b.kept.Next(over)
	}
	return len(text), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.String()
}

// String names the process in messages.
func (p *Process) String() string {
	return fmt.Sprintf("%s on %s, pid %d", p.truth.Scenario, p.JDK, p.PID)
}
