package proc

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

const jvmThreads = 24

// jvmProgram has known threads, and threads that use malloc.
const jvmProgram = `import java.nio.ByteBuffer;
public class Sleepers {
    static volatile Object keep;
    public static void main(String[] args) throws Exception {
        ByteBuffer[] buffers = new ByteBuffer[16];
        for (int i = 0; i < buffers.length; i++) {
            buffers[i] = ByteBuffer.allocateDirect(1 << 20);
            for (int at = 0; at < buffers[i].capacity(); at += 1024) buffers[i].put(at, (byte) 1);
        }
        keep = buffers;
        java.util.concurrent.CountDownLatch started = new java.util.concurrent.CountDownLatch(THREADS);
        for (int i = 0; i < THREADS; i++) {
            Thread t = new Thread(() -> {
                started.countDown();
                try { Thread.sleep(Long.MAX_VALUE); } catch (InterruptedException e) { }
            });
            t.setDaemon(true);
            t.start();
        }
        started.await();
        System.out.println("ready");
        System.in.read();
    }
}
`

// jdks returns the java commands of the machine, one of each release.
func jdks(t *testing.T) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a JDK: left out under -short")
	}
	all, err := filepath.Glob("/usr/lib/jvm/*/bin/javac")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var out []string
	for _, javac := range all {
		home, err := filepath.EvalSymlinks(filepath.Dir(filepath.Dir(javac)))
		if err == nil && !seen[home] {
			seen[home] = true
			out = append(out, filepath.Join(home, "bin/java"))
		}
	}
	if len(out) == 0 {
		t.Fatal("no JDK in /usr/lib/jvm: install openjdk-17-jdk-headless, or run go test -short")
	}
	return out
}

func TestMappingsOfAJVM(t *testing.T) {
	for _, java := range jdks(t) {
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(java))), func(t *testing.T) {
			pid, heap := startJVM(t, java)
			f := NewFS("")
			target, err := f.Target(pid, TargetOptions{})
			if err != nil || target.Runtime != snapshot.RuntimeHotSpot || target.Name != "Sleepers" {
				t.Errorf("%+v %v", target, err)
			}
			stop(t, pid)
			mappings := checkSums(t, pid, func() ([]snapshot.Mapping, error) { return f.Mappings(pid, heap) })
			rows, rss, size := map[snapshot.MappingKind]int{}, map[snapshot.MappingKind]int64{}, map[snapshot.MappingKind]int64{}
			for _, m := range mappings {
				rows[m.Kind]++
				rss[m.Kind] += m.RSSBytes.Or(0)
				size[m.Kind] += int64(m.End - m.Start)
			}
			t.Logf("rss by kind: %v", rss)
			if want := int64(heap.End - heap.Start); size[snapshot.MappingJavaHeap] != want || rss[snapshot.MappingJavaHeap] == 0 {
				t.Errorf("Java heap: %d bytes mapped, want %d", size[snapshot.MappingJavaHeap], want)
			}
			for _, kind := range []snapshot.MappingKind{
				snapshot.MappingCode, snapshot.MappingLibrary, snapshot.MappingMetaspace, snapshot.MappingMallocArena,
				snapshot.MappingThreadStack, snapshot.MappingMainStack, snapshot.MappingFile,
			} {
				if rss[kind] == 0 {
					t.Errorf("no resident memory of kind %s", kind)
				}
			}
			if got := rss[snapshot.MappingAnonymous]; got < 16<<20 {
				t.Errorf("anonymous memory is %d bytes, the direct buffers alone are 16 MiB", got)
			}
			if size[snapshot.MappingMallocArena]%arenaBytes != 0 {
				t.Errorf("arenas of %d bytes are no multiple of 64 MiB", size[snapshot.MappingMallocArena])
			}
			checkStacks(t, f, pid, mappings)
		})
	}
}

// checkStacks checks that each thread's stack pointer lies in a stack.
func checkStacks(t *testing.T, f FS, pid int, mappings []snapshot.Mapping) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(tasks) < jvmThreads {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	pointers := f.stackPointers(pid, len(mappings))
	if len(pointers.sorted) == 0 {
		t.Log("this kernel does not tell stack pointers")
	}
	for _, sp := range pointers.sorted {
		for _, m := range mappings {
			if uint64(m.Start) <= sp && sp < uint64(m.End) && m.Kind != snapshot.MappingThreadStack && m.Kind != snapshot.MappingMainStack {
				t.Errorf("a thread's stack pointer %#x lies in a mapping of kind %s: %+v", sp, m.Kind, m)
			}
		}
	}
	// Stacks are separate mappings above their guards, or merged ones, so
	// count bytes: HotSpot's own threads have 1 MiB each by default.
	var bytes int64
	for _, m := range mappings {
		if m.Kind == snapshot.MappingThreadStack {
			bytes += int64(m.End - m.Start)
		}
	}
	if low, high := int64(len(tasks)-1)*(512<<10), int64(len(tasks)+8)*(9<<20); bytes < low || bytes > high {
		t.Errorf("stacks of %d bytes for %d threads", bytes, len(tasks))
	}
}

// startJVM starts the program and returns its pid and where its heap is.
func startJVM(t *testing.T, java string) (int, Range) {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "Sleepers.java")
	if err := os.WriteFile(source, []byte(strings.ReplaceAll(jvmProgram, "THREADS", strconv.Itoa(jvmThreads))), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(filepath.Dir(java), "javac"), "-encoding", "UTF-8", "-d", dir, source).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v: %s", err, out)
	}
	cmd := exec.Command(java, "-Xmx64m", "-XX:+UseSerialGC", "-Xlog:gc+heap+coops=debug", "-cp", dir, "Sleepers", "argument")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	heap := Range{Kind: snapshot.MappingJavaHeap}
	at := regexp.MustCompile(`Heap address: 0x([0-9a-f]+), size: (\d+) MB`)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if m := at.FindStringSubmatch(lines.Text()); m != nil {
			start, err := strconv.ParseUint(m[1], 16, 64)
			size, err2 := strconv.ParseUint(m[2], 10, 32)
			if err != nil || err2 != nil {
				t.Fatalf("%q: %v %v", lines.Text(), err, err2)
			}
			heap.Start, heap.End = start, start+size<<20
		}
		if lines.Text() == "ready" {
			if heap.Start == 0 {
				t.Fatal("the JVM did not say where its heap is")
			}
			return cmd.Process.Pid, heap
		}
	}
	t.Fatal("the JVM ended early")
	return 0, heap
}
