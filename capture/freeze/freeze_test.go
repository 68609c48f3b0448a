package freeze

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mode in the environment starts this binary as something else.
const mode = "LEAKSCOPE_TEST_MODE"

func TestMain(m *testing.M) {
	if Holder() {
		return
	}
	switch os.Getenv(mode) {
	case "busy":
		busy()
	case "leakscope":
		leakscope()
	default:
		os.Exit(m.Run())
	}
}

const spinners = 4

// board is memory that a target shares with the test.
type board struct {
	Spins   [spinners]atomic.Uint64 // of each thread that lives as long as the target
	Births  atomic.Uint64           // of threads that live for a moment
	Signals atomic.Uint64           // SIGUSR1 that were taken
}

func share(file string) (*board, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	memory, err := unix.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(board{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*board)(unsafe.Pointer(&memory[0])), nil
}

// busy is a target with threads that never rest, and some that are born and end
// all the time. It ends with its standard input.
func busy() {
	b, err := share(os.Getenv("LEAKSCOPE_TEST_BOARD"))
	if err != nil {
		panic(err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			b.Signals.Add(1)
		}
	}()
	for i := range spinners {
		go func() {
			runtime.LockOSThread()
			for {
				b.Spins[i].Add(1)
				time.Sleep(100 * time.Microsecond)
			}
		}()
	}
	go func() {
		for {
			born := make(chan struct{})
			go func() {
				runtime.LockOSThread() // never unlocked: the thread ends here
				b.Births.Add(1)
				close(born)
			}()
			<-born
			time.Sleep(200 * time.Microsecond)
		}
	}()
	if os.Getenv("LEAKSCOPE_TEST_HEADLESS") != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		say("READY")
		time.Sleep(100 * time.Millisecond)
		if unix.Gettid() == unix.Getpid() {
			_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // this thread alone
		}
		say("the main goroutine is not on the main thread")
		return
	}
	say("READY")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func init() {
	if os.Getenv("LEAKSCOPE_TEST_HEADLESS") != "" {
		runtime.LockOSThread() // the main goroutine stays on the main thread
	}
}

func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

// leakscope stops a target and does nothing more.
func leakscope() {
	pid, _ := strconv.Atoi(os.Getenv("LEAKSCOPE_TEST_PID"))
	limit, _ := time.ParseDuration(os.Getenv("LEAKSCOPE_TEST_LIMIT"))
	s, err := Stop(context.Background(), pid, limit)
	if err != nil {
		say(err)
		return
	}
	say("STOPPED", s.Threads)
	<-s.Context().Done()
	say(context.Cause(s.Context()))
}

// running is a busy target.
type running struct {
	*board
	pid     int
	command *exec.Cmd
	ended   chan error
}

func run(t *testing.T, env ...string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "board")
	if err := os.WriteFile(file, make([]byte, unsafe.Sizeof(board{})), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := share(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(env, mode+"=busy", "LEAKSCOPE_TEST_BOARD="+file)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{board: b, pid: cmd.Process.Pid, command: cmd, ended: make(chan error, 1)}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() { r.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = stdin.Close()
		select {
		case err := <-r.ended:
			r.ended <- err
		case <-time.After(20 * time.Second):
			t.Error("the target does not end")
			_ = cmd.Process.Kill()
		}
	})
	if line != "READY\n" {
		t.Fatalf("the target says %q, %v", line, err)
	}
	return r
}

// sum is what a target's threads have done so far.
func (r *running) sum() uint64 {
	n := r.Births.Load()
	for i := range r.Spins {
		n += r.Spins[i].Load()
	}
	return n
}

// stands fails the test when any thread of the target gets on.
func (r *running) stands(t *testing.T) {
	t.Helper()
	before := r.sum()
	time.Sleep(5 * time.Millisecond)
	if after := r.sum(); after != before {
		t.Fatalf("the target runs: %d, then %d", before, after)
	}
}

// goesOn waits until every thread of the target gets on and none is traced.
func (r *running) goesOn(t *testing.T) {
	t.Helper()
	var before [spinners]uint64
	for i := range r.Spins {
		before[i] = r.Spins[i].Load()
	}
	births := r.Births.Load()
	eventually(t, "every thread of the target runs", func() bool {
		for i := range r.Spins {
			if r.Spins[i].Load() == before[i] {
				return false
			}
		}
		return r.Births.Load() > births && !r.traced(t)
	})
}

func (r *running) traced(t *testing.T) bool {
	t.Helper()
	ids, err := tasks(r.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		_, tracer, err := status(filepath.Join(taskFolder(r.pid), strconv.Itoa(id), "status"))
		if err == nil && tracer != 0 {
			return true
		}
	}
	return false
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// patient is a limit that no test comes to.
const patient = time.Minute

func stop(t *testing.T, pid int) *Stopped {
	t.Helper()
	s, err := Stop(t.Context(), pid, patient)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func release(t *testing.T, s *Stopped) time.Duration {
	t.Helper()
	pause, err := s.Release()
	if err != nil {
		t.Fatal(err)
	}
	return pause
}

// TestStop stops a target again and again while threads are born and end in it.
func TestStop(t *testing.T) {
	r := run(t)
	var longest time.Duration
	for range 100 {
		s := stop(t, r.pid)
		if s.Threads <= spinners {
			t.Errorf("%d threads", s.Threads)
		}
		if err := s.Context().Err(); err != nil {
			t.Error(err)
		}
		r.stands(t)
		pause := release(t, s)
		if pause < 5*time.Millisecond {
			t.Errorf("stopped for %s, less than it was held", pause)
		}
		longest = max(longest, pause)
		if again, err := s.Release(); again != pause || err != nil {
			t.Errorf("released twice: %s, %v", again, err)
		}
		if err := s.Context().Err(); err == nil {
			t.Error("the target runs, its context does not say so")
		}
	}
	r.goesOn(t)
	t.Logf("longest stop %s, of them 5 ms by the test", longest)
}

// TestLimit does not release a target.
func TestLimit(t *testing.T) {
	r := run(t)
	const limit = 50 * time.Millisecond
	s, err := Stop(t.Context(), r.pid, limit)
	if err != nil {
		t.Fatal(err)
	}
	<-s.Context().Done()
	r.goesOn(t)
	var late *LimitError
	if cause := context.Cause(s.Context()); !errors.As(cause, &late) || late.Limit != limit || late.Running != 0 {
		t.Errorf("cause %v", cause)
	}
	if pause, err := s.Release(); !errors.As(err, &late) || pause < limit {
		t.Errorf("%s, %v", pause, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if s, err = Stop(ctx, r.pid, patient); err != nil {
		t.Fatal(err)
	}
	r.stands(t)
	cancel()
	<-s.Context().Done()
	r.goesOn(t)
	if _, err := s.Release(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := Stop(t.Context(), r.pid, 0); err == nil {
		t.Error("a stop without a limit")
	}
}

// another starts a leakscope that stops the target.
func another(t *testing.T, r *running, limit time.Duration, attributes *syscall.SysProcAttr) (cmd *exec.Cmd, says func() string) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = []string{mode + "=leakscope", "LEAKSCOPE_TEST_PID=" + strconv.Itoa(r.pid), "LEAKSCOPE_TEST_LIMIT=" + limit.String()}
	cmd.SysProcAttr = attributes
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(stdout)
	return cmd, func() string {
		line, _ := lines.ReadString('\n')
		return strings.TrimSpace(line)
	}
}

// held starts a leakscope that stops the target, and returns it and its holder.
func held(t *testing.T, r *running, limit time.Duration) (leakscope *exec.Cmd, holder int) {
	t.Helper()
	cmd, says := another(t, r, limit, nil)
	if line := says(); !strings.HasPrefix(line, "STOPPED") {
		t.Fatal(line)
	}
	_, holder, err := status(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil || holder == 0 || holder == cmd.Process.Pid {
		t.Fatalf("held by %d, %v", holder, err)
	}
	return cmd, holder
}

// TestKilled kills leakscope, or its holder, in the middle of a stop.
func TestKilled(t *testing.T) {
	r := run(t)
	for _, victim := range []string{"leakscope", "holder"} {
		cmd, holder := held(t, r, patient)
		r.stands(t)
		if _, err := Stop(t.Context(), r.pid, patient); !errors.Is(err, ErrTraced) {
			t.Errorf("error %v, want ErrTraced", err)
		}
		pid := map[string]int{"leakscope": cmd.Process.Pid, "holder": holder}[victim]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.goesOn(t)
	}
	release(t, stop(t, r.pid)) // and can be stopped again
	r.goesOn(t)
}

// TestNotLetRun stops leakscope, or its holder, in the middle of a stop: the
// target is released by the holder, or because the kernel ends the holder.
func TestNotLetRun(t *testing.T) {
	r := run(t)
	for _, victim := range []string{"leakscope", "holder"} {
		cmd, holder := held(t, r, 300*time.Millisecond)
		pid := map[string]int{"leakscope": cmd.Process.Pid, "holder": holder}[victim]
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		r.goesOn(t)
	}
}

// TestOwnStops holds that a target that is stopped by a signal stays so, and
// that one takes a stop or a continuation that comes meanwhile.
func TestOwnStops(t *testing.T) {
	r := run(t)
	send := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(r.pid, s); err != nil {
			t.Fatal(err)
		}
	}
	inState := func(want byte) func() bool {
		return func() bool {
			state, _, err := status(fmt.Sprintf("/proc/%d/status", r.pid))
			return err == nil && state == want && (want == 't' || !r.traced(t))
		}
	}
	send(syscall.SIGSTOP)
	eventually(t, "stopped by the signal", inState('T'))
	for range 3 {
		s := stop(t, r.pid)
		eventually(t, "stopped by us", inState('t'))
		release(t, s)
		eventually(t, "still stopped by the signal", inState('T'))
		r.stands(t)
	}
	s := stop(t, r.pid)
	send(syscall.SIGCONT)
	r.stands(t)
	release(t, s)
	r.goesOn(t)

	s = stop(t, r.pid)
	send(syscall.SIGSTOP)
	r.stands(t)
	release(t, s)
	eventually(t, "stopped by the signal", inState('T'))
	r.stands(t)
	send(syscall.SIGCONT)
	r.goesOn(t)
}

// TestSignals holds that no signal is lost that comes before or during a stop.
func TestSignals(t *testing.T) {
	r := run(t)
	ended := make(chan struct{})
	stops := make(chan int, 1)
	go func() {
		n := 0
		defer func() { stops <- n }()
		for {
			select {
			case <-ended:
				return
			default:
			}
			s, err := Stop(t.Context(), r.pid, patient)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Release(); err != nil {
				t.Error(err)
			}
			n++
		}
	}()
	for i := range uint64(300) {
		if err := syscall.Kill(r.pid, syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the target takes a signal", func() bool { return r.Signals.Load() == i+1 })
	}
	close(ended)
	t.Logf("300 signals, %d stops", <-stops)
	r.goesOn(t)
}

// TestGone ends the target in the middle of a stop.
func TestGone(t *testing.T) {
	r := run(t)
	s := stop(t, r.pid)
	if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the target ends", func() bool {
		state, _, err := status(fmt.Sprintf("/proc/%d/status", r.pid))
		return err != nil || state == 'Z'
	})
	if _, err := s.Release(); !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
	select {
	case err := <-r.ended: // its parent learns of it
		r.ended <- err
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("the target ended by %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("its parent does not learn that the target has ended")
	}
	if _, err := Stop(t.Context(), r.pid, patient); !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
}

// TestMainThreadGone stops a process whose first thread has ended.
func TestMainThreadGone(t *testing.T) {
	r := run(t, "LEAKSCOPE_TEST_HEADLESS=1")
	eventually(t, "the first thread ends", func() bool {
		state, _, err := status(fmt.Sprintf("/proc/%d/task/%d/status", r.pid, r.pid))
		return err == nil && state == 'Z'
	})
	s, err := Stop(t.Context(), r.pid, patient)
	if err != nil {
		t.Fatal(err)
	}
	r.stands(t)
	release(t, s)
	r.goesOn(t)
}

// TestDenied has a user without rights try it.
func TestDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	r := run(t)
	const nobody = 65534
	_, says := another(t, r, patient, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
	if line := says(); !strings.Contains(line, ErrDenied.Error()) {
		t.Errorf("%q", line)
	}
	r.goesOn(t)
	if _, err := Stop(t.Context(), os.Getpid(), patient); !errors.Is(err, ErrDenied) {
		t.Errorf("a stop of itself: %v", err)
	}
	if _, err := Stop(t.Context(), 1<<22, patient); !errors.Is(err, ErrGone) {
		t.Errorf("a stop of nothing: %v", err)
	}
}
