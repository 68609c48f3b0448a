package hotspot

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/snapshot"
)

func reply(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/replies", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newJVM() *snapshot.JVM {
	return &snapshot.JVM{Flags: map[string]string{}, Properties: map[string]string{}}
}

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		jdk, version string
		feature      int
	}{
		{"jdk8", "25.402-b06", 8},
		{"jdk11", "11.0.22+7-post-Debian-1deb11u1", 11},
		{"jdk17", "17.0.15+6-Debian-1deb12u1", 17},
		{"jdk21", "21.0.2+13-LTS", 21},
		{"jdk25", "25.0.3+9-LTS", 25},
	} {
		jvm := newJVM()
		parseVersion(reply(t, c.jdk+"-version.txt"), jvm)
		if jvm.Name != "OpenJDK 64-Bit Server VM" || jvm.Version != c.version || jvm.Feature.Or(0) != c.feature {
			t.Errorf("%s: %q %q %v", c.jdk, jvm.Name, jvm.Version, jvm.Feature)
		}
	}
	for text, want := range map[string]int{"x version 27-ea+1\nJDK 27\n": 27, "x version 1\nJDK x\n": 0, "": 0} {
		jvm := newJVM()
		parseVersion(text, jvm)
		if jvm.Feature.Or(0) != want {
			t.Errorf("%q: feature %v, want %d", text, jvm.Feature, want)
		}
	}
}

func TestParseFlags(t *testing.T) {
	for _, c := range []struct {
		jdk, collector, nmt string
		maxHeap, maxDirect  int64
	}{
		{"jdk8", "Parallel", "summary", 4206886912, 104857600},
		{"jdk17", "G1", "summary", 512 << 20, 512 << 20}, // 0 stands for the heap's
		{"jdk25", "G1", "summary", 512 << 20, 512 << 20},
	} {
		jvm := newJVM()
		if err := parseFlags(reply(t, c.jdk+"-flags.txt"), jvm); err != nil {
			t.Fatal(err)
		}
		if jvm.Collector != c.collector || jvm.NativeMemoryTracking != c.nmt || jvm.MaxHeapBytes.Or(0) != c.maxHeap || jvm.MaxDirectMemoryBytes.Or(0) != c.maxDirect {
			t.Errorf("%s: %+v", c.jdk, jvm)
		}
		for name := range jvm.Flags {
			if !flagsKept[name] {
				t.Errorf("%s: flag %s is kept", c.jdk, name)
			}
		}
	}
	if err := parseFlags("java.lang.OutOfMemoryError\n", newJVM()); err == nil {
		t.Error("a reply without flags is no error")
	}
}

func TestParseHeapInfo(t *testing.T) {
	for _, c := range []struct {
		jdk                        string
		used, committed, metaspace int64 // KiB
		ranges                     []Range
	}{
		{"jdk8", 6272, 251392, 2671, []Range{{0x76b100000, 0x7c0000000}, {0x6c1200000, 0x76b100000}}},
		{"jdk11", 3072, 256000, 7142, []Range{{0x705800000, 0x800000000}}},
		{"jdk17", 81532, 389120, 234, []Range{{0xe0000000, 0x100000000}}},
		{"jdk21", 46 << 10, 256 << 10, 8211, nil},
		{"jdk25", 81230, 389120, 0, []Range{{0xe0000000, 0x100000000}}},
	} {
		jvm := newJVM()
		ranges, err := parseHeapInfo(reply(t, c.jdk+"-heap_info.txt"), jvm)
		if err != nil {
			t.Fatal(err)
		}
		if jvm.HeapUsedBytes.Or(0) != c.used<<10 || jvm.HeapCommittedBytes.Or(0) != c.committed<<10 || jvm.MetaspaceUsedBytes.Or(0) != c.metaspace<<10 {
			t.Errorf("%s: used %v, committed %v, metaspace %v", c.jdk, jvm.HeapUsedBytes, jvm.HeapCommittedBytes, jvm.MetaspaceUsedBytes)
		}
		if diff := cmp.Diff(c.ranges, ranges); diff != "" {
			t.Errorf("%s: ranges (-want +got):\n%s", c.jdk, diff)
		}
	}
}

func TestParseNMT(t *testing.T) {
	for _, c := range []struct {
		jdk, category    string
		committed, total int64 // KiB
		categories       int
	}{
		{"jdk8", "Internal", 109412, 364445, 4},
		{"jdk17", "Other", 400, 465310, 19},
		{"jdk25", "Other", 400, 460768, 22},
	} {
		jvm := newJVM()
		if err := parseNMT(reply(t, c.jdk+"-native_memory.txt"), jvm); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, n := range jvm.NMT {
			got[n.Name] = n.CommittedBytes
		}
		if len(got) != c.categories || got[c.category] != c.committed<<10 || got["Total"] != c.total<<10 {
			t.Errorf("%s: %v", c.jdk, got)
		}
	}
	if err := parseNMT("Native memory tracking is not enabled\n", newJVM()); err == nil {
		t.Error("native memory tracking that is off is no error")
	}
}

func TestParseProperties(t *testing.T) {
	jvm := newJVM()
	text := "#Mon Nov 23 13:10:26 UTC 2026\njava.class.path=a.jar\\:b.jar\npassword=hunter2\n" +
		"io.netty.leak\\:x=1\nio.netty.tmpdir=/a\\:b\\\\c\nio.nettyx=1\njdk.nio.maxCachedBufferSize=262144\nio.netty.long=" + strings.Repeat("x", 300) + "\n"
	if err := parseProperties(text, jvm); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"io.netty.tmpdir": `/a:b\c`, "io.netty.leak\\:x": "1", "jdk.nio.maxCachedBufferSize": "262144"}
	if diff := cmp.Diff(want, jvm.Properties); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeReply(t *testing.T) {
	for _, c := range []struct {
		reply, text, err string
	}{
		{"0\nhello\nthere\n", "hello\nthere\n", ""},
		{"0\n", "", ""},
		{"", "", "without a reply"},
		{"0", "", "want a status"},
		{"x\n", "", "want a status"},
		{"101\nOperation bogus not recognized!\n", "", `"Operation bogus not recognized!" (status 101)`},
		{"0\njava.lang.IllegalArgumentException: Unknown diagnostic command\n", "", "Unknown diagnostic command"},
		{"99999999999999999999\n", "", "want a status"},
	} {
		text, err := decodeReply([]byte(c.reply))
		if text != c.text || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %q, %v", c.reply, text, err)
		}
	}
}

// TestDumped holds that a dump is there only when the JVM says so.
func TestDumped(t *testing.T) {
	anyError := errors.New("any")
	for text, want := range map[string]error{
		"Heap dump file created\n": nil, // 8, 11
		"Dumping heap to /x ...\nHeap dump file created [12345 bytes in 0.123 secs]\n": nil,
		"Dumping heap to /x ...\nUnable to create /x: File exists\n":                   fs.ErrExist,
		"Dumping heap to /n/x ...\nUnable to create /n/x: No such file or directory\n": fs.ErrNotExist,
		"Dumping heap to /x ...\nUnable to create /x: Permission denied\n":             fs.ErrPermission,
		"Dumping heap to /x ...\nDump file is incomplete: No space left on device\n":   syscall.ENOSPC,
		"Dumping heap to /x ...\nDump file is incomplete: Broken pipe\n":               syscall.EPIPE,
		"Dumping heap to /x ...\nDump file is incomplete: file size limit\n":           anyError,
		"": anyError,
	} {
		err := dumped(text)
		var command *CommandError
		switch {
		case want == nil && err != nil, want != nil && !errors.As(err, &command):
			t.Errorf("%q: %v", text, err)
		case want != nil && !errors.Is(want, anyError) && !errors.Is(err, want):
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestEncodeRequest(t *testing.T) {
	got, err := encodeRequest("jcmd", []string{"VM.version"})
	if err != nil || string(got) != "1\x00jcmd\x00VM.version\x00\x00\x00" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range [][]string{{"a", "b", "c", "d"}, {strings.Repeat("x", maxArgument+1)}, {"a\x00b"}} {
		if _, err := encodeRequest("jcmd", bad); err == nil {
			t.Errorf("%.20q is no error", bad)
		}
	}
}

// perfEntry is one counter of an hsperfdata file.
func perfEntry(order binary.ByteOrder, name string, kind byte, value []byte) []byte {
	const header = 20
	vector := 0
	if kind == perfByte {
		vector = len(value)
	}
	at := (header + len(name) + 1 + 7) &^ 7
	e := make([]byte, (at+len(value)+7)&^7)
	order.PutUint32(e, uint32(len(e)))
	order.PutUint32(e[4:], header)
	order.PutUint32(e[8:], uint32(vector))
	e[12] = kind
	order.PutUint32(e[16:], uint32(at))
	copy(e[header:], name)
	copy(e[at:], value)
	return e
}

// perfFile is an hsperfdata file with the counters this package reads.
func perfFile(order binary.ByteOrder) []byte {
	long := func(n uint64) []byte { b := make([]byte, 8); order.PutUint64(b, n); return b }
	entries := [][]byte{
		perfEntry(order, "sun.rt.jvmCapabilities", perfByte, []byte("0100000000\x00")),
		perfEntry(order, "sun.rt.safepointTime", perfLong, long(1_500_000_000)),
		perfEntry(order, "sun.os.hrt.frequency", perfLong, long(1_000_000_000)),
		perfEntry(order, "sun.gc.collector.0.invocations", perfLong, long(7)),
		perfEntry(order, "sun.gc.collector.1.invocations", perfLong, long(2)),
	}
	b := make([]byte, 32)
	binary.BigEndian.PutUint32(b, perfMagic)
	if order == binary.ByteOrder(binary.LittleEndian) {
		b[4] = 1
	}
	b[5] = 2
	order.PutUint32(b[24:], 32)
	order.PutUint32(b[28:], uint32(len(entries)))
	for _, e := range entries {
		b = append(b, e...)
	}
	return b
}

func TestParsePerfData(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		file := perfFile(order)
		perf, err := parsePerfData(file)
		if err != nil {
			t.Fatal(err)
		}
		paused, ok := perf.pausedSeconds()
		collections, known := perf.collections()
		if !perf.attachDisabled() || paused != 1.5 || !ok || collections != 9 || !known {
			t.Errorf("%v: %+v", order, perf)
		}
		for cut := range len(file) { // as it is while a JVM starts
			_, _ = parsePerfData(file[:cut])
		}
		file[5] = 1
		if _, err := parsePerfData(file); err == nil {
			t.Error("version 1 is no error")
		}
	}
}

func FuzzParsePerfData(f *testing.F) {
	f.Add(perfFile(binary.LittleEndian))
	f.Add(perfFile(binary.BigEndian))
	f.Fuzz(func(t *testing.T, b []byte) {
		perf, err := parsePerfData(b)
		if err != nil {
			return
		}
		perf.attachDisabled()
		perf.collections()
		if paused, ok := perf.pausedSeconds(); ok && paused != paused {
			t.Error("paused for NaN seconds")
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	f.Add([]byte("0\nDumping heap to /x ...\nHeap dump file created [1 bytes in 0.1 secs]\n"))
	f.Add([]byte("101\nno\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := decodeReply(b)
		if err != nil && text != "" {
			t.Error("both a text and an error")
		}
		var command *CommandError
		if errors.As(err, &command) && len(command.Text) > 210 {
			t.Errorf("%d bytes of text", len(command.Text))
		}
		if err := dumped(string(b)); err != nil {
			_ = err.Error()
		}
	})
}

func FuzzParseFacts(f *testing.F) {
	names, err := filepath.Glob("testdata/replies/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatal(err, names)
	}
	for _, name := range names {
		f.Add(reply(f, filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		jvm := newJVM()
		parseVersion(text, jvm)
		_ = parseFlags(text, jvm)
		_ = parseProperties(text, jvm)
		ranges, _ := parseHeapInfo(text, jvm)
		_ = parseNMT(text, jvm)
		for _, r := range ranges {
			if r.Start >= r.End {
				t.Errorf("range %x", r)
			}
		}
		for name := range jvm.Flags {
			if !flagsKept[name] {
				t.Errorf("flag %q is kept", name)
			}
		}
		for name := range jvm.Properties {
			if !propertyKept(name) {
				t.Errorf("property %q is kept", name)
			}
		}
		if used, known := jvm.HeapUsedBytes.Get(); known && used < 0 {
			t.Errorf("%d bytes used", used)
		}
		for _, n := range jvm.NMT {
			if n.CommittedBytes < 0 || n.ReservedBytes < 0 {
				t.Errorf("%+v", n)
			}
		}
	})
}
