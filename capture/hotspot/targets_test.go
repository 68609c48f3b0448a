package hotspot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/internal/scenario"
)

// idle is a Go process that may have a file mapped and lives as long as its
// standard input. A SIGQUIT would end it.
func idle() {
	if name := os.Getenv("LEAKSCOPE_TEST_MAP"); name != "" {
		f, err := os.Open(name)
		if err == nil {
			_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
		}
		if err != nil {
			_, _ = os.Stdout.WriteString(err.Error() + "\n")
			return
		}
	}
	_, _ = os.Stdout.WriteString("READY\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// captureForever dumps a heap, reads the first MiB and no more.
func captureForever() {
	pid, _ := strconv.Atoi(os.Getenv("LEAKSCOPE_TEST_PID"))
	feature, _ := strconv.Atoi(os.Getenv("LEAKSCOPE_TEST_FEATURE"))
	j, err := Open(pid)
	if err == nil {
		_, err = j.DumpHeap(context.Background(), DumpOptions{Feature: feature, UsedBytes: 128 << 20}, func(_ context.Context, s DumpStream) error {
			r := s.Main
			if len(s.Segments) > 0 {
				r = s.Segments[0]
				go func() { _, _ = io.Copy(io.Discard, s.Main) }()
			}
			_, err := io.CopyN(io.Discard, r, 1<<20)
			_, _ = fmt.Fprintf(os.Stdout, "DUMPING %v\n", err)
			select {}
		})
	}
	_, _ = fmt.Fprintf(os.Stdout, "ended: %v\n", err)
}

// TestDumpKilled kills leakscope in the middle of a dump: the JVM goes on, and
// nothing is left.
func TestDumpKilled(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			tg := startTarget(t, home, 128)
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{mode + "=capture", "LEAKSCOPE_TEST_PID=" + strconv.Itoa(tg.pid), "LEAKSCOPE_TEST_FEATURE=" + feature}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if line != "DUMPING <nil>\n" || len(watchdogs(t, tg.pid)) != 1 {
				t.Errorf("%q, %v, watchdogs %v", line, err, watchdogs(t, tg.pid))
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait()
			tg.goesOn(t)
			tg.leavesNothing(t)
			if _, err := open(t, tg.pid).Facts(t.Context()); err != nil {
				t.Errorf("the JVM does not answer any more: %v", err)
			}
		})
	}
}

// TestDumpConsumerFails ends a dump because its reader cannot go on.
func TestDumpConsumerFails(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			tg := startTarget(t, home, 64)
			number, _ := strconv.Atoi(feature)
			failure := errors.New("reader gives up")
			_, err := open(t, tg.pid).DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 64 << 20}, func(context.Context, DumpStream) error { return failure })
			if !errors.Is(err, failure) {
				t.Errorf("error %v", err)
			}
			tg.goesOn(t)
			tg.leavesNothing(t)
		})
	}
}

// TestDumpTargetEnds kills the JVM in the middle of its dump.
func TestDumpTargetEnds(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			cmd := javaCommand(t, home, 128)
			cmd.Dir = t.TempDir()
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close() }()
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "READY\n" {
				t.Fatal(line, err)
			}
			number, _ := strconv.Atoi(feature)
			// A FIFO holds the JVM back until it is read; a file does not.
			_, err = open(t, cmd.Process.Pid).DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 128 << 20}, func(_ context.Context, s DumpStream) error {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				return readAll(s)
			})
			if !errors.Is(err, ErrGone) {
				t.Errorf("error %v, want ErrGone", err)
			}
			left, _ := filepath.Glob(filepath.Join(cmd.Dir, ".leakscope*"))
			if len(left)+len(watchdogs(t, cmd.Process.Pid)) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// readAll reads all streams of a dump at once.
func readAll(s DumpStream) error {
	results := make(chan error)
	streams := append([]io.Reader{s.Main}, s.Segments...)
	for _, r := range streams {
		go func() {
			_, err := io.Copy(io.Discard, r)
			results <- err
		}()
	}
	var all error
	for range streams {
		all = errors.Join(all, <-results)
	}
	return all
}

// TestCollectors reads the heap of every collector there is.
func TestCollectors(t *testing.T) {
	for feature, home := range jdks(t) {
		for _, c := range collectors {
			if c.name == "CMS" || c.name == "Epsilon" {
				continue
			}
			t.Run("jdk"+feature+"/"+c.name, func(t *testing.T) {
				if out, err := exec.Command(filepath.Join(home, "bin/java"), "-XX:+"+c.flag, "-version").CombinedOutput(); err != nil {
					t.Skipf("this JDK is built without it: %s", out)
				}
				f, err := open(t, startTarget(t, home, 16, "-XX:+"+c.flag).pid).Facts(t.Context())
				if err != nil || f.Missing != nil {
					t.Fatal(err, f)
				}
				used, committed := f.JVM.HeapUsedBytes.Or(0), f.JVM.HeapCommittedBytes.Or(0)
				if f.JVM.Collector != c.name || used < 16<<20 || used > committed || committed > 512<<20 {
					t.Errorf("%s: %d used, %d committed", f.JVM.Collector, used, committed)
				}
				var ranged uint64
				for _, r := range f.Heap {
					ranged += r.End - r.Start
				}
				if want := map[bool]uint64{false: 512 << 20, true: 0}[c.name == "Z" || c.name == "Shenandoah"]; c.name != "Shenandoah" && ranged != want {
					t.Errorf("ranges %x: %d bytes, want %d", f.Heap, ranged, want)
				}
				if f.NMT == nil || len(f.JVM.NMT) > 0 {
					t.Error("native memory tracking is on without a flag")
				}
			})
		}
	}
}

// TestQuietJVMs attaches to JVMs that publish less, or no signal.
func TestQuietJVMs(t *testing.T) {
	for feature, home := range jdks(t) {
		for _, flags := range [][]string{{"-Xrs"}, {"-XX:-UsePerfData"}, {"-XX:+PerfDisableSharedMem"}} {
			t.Run("jdk"+feature+flags[0], func(t *testing.T) {
				tg := startTarget(t, home, 8, flags...)
				j := open(t, tg.pid)
				if f, err := j.Facts(t.Context()); err != nil || f.Missing != nil {
					t.Fatal(err)
				}
				number, _ := strconv.Atoi(feature)
				report, err := j.DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 8 << 20, Live: true}, func(_ context.Context, s DumpStream) error { return readAll(s) })
				if err != nil || !report.Pause.IsKnown() || report.PauseSource == "" {
					t.Errorf("%+v, %v", report, err)
				}
				tg.leavesNothing(t)
				if _, others := tg.output.counts(); others > 0 {
					t.Error("the target printed something")
				}
			})
		}
	}
}

// TestDisabled holds that a JVM without the attach mechanism gets no signal,
// which would print a thread dump.
func TestDisabled(t *testing.T) {
	for feature, home := range jdks(t) {
		for _, more := range []string{"-XX:+UsePerfData", "-XX:-UsePerfData"} {
			t.Run("jdk"+feature+more, func(t *testing.T) {
				tg := startTarget(t, home, 8, "-XX:+DisableAttachMechanism", more)
				if _, err := open(t, tg.pid).Facts(t.Context()); !errors.Is(err, ErrDisabled) {
					t.Errorf("error %v, want ErrDisabled", err)
				}
				tg.goesOn(t)
				if _, others := tg.output.counts(); others > 0 {
					t.Error("the target printed a thread dump")
				}
				tg.leavesNothing(t)
			})
		}
	}
}

// TestStopped asks a JVM that is stopped, before and after it has a socket.
func TestStopped(t *testing.T) {
	tg := startTarget(t, scenario.Required(t).Home, 8)
	stop := func(signal syscall.Signal) {
		if err := syscall.Kill(tg.pid, signal); err != nil {
			t.Fatal(err)
		}
	}
	for _, socket := range []bool{false, true} {
		stop(syscall.SIGSTOP)
		for p := (process{pid: tg.pid}); !p.stopped; time.Sleep(time.Millisecond) {
			if err := p.readStatus(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := open(t, tg.pid).Facts(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("socket %v: error %v, want ErrStopped", socket, err)
		}
		if left := leftovers(t, tg.pid); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := open(t, tg.pid).Facts(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrStopped) {
			t.Errorf("socket %v: error %v, want context.Canceled", socket, err)
		}
		stop(syscall.SIGCONT)
		tg.goesOn(t)
		if _, err := open(t, tg.pid).Facts(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestStoppedInDump stops the JVM in the middle of a dump.
func TestStoppedInDump(t *testing.T) {
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			tg := startTarget(t, home, 128)
			number, _ := strconv.Atoi(feature)
			_, err := open(t, tg.pid).DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 128 << 20}, func(_ context.Context, s DumpStream) error {
				_ = syscall.Kill(tg.pid, syscall.SIGSTOP)
				return readAll(s)
			})
			_ = syscall.Kill(tg.pid, syscall.SIGCONT)
			if !errors.Is(err, ErrStopped) {
				t.Errorf("error %v, want ErrStopped", err)
			}
			tg.goesOn(t)
			tg.leavesNothing(t)
		})
	}
}

// runIdle starts a process that is no JVM and checks at the end that it lives.
func runIdle(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	return run(t, cmd).pid // fails the test when it ends otherwise than by its input's end
}

// TestOthersAreNotSignalled holds that a process that is no JVM gets no signal.
func TestOthersAreNotSignalled(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libjvm.so")
	if err := os.WriteFile(library, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	goProcess := func(env ...string) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(env, mode+"=idle")
		return cmd
	}
	for name, cmd := range map[string]*exec.Cmd{
		"go":                        goProcess(),
		"go with the library":       goProcess("LEAKSCOPE_TEST_MAP=" + library),
		"shell":                     exec.Command("sh", "-c", "echo READY; read x; exit 0"),
		"shell that catches":        exec.Command("sh", "-c", "trap 'exit 9' QUIT; echo READY; read x; exit 0"),
		"process in another folder": exec.Command("sh", "-c", "cd /; echo READY; read x; exit 0"),
	} {
		t.Run(name, func(t *testing.T) {
			pid := runIdle(t, cmd)
			j, err := Open(pid)
			if err == nil {
				_, err = j.Facts(t.Context())
				j.Close()
			}
			if !errors.Is(err, ErrNotJVM) {
				t.Errorf("error %v, want ErrNotJVM", err)
			}
			if left := leftovers(t, pid); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if _, err := Open(1 << 22); !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts targets of other users and in other namespaces")
	}
}

const nobody = 65534

// TestOtherUser attaches to a JVM of another user, whose working directory is
// not its own, also as that user.
func TestOtherUser(t *testing.T) {
	needRoot(t)
	for feature, home := range jdks(t) {
		t.Run("jdk"+feature, func(t *testing.T) {
			cmd := javaCommand(t, home, 8)
			cmd.Dir = "/"
			if (scenario.JDK{Home: home}).OwnRoot() {
				cmd.Env = append(os.Environ(), fmt.Sprintf("LEAKSCOPE_JDK_USER=%d:%d", nobody, nobody))
			} else {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
			tg := run(t, cmd)
			j := open(t, tg.pid)
			for _, asTarget := range []bool{false, true} { // as JDK 8 wants it
				j.asTarget = asTarget
				if f, err := j.Facts(t.Context()); err != nil || f.Missing != nil {
					t.Fatalf("as target %v: %v", asTarget, err)
				}
			}
			if syscall.Geteuid() != 0 {
				t.Fatal("the process has another user now")
			}
			number, _ := strconv.Atoi(feature)
			options := DumpOptions{Feature: number, UsedBytes: 8 << 20}
			consume := func(_ context.Context, s DumpStream) error { return readAll(s) }
			if _, err := j.DumpHeap(t.Context(), options, consume); err != nil {
				t.Error(err)
			}
			options.Directory = t.TempDir() // root's
			if (scenario.JDK{Home: home}).OwnRoot() {
				options.Directory = "/host" + options.Directory
			}
			if _, err := j.DumpHeap(t.Context(), options, consume); !errors.Is(err, ErrDenied) {
				t.Errorf("error %v, want ErrDenied", err)
			}
			options.Directory = "/var/nothing"
			if _, err := j.DumpHeap(t.Context(), options, consume); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v, want fs.ErrNotExist", err)
			}
			tg.goesOn(t)
			tg.leavesNothing(t)
		})
	}
}

// TestOtherRoot attaches to a JVM with its own pids and mounts, in a root of its
// own whose /tmp is a link: an absolute one, which here leads elsewhere.
func TestOtherRoot(t *testing.T) {
	needRoot(t)
	const script = `set -e
mount --make-rprivate /
mount -t tmpfs none /tmp
R=/tmp/r
mkdir -p $R/usr $R/etc $R/var $R/proc $R/dev $R/elsewhere
for d in usr etc var dev; do mount --rbind /$d $R/$d; done
mount -t proc proc $R/proc
chmod 1777 $R/elsewhere
ln -s /elsewhere $R/tmp
for l in bin lib lib64 sbin; do ln -s usr/$l $R/$l; done
exec chroot $R "$@"`
	for feature, home := range jdks(t) {
		if (scenario.JDK{Home: home}).OwnRoot() {
			continue // every test of this package runs it in another root
		}
		t.Run("jdk"+feature, func(t *testing.T) {
			java := javaCommand(t, home, 8)
			cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, java.Args...)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
			tg := run(t, cmd)
			j := open(t, tg.pid)
			if j.process.nspid != 1 {
				t.Errorf("pid %d in its namespace, want 1", j.process.nspid)
			}
			f, err := j.Facts(t.Context())
			if err != nil || f.Missing != nil {
				t.Fatal(err, f)
			}
			if !f.JVM.Collections.IsKnown() {
				t.Error("hsperfdata was not found")
			}
			number, _ := strconv.Atoi(feature)
			for _, directory := range []string{"", "/tmp", "/elsewhere"} {
				_, err := j.DumpHeap(t.Context(), DumpOptions{Feature: number, UsedBytes: 8 << 20, Directory: directory}, func(_ context.Context, s DumpStream) error { return readAll(s) })
				if err != nil {
					t.Errorf("directory %q: %v", directory, err)
				}
			}
			if _, err := os.Lstat("/elsewhere"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the target's link was followed out of its root")
			}
			tg.goesOn(t)
			tg.leavesNothing(t)
		})
	}
}

// TestForeignSocket holds that a socket that somebody else put into /tmp is not
// talked to.
func TestForeignSocket(t *testing.T) {
	needRoot(t)
	cmd := javaCommand(t, scenario.Required(t).Home, 8)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = "/"
	tg := run(t, cmd)
	path := "/tmp/.java_pid" + strconv.Itoa(tg.pid)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, tg.pid).Facts(t.Context()); !errors.Is(err, ErrDenied) {
		t.Errorf("error %v, want ErrDenied", err)
	}
	// One of the target's own that nobody listens on any more is as none.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	if err := os.Lchown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, tg.pid).Facts(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDumpErrors has the JVM fail.
func TestDumpErrors(t *testing.T) {
	needRoot(t)
	tg := startTarget(t, scenario.Required(t).Home, 64)
	small := t.TempDir()
	if err := unix.Mount("none", small, "tmpfs", 0, "size=70m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	j := open(t, tg.pid)
	consume := func(_ context.Context, s DumpStream) error { return readAll(s) }
	var space *SpaceError
	if _, err := j.DumpHeap(t.Context(), DumpOptions{Feature: 17, UsedBytes: 64 << 20, Directory: small}, consume); !errors.As(err, &space) {
		t.Errorf("error %v, want a SpaceError", err)
	} else if space.FreeBytes > 70<<20 || space.NeedBytes < 64<<20 {
		t.Errorf("%+v", space)
	}
	// As if the heap had grown since: read whole, so that no hole makes room.
	if err := os.WriteFile(filepath.Join(small, "ballast"), make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	at, err := j.process.directory(small)
	if err != nil {
		t.Fatal(err)
	}
	defer at.close()
	for _, want := range []syscall.Errno{syscall.ENOSPC, syscall.EEXIST} {
		name := "x.hprof"
		if want == syscall.EEXIST {
			name = "ballast"
		}
		if want == syscall.ENOSPC {
			if err := os.WriteFile(filepath.Join(small, "more"), make([]byte, 60<<20), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := j.dumpThroughFile(t.Context(), place{at, name, filepath.Join(small, name)}, DumpOptions{}, true, consume)
		if !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	tg.goesOn(t)
	if left, _ := filepath.Glob(filepath.Join(small, "x.hprof")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, bad := range []string{"relative", "/with\"quote"} {
		if _, err := j.DumpHeap(t.Context(), DumpOptions{Feature: 17, Directory: bad}, consume); err == nil {
			t.Errorf("directory %q is no error", bad)
		}
	}
}
