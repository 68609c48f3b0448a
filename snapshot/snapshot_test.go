package snapshot

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/pprof/profile"
)

// full is a snapshot with every section, and unknown values in each.
func full() *Snapshot {
	started := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	return &Snapshot{
		Manifest: Manifest{
			Schema: Schema, FormatVersion: FormatVersion,
			Tool: Tool{Name: "leakscope", Version: "1.2.3"},
			Target: Target{
				PID: 4242, NamespacePID: 1, StartTimeTicks: 123456, StartedAt: &started, BootID: "b", UID: Known(0),
				Name: "Collector", Executable: "java", CommandLine: []string{"java", "…"}, Redacted: true,
				Namespaces: map[string]uint64{"net": 4026531840}, Runtime: RuntimeHotSpot,
			},
			Clock:   Clock{Started: started, Finished: started.Add(time.Second), UptimeSeconds: Known(17.5)},
			Sources: []Source{{Name: SourceProc, Status: StatusOK, PauseSeconds: Known(0.0)}, {Name: SourceNMT, Status: StatusAbsent, Reason: "off", Hint: "-XX:NativeMemoryTracking=summary"}},
		},
		Memory:   &Memory{RSSBytes: Known[int64](1 << 30)},
		Mappings: []Mapping{{Start: 0x1000, End: 0x3000, Permissions: "rw-p", Kind: MappingAnonymous, RSSBytes: Known[int64](4096)}, {Start: 0x7fff00000000, End: 0x7fff00001000, Permissions: "r-xp", Kind: MappingLibrary, Name: "libjvm.so"}},
		FDs:      []FD{{Number: 5, Kind: "socket", Inode: 99}},
		Sockets: []Socket{{
			Protocol: TCP6, State: CloseWait, Local: netip.MustParseAddrPort("[::1]:9000"), Remote: netip.MustParseAddrPort("[::1]:40000"),
			Inode: 99, FDs: []int{5}, Timer: TimerNone, ReceiveQueueBytes: Known[int64](1),
		}},
		JVM: &JVM{Name: "OpenJDK 64-Bit Server VM", Version: "17", Feature: Known(17), Flags: map[string]string{}, Properties: map[string]string{"io.netty.allocator.type": "pooled"}, NMT: []NMTCategory{{Name: "Other", ReservedBytes: 2, CommittedBytes: 1}}},
		Heap: &Heap{
			Method: "heap-dump", Complete: true, Counters: []Counter{{Name: "java.nio.Bits.RESERVED_MEMORY", Value: Known[int64](8192)}},
			Checks: []Check{{Name: "c", Expected: 1, Actual: 1, OK: true}}, Warnings: []string{},
			Retainers: &Retainer{Allocations: 3, Bytes: 8256, Children: []*Retainer{
				{Step: "java.lang.Thread", Root: "thread", Objects: 1, Allocations: 2, Bytes: 8192, Children: []*Retainer{
					{Step: "a.Session.buffers", Objects: 1, Allocations: 1, Bytes: 4096},
				}},
				{Step: "a.Pool.chunk", Root: "several roots", Objects: 1, Allocations: 1, Bytes: 64},
			}},
			Holders:     []Holder{{Path: []string{"sun.nio.ch.SocketChannelImpl.keys", "a.Session.buffers"}, Root: "connection"}},
			Connections: []HeapConnection{{Class: "sun.nio.ch.SocketChannelImpl", Object: 0xf0000000, FD: Known(5), Closed: Known(false), Local: netip.MustParseAddrPort("[::1]:9000"), Remote: netip.MustParseAddrPort("[::1]:40000"), Evidence: map[string]int64{"SelectionKeyImpl.interestOps": 0}}},
			Allocations: []Allocation{
				{Address: 0x7f0000000000, Bytes: 4096, Kind: KindDirect, Fate: FateConnection, Holder: 0, Connection: 0},
				{Address: 0x7f0000100000, Bytes: 4096, Kind: KindDirect, Fate: FateConnection, Holder: 0, Connection: 0},
				{Address: 0x7f0000200000, Bytes: 64, Kind: KindPooled, Fate: FateLost, Remainder: true, Holder: -1, Connection: -1},
			},
		},
	}
}

func encode(t testing.TB, s *Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for name, s := range map[string]*Snapshot{"full": full(), "empty": {Manifest: Manifest{Schema: Schema, FormatVersion: FormatVersion, Sources: []Source{}}}} {
		t.Run(name, func(t *testing.T) {
			file := encode(t, s)
			if again := encode(t, s); !bytes.Equal(file, again) {
				t.Error("the same snapshot gave other bytes")
			}
			got, err := Read(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.IgnoreFields(Manifest{}, "Entries")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownIsNull(t *testing.T) {
	text, err := json.Marshal(full().Memory)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"rss_bytes":1073741824`) || !strings.Contains(string(text), `"swap_bytes":null`) {
		t.Errorf("memory is %s", text)
	}
}

// rewrite copies an archive, giving change each entry's bytes; nil drops it.
func rewrite(t testing.TB, file []byte, change func(name string, content []byte) []byte) []byte {
	t.Helper()
	zr, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	zw := zip.NewWriter(&out)
	for _, f := range zr.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		if content = change(f.Name, content); content == nil {
			continue
		}
		w, err := zw.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDamagedFiles(t *testing.T) {
	file := encode(t, full())
	replace := func(entry, old, with string) []byte {
		return rewrite(t, file, func(name string, content []byte) []byte {
			if name == entry {
				return bytes.Replace(content, []byte(old), []byte(with), 1)
			}
			return content
		})
	}
	retaining := func(change func(top *Retainer)) []byte {
		s := full()
		change(s.Heap.Retainers)
		return encode(t, s)
	}
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "not a complete snapshot archive"},
		{"text", []byte("hello"), "not a complete snapshot archive"},
		{"cut off", file[:len(file)*2/3], "cut off"},
		{"no manifest", rewrite(t, file, func(name string, c []byte) []byte {
			if name == entryManifest {
				return nil
			}
			return c
		}), "manifest.json: entry is missing"},
		{"missing entry", rewrite(t, file, func(name string, c []byte) []byte {
			if name == entrySockets {
				return nil
			}
			return c
		}), "sockets.ndjson: entry is missing"},
		{"changed bytes", replace(entrySockets, "CLOSE_WAIT", "ESTABLISHED"), "sockets.ndjson: digest"},
		{"changed profile", replace(entryHeapProfile, "\x1f", "\x1e"), "heap.pb.gz: digest"},
		{"later major version", replace(entryManifest, `"format_version": "1.0"`, `"format_version": "2.0"`), "unsupported format version 2.0"},
		{"version without sense", replace(entryManifest, `"format_version": "1.0"`, `"format_version": "new"`), "want major.minor"},
		{"a branch of retainers that is more than its stem", retaining(func(top *Retainer) { top.Children[0].Children[0].Bytes = 9999 }), "heap.json: retainers"},
		{"broken row", replace(entryAllocations, `"bytes":64`, `"bytes":x`), "allocations.ndjson line 3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.lscope")
			if err := os.WriteFile(path, test.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadFile(path)
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "x.lscope") {
				t.Errorf("error %v, want a FormatError that names the file and says %q", err, test.want)
			}
		})
	}
}

func TestLaterMinorVersionAndUnknownKeys(t *testing.T) {
	file := rewrite(t, encode(t, full()), func(name string, content []byte) []byte {
		if name == entryManifest {
			content = bytes.Replace(content, []byte(`"format_version": "1.0"`), []byte(`"format_version": "1.7", "later": {"x": 1}`), 1)
		}
		return content
	})
	if _, err := Read(bytes.NewReader(file), int64(len(file))); err != nil {
		t.Error(err)
	}
}

func TestIndexesAreChecked(t *testing.T) {
	for _, change := range []func(*Allocation){
		func(a *Allocation) { a.Holder = 7 },
		func(a *Allocation) { a.Holder = -2 },
		func(a *Allocation) { a.Connection = 1 },
		func(a *Allocation) { a.Bytes = -1 },
	} {
		s := full()
		change(&s.Heap.Allocations[1])
		file := encode(t, s)
		if _, err := Read(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), "allocations.ndjson line 2") {
			t.Errorf("allocation %+v: error %v", s.Heap.Allocations[1], err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.lscope")
	if err := WriteFile(path, full(), false); err != nil {
		t.Fatal(err)
	}
	var exists *ExistsError
	if err := WriteFile(path, full(), false); !errors.As(err, &exists) {
		t.Errorf("error %v, want ExistsError", err)
	}
	if err := WriteFile(path, full(), true); err != nil {
		t.Error(err)
	}
	failed := errors.New("no")
	other := filepath.Join(dir, "b.lscope")
	err := WriteFileAtomically(other, false, func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "c.lscope"), full(), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if err := WriteFile(os.DevNull, full(), true); err != nil {
		t.Errorf("to a device: %v", err)
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, p *profile.Profile) string {
		path := filepath.Join(dir, name)
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := profile.Parse(&b); err != nil {
			t.Fatal(err)
		}
		return path
	}
	heap, mmap := write(entryHeapProfile, full().HeapProfile()), write(entryMmapProfile, full().MmapProfile())
	pprof := func(args ...string) string {
		out, err := exec.Command("go", append([]string{"tool", "pprof"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("go tool pprof %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	tree := pprof("-top", "-cum", "-tagroot=fate,connection", "-unit=B", heap)
	for _, want := range []string{"8256B total", "8192B 99.22%  connection", "[::1]:9000 -> [::1]:40000", "64B  0.78%  lost"} {
		if !strings.Contains(tree, want) {
			t.Errorf("no %q in:\n%s", want, tree)
		}
	}
	if out := pprof("-top", "-sample_index=space", "-unit=B", mmap); !strings.Contains(out, "libjvm.so") || !strings.Contains(out, "12288B total") {
		t.Errorf("mmap profile:\n%s", out)
	}
}

func FuzzRead(f *testing.F) {
	file := encode(f, full())
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(rewrite(f, file, func(name string, c []byte) []byte { return c[:len(c)/2+1] }))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := Read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if err := Write(io.Discard, s); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// TestRetainedProfile holds the pprof view of the tree of retained sizes: a
// frame's cumulative value is what its step retains.
func TestRetainedProfile(t *testing.T) {
	p := full().RetainedProfile()
	if err := p.CheckValid(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Sample {
		var stack []string
		for _, l := range slices.Backward(s.Location) {
			stack = append(stack, l.Line[0].Function.Name)
		}
		got = append(got, fmt.Sprintf("%v %d %d", stack, s.Value[0], s.Value[1]))
	}
	slices.Sort(got)
	want := []string{
		"[[several roots] a.Pool.chunk] 1 64",
		"[[thread] java.lang.Thread a.Session.buffers] 1 4096",
		"[[thread] java.lang.Thread] 1 4096",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A tree with a hole, which no writer makes, is refused rather than followed.
func TestRetainersWithHole(t *testing.T) {
	in := &reader{}
	in.checkRetainers(&Retainer{Bytes: 10, Children: []*Retainer{nil}})
	if in.err == nil {
		t.Error("the hole was not seen")
	}
}
