package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

func parseText(t testing.TB, text string) []vma {
	t.Helper()
	var all []vma
	if err := parseMappings(strings.NewReader(text), func(v *vma) { all = append(all, *v) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// kinds writes each mapping's kind on a line, with what follows "=>" of the
// input taken as what is wanted.
func checkKinds(t *testing.T, text string, pointers stackPointers, hints []Range) {
	t.Helper()
	var maps strings.Builder
	var want []string
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, "=>")
		if !ok {
			if strings.TrimSpace(line) != "" {
				maps.WriteString(line) // a figure
			}
			continue
		}
		maps.WriteString(strings.TrimSpace(before) + "\n")
		want = append(want, strings.TrimSpace(after))
	}
	all := parseText(t, maps.String())
	classifyMappings(all, pointers, hints)
	if len(all) != len(want) {
		t.Fatalf("%d mappings, want %d", len(all), len(want))
	}
	for i, v := range all {
		if string(v.kind) != want[i] {
			t.Errorf("%x-%x %s %s: kind %s, want %s", v.start, v.end, v.perms, v.name, v.kind, want[i])
		}
	}
}

func TestKinds(t *testing.T) {
	for name, c := range map[string]struct {
		maps     string
		pointers []uint64
		hints    []Range
	}{
		"names of the kernel": {maps: `
			55b2aeb7c000-55b2aebc3000 rw-p 00000000 00:00 0 [heap] => malloc-heap
			7fff1248c000-7fff124ad000 rw-p 00000000 00:00 0 [stack] => main-stack
			7fff12500000-7fff12504000 r--p 00000000 00:00 0 [vvar] => kernel
			7fff12504000-7fff12506000 r-xp 00000000 00:00 0 [vdso] => kernel
			7fff12600000-7fff12700000 rw-p 00000000 00:00 0 [stack:17] => thread-stack
			7fff12800000-7fff12900000 rw-p 00000000 00:00 0 [anon:stack_and_tls:17] => thread-stack
			7fff12a00000-7fff12b00000 rw-p 00000000 00:00 0 [anon:buffer] => anonymous
			ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall] => kernel`},
		"files": {maps: `
			400000-401000 r--p 00000000 fe:00 10 /bin/app => library
			401000-402000 r-xp 00001000 fe:00 10 /bin/app => library
			402000-403000 rw-p 00002000 fe:00 10 /bin/app => library
			403000-500000 rw-p 00000000 00:00 0 => library
			600000-700000 r--s 00000000 fe:00 11 /lib/modules => file
			700000-800000 r--p 00000000 fe:01 10 /other/device/same/inode => file
			800000-900000 rw-p 00001000 fe:00 12 /jdk/lib/server/classes.jsa => metaspace
			900000-a00000 rw-s 00000000 00:01 13 /memfd:x (deleted) => shared
			a00000-b00000 rw-s 00000000 00:01 14 /SYSV00000000 (deleted) => shared
			b00000-c00000 rw-s 00000000 00:01 15 /dev/zero (deleted) => shared
			c00000-d00000 rw-s 00000000 00:19 16 /dev/shm/x => shared
			d00000-e00000 r-xp 00000000 fe:00 17 /lib/gone.so (deleted) => library
			e00000-f00000 rwxp 00000000 00:00 0 => code
			f00000-1000000 rw-p 00000000 00:00 0 => anonymous
			1000000-1100000 rw-p 00000000 fe:00 18 /dev/null => file`},
		"zero-initialised data has a limit": {maps: `
			402000-403000 rwxp 00002000 fe:00 10 /bin/app => library
			403000-903000 rw-p 00000000 00:00 0 => anonymous`},
		"malloc arenas": {maps: `
			f8000000-f9000000 rw-p 00000000 00:00 0 => anonymous
			f9000000-fc000000 ---p 00000000 00:00 0 => anonymous
			c000000000-c000400000 rw-p 00000000 00:00 0 => anonymous
			c000400000-c004000000 ---p 00000000 00:00 0 => anonymous
			7fa514000000-7fa514021000 rw-p 00000000 00:00 0 => malloc-arena
			7fa514021000-7fa518000000 ---p 00000000 00:00 0 => malloc-arena
			7fa518000000-7fa51c021000 rw-p 00000000 00:00 0 => malloc-arena
			7fa51c021000-7fa520000000 ---p 00000000 00:00 0 => malloc-arena
			7fa520000000-7fa524000000 rw-p 00000000 00:00 0 => malloc-arena
			7fa524001000-7fa524021000 rw-p 00000000 00:00 0 => anonymous
			7fa524021000-7fa528000000 ---p 00000000 00:00 0 => anonymous
			7fa530000000-7fa530021000 rw-p 00000000 00:00 0 => anonymous
			7fa530021000-7fa570000000 ---p 00000000 00:00 0 => anonymous
			7fa600000000-7fa600001000 r-xp 00000000 fe:00 9 /lib/libc.so.6 => library`},
		"no arenas without glibc": {maps: `
			7fa514000000-7fa514021000 rw-p 00000000 00:00 0 => anonymous
			7fa514021000-7fa518000000 ---p 00000000 00:00 0 => anonymous`},
		"stacks by pointer": {pointers: []uint64{0x7000_0010_0500, 0x7000_0090_0000}, maps: `
			700000000000-700000004000 ---p 00000000 00:00 0 => thread-stack
			700000004000-700000200000 rw-p 00000000 00:00 0 => thread-stack
			700000200000-700000204000 ---p 00000000 00:00 0 => thread-stack
			700000204000-700000400000 rw-p 00000000 00:00 0 => thread-stack
			700000400000-700000410000 ---p 00000000 00:00 0 => anonymous
			700000410000-700000500000 rw-p 00000000 00:00 0 => anonymous
			700000800000-700000a00000 rw-p 00000000 00:00 0 => anonymous
			700000a00000-700000c00000 ---p 00000000 00:00 0 => anonymous
			700000c00000-700000d00000 rw-p 00000000 00:00 0 => anonymous`},
		"stacks by MAP_STACK": {maps: `
			700000000000-700000100000 rw-p 00000000 00:00 0 => thread-stack
			VmFlags: rd wr mr mw me ac nh
			700000100000-700000104000 ---p 00000000 00:00 0 => thread-stack
			VmFlags: mr mw me nh
			700000104000-700000200000 rw-p 00000000 00:00 0 => thread-stack
			VmFlags: rd wr mr mw me ac nh
			700000200000-700000210000 ---p 00000000 00:00 0 => anonymous
			VmFlags: mr mw me
			700000210000-700000300000 rw-p 00000000 00:00 0 => anonymous
			VmFlags: rd wr mr mw me ac
			700000400000-700000500000 rw-p 00000000 00:00 0 => anonymous
			VmFlags: rd wr mr mw me ac nh`},
		"stacks by shape alone": {maps: `
			700000000000-700000001000 ---p 00000000 00:00 0 => thread-stack
			700000001000-700000800000 rw-p 00000000 00:00 0 => thread-stack
			700000800000-700000900000 ---p 00000000 00:00 0 => anonymous
			700000900000-700000a00000 rw-p 00000000 00:00 0 => anonymous
			700000a00000-700000a01000 ---p 00000000 00:00 0 => anonymous
			700000a01000-700000b00000 r--p 00000000 00:00 0 => anonymous
			700000b00000-700000b01000 ---s 00000000 00:00 0 => anonymous
			700000b01000-700000c00000 rw-p 00000000 00:00 0 => anonymous`},
		"hints": {hints: []Range{{0xfc000000, 0x100000000, snapshot.MappingJavaHeap}, {0x7000_0000_0000, 0x7000_0010_0000, snapshot.MappingMetaspace}}, maps: `
			fc000000-ffe00000 rw-p 00000000 00:00 0 => java-heap
			ffe00000-ffe75000 rw-p 00c77000 fe:00 9 /jdk/classes.jsa => java-heap
			ffe75000-100000000 rw-p 00000000 00:00 0 => java-heap
			700000080000-700000180000 rw-p 00000000 00:00 0 => metaspace
			700000200000-700000400000 rw-p 00000000 00:00 0 => anonymous`},
	} {
		t.Run(name, func(t *testing.T) {
			checkKinds(t, strings.ReplaceAll(c.maps, "\t", ""), stackPointers{sorted: c.pointers, known: len(c.pointers) > 0}, c.hints)
		})
	}
}

func TestMappings(t *testing.T) {
	got, err := tree(t, "hotspot.txtar", nil).Mappings(42, Range{0xfc000000, 0x100000000, snapshot.MappingJavaHeap})
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	kb := func(n int64) snapshot.Optional[int64] { return snapshot.Known(n * 1024) }
	want := []snapshot.Mapping{
		{Start: 0xfc000000, End: 0x100000000, Permissions: "rw-p", Kind: snapshot.MappingJavaHeap, RSSBytes: kb(20480), PSSBytes: kb(20480), SwapBytes: kb(0)},
		{Start: 0x55b2882c5000, End: 0x55b2882c6000, Permissions: "r-xp", Kind: snapshot.MappingLibrary, Name: "java", RSSBytes: kb(4), PSSBytes: kb(2), SwapBytes: kb(0)},
		{Start: 0x7fa5b9800000, End: 0x7fa5ba800000, Permissions: "r-xp", Kind: snapshot.MappingLibrary, Name: "libjvm.so", RSSBytes: kb(10000), PSSBytes: kb(5000), SwapBytes: kb(8)},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
}

func TestParseMappingsRefuses(t *testing.T) {
	good := "7fa5b9800000-7fa5ba800000 r-xp 00000000 fe:00 314800   /lib/a b.so"
	if all := parseText(t, good); len(all) != 1 || all[0].name != "a b.so" || all[0].dev != 0xfe<<32 || all[0].inode != 314800 {
		t.Errorf("%+v", all)
	}
	for name, text := range map[string]string{
		"empty line":        "\n",
		"no range":          "7fa5b9800000 r-xp 00000000 fe:00 1",
		"range turned":      "7fa5ba800000-7fa5b9800000 r-xp 00000000 fe:00 1",
		"empty range":       "7fa5ba800000-7fa5ba800000 r-xp 00000000 fe:00 1",
		"address too large": "11117fa5ba800000f-7fa5b9800000 r-xp 00000000 fe:00 1",
		"permissions":       strings.Replace(good, "r-xp", "rXxp", 1),
		"no device":         strings.Replace(good, "fe:00", "fe00", 1),
		"inode":             strings.Replace(good, "314800", "x", 1),
		"inode too large":   strings.Replace(good, "314800", "99999999999999999999", 1),
		"figure first":      "Rss: 12 kB",
		"figure":            good + "\nRss: 12 MB",
		"negative figure":   good + "\nRss: -12 kB",
		"figure too large":  good + "\nPss: 9223372036854775807 kB",
		"long line":         good + strings.Repeat("x", 80<<10),
	} {
		t.Run(name, func(t *testing.T) {
			var bad *SyntaxError
			if err := parseMappings(strings.NewReader(text), func(*vma) {}); !errors.As(err, &bad) {
				t.Errorf("error %v", err)
			}
		})
	}
	// What came before the damage is kept.
	seen := 0
	if err := parseMappings(strings.NewReader(good+"\nnonsense\n"), func(*vma) { seen++ }); err == nil || seen != 1 {
		t.Errorf("%d mappings before the damage, %v", seen, err)
	}
}

func TestParseSyscall(t *testing.T) {
	for text, want := range map[string]uint64{
		"202 0x7fa5b9dff990 0x109 0x34d6 0x0 0x0 0xffffffff 0x7ffc387d6410 0x7fa5bb330f16\n": 0x7ffc387d6410,
		"-1 0x7ffc387d6410 0x7fa5bb330f16\n":                                                 0x7ffc387d6410,
		"running\n":                                                                          0, "": 0, "1 2 3": 0, "-1 0xzz 0x1": 0, "-1 0x0 0x0": 0,
	} {
		got, ok := parseSyscall([]byte(text))
		if ok != (want != 0) || (ok && got != want) {
			t.Errorf("%q: %x %v", text, got, ok)
		}
	}
}

func FuzzParseMappings(f *testing.F) {
	f.Add([]byte("400000-401000 r--p 00000000 fe:00 10 /bin/app\nRss: 4 kB\nVmFlags: rd nh\n401000-500000 rw-p 0 00:00 0\n"))
	f.Add([]byte(bigMaps(3, true)))
	f.Fuzz(func(t *testing.T, text []byte) {
		var all []vma
		_ = parseMappings(bytes.NewReader(text), func(v *vma) { all = append(all, *v) })
		classifyMappings(all, stackPointers{sorted: []uint64{0x401000}, known: true}, []Range{{0x400000, 0x401000, snapshot.MappingCode}})
		for _, v := range all {
			if v.kind == "" || v.end <= v.start || len(v.name) > 400 {
				t.Errorf("%+v", v)
			}
		}
	})
}

func FuzzParseSyscall(f *testing.F) {
	f.Add([]byte("-1 0x7ffc387d6410 0x7fa5bb330f16\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if sp, ok := parseSyscall(text); ok && sp == 0 {
			t.Error("a stack pointer of 0")
		}
	})
}

// bigMaps makes the text of a process with many mappings.
func bigMaps(n int, figures bool) string {
	var b strings.Builder
	at := uint64(0x7f00_0000_0000)
	for i := range n {
		path := ""
		if i%4 == 0 {
			path = fmt.Sprintf("                     /usr/lib/jvm/lib%d.so", i%40)
		}
		_, _ = fmt.Fprintf(&b, "%x-%x %s 00000000 fe:00 %d%s\n", at, at+0x10000, []string{"rw-p", "---p", "r-xp"}[i%3], i%4*100, path)
		if figures {
			for _, key := range []string{"Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked"} {
				_, _ = fmt.Fprintf(&b, "%-15s %8d kB\n", key+":", i%64)
			}
			b.WriteString("THPeligible:           0\nVmFlags: rd wr mr mw me ac sd \n")
		}
		at += 0x20000
	}
	return b.String()
}

func benchmarkMappings(b *testing.B, figures bool) {
	text := bigMaps(20_000, figures)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		all := make([]vma, 0, 20_000)
		if err := parseMappings(strings.NewReader(text), func(v *vma) { all = append(all, *v) }); err != nil {
			b.Fatal(err)
		}
		classifyMappings(all, stackPointers{}, nil)
	}
}

func BenchmarkMaps20k(b *testing.B)  { benchmarkMappings(b, false) }
func BenchmarkSmaps20k(b *testing.B) { benchmarkMappings(b, true) }
