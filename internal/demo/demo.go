// Package demo runs a small Java server that leaks off-heap memory on its
// connections, in several lifecycle states at once, beside healthy traffic.
//
// What flows in: the home of a JDK. What flows out: a running process, what it
// says it holds (the truth to compare with), and, where there is no JDK, a pair
// of snapshots recorded from it. Nothing it started or wrote remains after
// [Process.Stop]; what a demo that was killed has written, the next one removes.
package demo

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // the program
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed LeakDemo.java
var source []byte

const (
	startTimeout = 60 * time.Second // compiling included
	phaseTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
	maxErrors    = 4 << 10 // of what the program says on stderr
)

// heapLimit keeps the demo small; direct memory has the same limit.
const heapLimit = "-Xmx64m"

// Held is what the connections in one lifecycle state hold.
type Held struct {
	Connections int64
	Bytes       int64
}

// Phase is what the program says of itself after a phase.
type Phase struct {
	Number int
	States map[string]Held // by the name of the state
}

// Process is the running program and its clients.
type Process struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	lines   chan string   // of its stdout; closed at its end
	ended   chan struct{} // closed when it was waited for
	errors  *beginning
	clients *clients
	dir     *directory
	phase   int
	stop    sync.Once
	stopErr error
}

// Start compiles the program with the JDK in home, into a directory of its
// own, and starts it. Where home has no javac, java compiles it on its way.
// Where it fails, or ctx ends meanwhile, nothing remains; else Stop is due.
func Start(ctx context.Context, home string) (*Process, error) {
	dir, err := newDirectory()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	p := &Process{dir: dir, lines: make(chan string, 16), ended: make(chan struct{}), errors: &beginning{}}
	if err := p.start(ctx, home); err != nil {
		return nil, errors.Join(fmt.Errorf("demo: %w", err), p.Stop())
	}
	return p, nil
}

func (p *Process) start(ctx context.Context, home string) error {
	file := filepath.Join(p.dir.path, "LeakDemo.java")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	program := []string{heapLimit, file}
	javac := filepath.Join(home, "bin", "javac")
	if _, err := os.Stat(javac); err == nil {
		if err := compile(ctx, javac, p.dir.path, file); err != nil {
			return err
		}
		program = []string{heapLimit, "-cp", p.dir.path, "LeakDemo"}
	}
	p.cmd = command(exec.Command(filepath.Join(home, "bin", "java"), program...), p.dir.path)
	p.cmd.Stderr = p.errors
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	// A pipe of our own: that of exec would be closed by Wait with lines unread.
	stdout, out, err := os.Pipe()
	if err != nil {
		return err
	}
	p.cmd.Stdout = out
	err = p.cmd.Start()
	_ = out.Close()
	if err != nil {
		_ = stdout.Close()
		p.cmd = nil
		return fmt.Errorf("start java: %w", err)
	}
	p.stdin = stdin
	go p.read(stdout)
	go func() {
		_ = p.cmd.Wait() // how it ended shows in what it printed
		close(p.ended)
	}()
	line, err := p.line(ctx)
	if err != nil {
		return err
	}
	var port int
	if _, err := fmt.Sscanf(line, "READY %d", &port); err != nil || port <= 0 || port > 65535 {
		return fmt.Errorf("the program said %q, want READY and a port", line)
	}
	p.clients = newClients(port)
	return nil
}

func compile(ctx context.Context, javac, dir, file string) error {
	out, err := command(exec.CommandContext(ctx, javac, "-J-XX:TieredStopAtLevel=1", "-encoding", "UTF-8", "-d", dir, file), dir).CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("javac: %w", context.Cause(ctx))
		}
		return fmt.Errorf("javac: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// command keeps what is around from changing the program: options in the
// environment, the working directory, and signals of the terminal, which are
// for leakscope to act on.
func command(cmd *exec.Cmd, dir string) *exec.Cmd {
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVAC_OPTIONS", "CLASSPATH"}, name)
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func (p *Process) read(stdout io.ReadCloser) {
	defer close(p.lines)
	defer stdout.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		select {
		case p.lines <- lines.Text():
		case <-p.ended:
			return
		}
	}
}

// line waits for the program's next line.
func (p *Process) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("the program ended: %s", p.errors)
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the program: %w", context.Cause(ctx))
	}
}

// PID is that of the JVM.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Next performs the next phase: new clients come, and those that leave have
// left when it returns.
func (p *Process) Next(ctx context.Context) (Phase, error) {
	ctx, cancel := context.WithTimeout(ctx, phaseTimeout)
	defer cancel()
	p.phase++
	phase := Phase{Number: p.phase, States: map[string]Held{}}
	for _, w := range plan(p.phase) {
		if err := p.clients.connect(ctx, w); err != nil {
			return phase, fmt.Errorf("%w; the program: %s", err, p.errors)
		}
	}
	if _, err := io.WriteString(p.stdin, "next\n"); err != nil {
		return phase, fmt.Errorf("demo: %w", err)
	}
	for {
		line, err := p.line(ctx)
		if err != nil {
			return phase, fmt.Errorf("demo: %w", err)
		}
		var state string
		var held Held
		var number int
		if _, err := fmt.Sscanf(line, "STATE %s %d %d", &state, &held.Connections, &held.Bytes); err == nil {
			phase.States[state] = held
			continue
		}
		if _, err := fmt.Sscanf(line, "PHASE %d", &number); err != nil || number != p.phase {
			return phase, fmt.Errorf("demo: the program said %q, want PHASE %d", line, p.phase)
		}
		return phase, nil
	}
}

// Stop ends the program and its clients and removes what was written. It may
// be called more than once.
func (p *Process) Stop() error {
	p.stop.Do(func() {
		if p.cmd != nil {
			_ = p.stdin.Close() // ends the program
			select {
			case <-p.ended:
			case <-time.After(stopTimeout):
				_ = p.cmd.Process.Kill()
				<-p.ended
			}
		}
		if p.clients != nil {
			p.clients.close()
		}
		if err := p.dir.remove(); err != nil {
			p.stopErr = fmt.Errorf("demo: %w", err)
		}
	})
	return p.stopErr
}

// beginning keeps the first bytes of what is written to it.
type beginning struct {
	mu   sync.Mutex
	text []byte
}

func (b *beginning) Write(more []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, more[:min(len(more), maxErrors-len(b.text))]...)
	return len(more), nil
}

func (b *beginning) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text := strings.TrimSpace(string(b.text)); text != "" {
		return text
	}
	return "it said nothing"
}
