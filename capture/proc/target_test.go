package proc

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/snapshot"
)

const hotspotCommand = "/opt/java/bin/java\x00-Xmx64m\x00-Dpassword=hunter2\x00-jar\x00/srv/secret-place/orders.jar\x00--user=bob\x00"

func TestTarget(t *testing.T) {
	f := tree(t, "hotspot.txtar", map[string]string{"42/cmdline": hotspotCommand})
	got, err := f.Target(42, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	started := time.Unix(1700000000, 0).Add(1234560 * time.Millisecond).UTC()
	want := snapshot.Target{
		PID: 42, NamespacePID: 1, StartTimeTicks: 123456, StartedAt: &started,
		BootID: "0d5e3c0a-1111-2222-3333-444455556666", UID: snapshot.Known(1001), GID: snapshot.Known(2001),
		Name: "orders.jar", Executable: "java",
		CommandLine: []string{"java", "-Xmx64m", "-Dpassword=<value>", "-jar", "orders.jar", "--user=<value>"},
		Redacted:    true,
		ContainerID: strings.Repeat("0123456789abcdef", 4),
		Namespaces:  map[string]uint64{"net": 4026532200, "pid": 4026532201, "mnt": 4026532202},
		Kernel:      "6.1.0-13-amd64", Runtime: snapshot.RuntimeHotSpot,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	whole, err := f.Target(42, TargetOptions{KeepCommandLine: true})
	if err != nil || whole.Redacted || strings.Join(whole.CommandLine, "\x00")+"\x00" != hotspotCommand {
		t.Errorf("asked for the whole command line: %q redacted %v, %v", whole.CommandLine, whole.Redacted, err)
	}
}

func TestTargetMissingParts(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]string
		part    string // named in the error
		check   func(snapshot.Target) bool
	}{
		"executable":     {map[string]string{"42/exe": ""}, "/proc/42/exe", func(g snapshot.Target) bool { return g.Executable == "" }},
		"status":         {map[string]string{"42/status": ""}, "/proc/42/status", func(g snapshot.Target) bool { return !g.UID.IsKnown() && g.NamespacePID == 42 }},
		"damaged status": {map[string]string{"42/status": "Uid:\tx\n"}, "line 1", func(g snapshot.Target) bool { return !g.UID.IsKnown() }},
		"mappings":       {map[string]string{"42/maps": ""}, "/proc/42/maps", func(g snapshot.Target) bool { return g.Runtime == snapshot.RuntimeUnknown }},
		"boot time":      {map[string]string{"stat": "cpu 1\n"}, "btime", func(g snapshot.Target) bool { return g.StartedAt == nil }},
		"control group":  {map[string]string{"42/cgroup": "what\n"}, "/proc/42/cgroup", func(g snapshot.Target) bool { return g.ContainerID == "" }},
	} {
		t.Run(name, func(t *testing.T) {
			c.changes["42/cmdline"] = hotspotCommand
			got, err := tree(t, "hotspot.txtar", c.changes).Target(42, TargetOptions{})
			var some *PartialError
			if !errors.As(err, &some) || !strings.Contains(err.Error(), c.part) {
				t.Errorf("error %v", err)
			}
			if !c.check(got) || got.StartTimeTicks != 123456 {
				t.Errorf("%+v", got)
			}
			if status, reason, _ := Outcome(err); status != snapshot.StatusPartial || reason == "" {
				t.Errorf("outcome %s %q", status, reason)
			}
		})
	}
}

func TestTargetGone(t *testing.T) {
	f := tree(t, "hotspot.txtar", nil)
	for _, pid := range []int{43, 0, -1} {
		_, err := f.Target(pid, TargetOptions{})
		if !errors.Is(err, ErrGone) {
			t.Errorf("pid %d: %v", pid, err)
		}
		if status, _, hint := Outcome(err); status != snapshot.StatusAbsent || hint == "" {
			t.Errorf("pid %d: status %s", pid, status)
		}
	}
	zombie := strings.Replace(zombieStat, "Z", "S", 1)
	f = tree(t, "hotspot.txtar", map[string]string{"42/stat": zombieStat, "42/cmdline": hotspotCommand})
	if _, err := f.Target(42, TargetOptions{}); !errors.Is(err, ErrGone) {
		t.Errorf("zombie: %v", err)
	}
	f = tree(t, "hotspot.txtar", map[string]string{"42/stat": zombie, "42/cmdline": hotspotCommand})
	if _, err := f.Target(42, TargetOptions{}); err != nil {
		t.Errorf("the same, alive: %v", err)
	}
	if err := f.Check(42, 123456); err != nil {
		t.Error(err)
	}
	if err := f.Check(42, 123457); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "reused") {
		t.Errorf("another start time: %v", err)
	}
}

const zombieStat = "42 (java) Z 1 42 42 0 -1 4194304 9000 0 0 0 100 20 0 0 20 0 1 0 123456 0 0\n"

func TestUnsupportedIsNotGone(t *testing.T) {
	f := tree(t, "hotspot.txtar", map[string]string{"42/smaps": "", "42/smaps_rollup": ""})
	m, err := f.Memory(42)
	if m == nil || !errors.Is(err, ErrUnsupported) || errors.Is(err, ErrGone) {
		t.Errorf("no smaps_rollup: %v", err)
	}
	rows, err := f.Mappings(42)
	var some *PartialError
	if len(rows) != 2 || !errors.As(err, &some) || rows[0].RSSBytes.IsKnown() {
		t.Errorf("no smaps: %v %+v", err, rows)
	}
	if _, err := f.Mappings(41); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v", err)
	}
}

func TestMemory(t *testing.T) {
	got, err := tree(t, "hotspot.txtar", nil).Memory(42)
	if err != nil {
		t.Fatal(err)
	}
	kb := func(n int64) snapshot.Optional[int64] { return snapshot.Known(n * 1024) }
	want := &snapshot.Memory{
		RSSBytes: kb(134368), RSSAnonBytes: kb(102320), RSSFileBytes: kb(32048), RSSShmemBytes: kb(0),
		PeakRSSBytes: kb(140000), PSSBytes: kb(132656), SwapBytes: kb(12), VirtualBytes: kb(2702716),
		PageTablesBytes: kb(536), Threads: snapshot.Known(int64(37)),
		CgroupUsedBytes: snapshot.Known(int64(341090304)), CgroupLimitBytes: snapshot.Known(int64(1 << 30)), // of the slice above
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestMemoryWithoutAController(t *testing.T) {
	f := tree(t, "hotspot.txtar", map[string]string{"self/mountinfo": "24 1 0:22 / /proc rw - proc proc rw\n"})
	m, err := f.Memory(42)
	if !errors.Is(err, ErrUnsupported) || m.CgroupLimitBytes.IsKnown() || !m.RSSBytes.IsKnown() {
		t.Errorf("%v %+v", err, m)
	}
	f = tree(t, "hotspot.txtar", map[string]string{"cgroup/system.slice/memory.max": "lots\n"})
	if m, err = f.Memory(42); err == nil || !strings.Contains(err.Error(), "memory.max") || !m.CgroupUsedBytes.IsKnown() {
		t.Errorf("damaged limit: %v %+v", err, m)
	}
}

func TestFDs(t *testing.T) {
	got, err := tree(t, "hotspot.txtar", nil).FDs(42)
	if err != nil {
		t.Fatal(err)
	}
	want := []snapshot.FD{
		{Number: 0, Kind: "device"},
		{Number: 2, Kind: "pipe", Inode: 9002},
		{Number: 5, Kind: "anon_inode:[eventpoll]"},
		{Number: 6, Kind: "anon_inode:inotify"},
		{Number: 7, Kind: "file"},
		{Number: 8, Kind: "memfd"},
		{Number: 9, Kind: "file"},
		{Number: 11, Kind: "socket", Inode: 9001},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseStat(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want stat
		bad  bool
	}{
		"plain":           {text: zombieStat, want: stat{"java", 'Z', 42, 1, 123456}},
		"brackets":        {text: strings.Replace(zombieStat, "(java)", "(a) b (c))", 1), want: stat{"a) b (c)", 'Z', 42, 1, 123456}},
		"control bytes":   {text: strings.Replace(zombieStat, "java", "a\x1b[31m\xff", 1), want: stat{"a?[31m?", 'Z', 42, 1, 123456}},
		"empty":           {text: "", bad: true},
		"no bracket":      {text: "42 java S", bad: true},
		"brackets turned": {text: ")42 java( S", bad: true},
		"short":           {text: "42 (java) S 1 2 3", bad: true},
		"no number":       {text: strings.Replace(zombieStat, "123456", "12x", 1), bad: true},
		"no group":        {text: "42 (java) Z 1 x 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 123456", bad: true},
		"long state":      {text: strings.Replace(zombieStat, " Z ", " ZZ ", 1), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(c.text))
			if (err != nil) != c.bad || (!c.bad && got != c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if !(stat{state: 'Z', threads: 2}).alive() || (stat{state: 'X', threads: 2}).alive() {
		t.Error("a process whose first thread ended lives on; a dead one does not")
	}
}

func TestParseStatusRefuses(t *testing.T) {
	for _, text := range []string{"no colon\n", "VmRSS:\t12\n", "VmRSS:\t-1 kB\n", "VmRSS:\t99999999999999999999 kB\n", "VmRSS:\t9223372036854775807 kB\n", "Uid:\t1\n", "NSpid:\t\n", "Threads:\tmany\n"} {
		if _, err := parseStatus([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	s, err := parseStatus([]byte("Name:\tx\nFuture:\twhat: ever\n"))
	if err != nil || s.rss.IsKnown() || s.uid.IsKnown() || s.namespacePID.IsKnown() {
		t.Errorf("kernel thread: %+v %v", s, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(zombieStat))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStat(text)
		if err == nil && strings.ContainsAny(s.comm, "\x00\n\x1b") {
			t.Errorf("name %q", s.comm)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("Uid:\t0\t0\t0\t0\nVmRSS:\t  12 kB\nNSpid:\t1\t2\nThreads:\t3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, _ := parseStatus(text); s.rss.Or(0) < 0 || s.uid.Or(0) < 0 || s.namespacePID.Or(0) < 0 {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzParseRollup(f *testing.F) {
	f.Add([]byte("0-1 ---p 0 0:0 0 [rollup]\nRss: 12 kB\nPss: 1 kB\nSwap: 0 kB\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, _ := parseRollup(text); r.rss.Or(0) < 0 || r.pss.Or(0) < 0 {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzParseBootTime(f *testing.F) {
	f.Add([]byte("cpu 1 2 3\nbtime 1700000000\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if at, err := parseBootTime(text); at < 0 || err != nil && at != 0 {
			t.Errorf("%d %v", at, err)
		}
	})
}

func FuzzParseNamespace(f *testing.F) {
	f.Add("net", "net:[4026531840]")
	f.Fuzz(func(t *testing.T, name, link string) {
		inode, ok := parseNamespace(name, link)
		if ok && !strings.HasSuffix(link, strings.TrimLeft(strconv.FormatUint(inode, 10), "0")+"]") {
			t.Errorf("%q: %d", link, inode)
		}
	})
}
