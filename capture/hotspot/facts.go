package hotspot

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// Range is a part of the target's address space; End is exclusive.
type Range struct{ Start, End uint64 }

// Facts are what a JVM says of itself.
type Facts struct {
	JVM  *snapshot.JVM
	Heap []Range // where the Java heap lies
	// Missing is why parts are unknown; nil when all is known.
	Missing error
	// NMT is why native memory tracking says nothing; nil when it does.
	NMT error
}

// flagsKept are the flags that matter to off-heap memory; no other is kept.
var flagsKept = map[string]bool{
	"MaxDirectMemorySize": true, "MaxHeapSize": true, "InitialHeapSize": true, "MaxMetaspaceSize": true,
	"ReservedCodeCacheSize": true, "ThreadStackSize": true, "NativeMemoryTracking": true,
	"UseSerialGC": true, "UseParallelGC": true, "UseG1GC": true, "UseZGC": true, "ZGenerational": true,
	"UseShenandoahGC": true, "UseEpsilonGC": true, "UseConcMarkSweepGC": true,
	"UseCompressedOops": true, "UseCompactObjectHeaders": true, "UsePerfData": true,
	"DisableExplicitGC": true, "ExplicitGCInvokesConcurrent": true, "DisableAttachMechanism": true,
}

// collectors by the flag that selects them.
var collectors = []struct{ flag, name string }{
	{"UseSerialGC", "Serial"},
	{"UseParallelGC", "Parallel"},
	{"UseG1GC", "G1"},
	{"UseZGC", "Z"},
	{"UseShenandoahGC", "Shenandoah"},
	{"UseEpsilonGC", "Epsilon"},
	{"UseConcMarkSweepGC", "CMS"},
}

// propertyKept keeps the system properties that configure off-heap memory;
// any other may hold a secret.
func propertyKept(name string) bool {
	return strings.HasPrefix(name, "io.netty.") || name == "jdk.nio.maxCachedBufferSize"
}

// Facts asks the JVM for its version, flags, properties, heap and native
// memory. Only the version is needed for a result; what else fails is Missing.
func (j *JVM) Facts(ctx context.Context) (*Facts, error) {
	version, err := j.jcmd(ctx, "VM.version")
	if err != nil {
		return nil, err
	}
	jvm := &snapshot.JVM{Flags: map[string]string{}, Properties: map[string]string{}, NMT: []snapshot.NMTCategory{}}
	f := &Facts{JVM: jvm}
	parseVersion(version, jvm)
	f.ask(ctx, j, "VM.flags -all", func(text string) error { return parseFlags(text, jvm) })
	f.ask(ctx, j, "VM.system_properties", func(text string) error { return parseProperties(text, jvm) })
	f.ask(ctx, j, "GC.heap_info", func(text string) (err error) {
		f.Heap, err = parseHeapInfo(text, jvm)
		return err
	})
	if text, err := j.jcmd(ctx, "VM.native_memory summary scale=KB"); err != nil {
		f.NMT = err
	} else {
		f.NMT = parseNMT(text, jvm)
	}
	if perf, err := readPerfData(j.process); err == nil {
		if n, ok := perf.collections(); ok {
			jvm.Collections = snapshot.Known(n)
		}
		// Since 25 GC.heap_info says nothing of metaspace.
		if n, ok := perf.longs["sun.gc.metaspace.used"]; ok && !jvm.MetaspaceUsedBytes.IsKnown() {
			jvm.MetaspaceUsedBytes = snapshot.Known(n)
		}
	}
	return f, nil
}

func (f *Facts) ask(ctx context.Context, j *JVM, command string, parse func(string) error) {
	if errors.Is(f.Missing, ErrNoAnswer) || errors.Is(f.Missing, ErrStopped) || ctx.Err() != nil {
		f.Missing = errors.Join(f.Missing, fmt.Errorf("%s: not asked", command))
		return
	}
	text, err := j.jcmd(ctx, command)
	if err == nil {
		err = parse(text)
	}
	if err != nil {
		f.Missing = errors.Join(f.Missing, fmt.Errorf("%s: %w", command, err))
	}
}

func (j *JVM) jcmd(ctx context.Context, line string) (string, error) {
	return j.ask(ctx, "jcmd", line)
}

var versionLine = regexp.MustCompile(`^(.*?) version (\S+)`)

// parseVersion reads VM.version: "OpenJDK 64-Bit Server VM version 17.0.15+6",
// then "JDK 17.0.15"; on 8 "25.402-b06" and "JDK 8.0_402".
func parseVersion(text string, jvm *snapshot.JVM) {
	if m := versionLine.FindStringSubmatch(text); m != nil {
		jvm.Name, jvm.Version = m[1], m[2]
	}
	for line := range strings.Lines(text) {
		number, ok := strings.CutPrefix(strings.TrimSpace(line), "JDK ")
		if !ok {
			continue
		}
		if end := strings.IndexFunc(number, func(r rune) bool { return r < '0' || r > '9' }); end > 0 {
			number = number[:end]
		}
		if n, err := strconv.Atoi(number); err == nil {
			jvm.Feature = snapshot.Known(n)
			return
		}
	}
}

// parseFlags reads VM.flags -all: "  size_t MaxHeapSize   = 4294967296   {product} {ergonomic}",
// on 8 with := for a value that was set.
func parseFlags(text string, jvm *snapshot.JVM) error {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || (fields[2] != "=" && fields[2] != ":=") || !flagsKept[fields[1]] {
			continue
		}
		value := fields[3]
		if strings.HasPrefix(value, "{") {
			value = ""
		}
		jvm.Flags[fields[1]] = value
	}
	if len(jvm.Flags) == 0 {
		return errors.New("no known flag in the reply")
	}
	for _, c := range collectors {
		if jvm.Flags[c.flag] == "true" {
			jvm.Collector = c.name
		}
	}
	jvm.NativeMemoryTracking = jvm.Flags["NativeMemoryTracking"]
	if n, err := strconv.ParseInt(jvm.Flags["MaxHeapSize"], 10, 64); err == nil {
		jvm.MaxHeapBytes = snapshot.Known(n)
	}
	// 0 stands for Runtime.maxMemory (jdk.internal.misc.VM.maxDirectMemory),
	// which is the maximum of the heap, on Serial and Parallel less a survivor space.
	if n, err := strconv.ParseInt(jvm.Flags["MaxDirectMemorySize"], 10, 64); err == nil && n > 0 {
		jvm.MaxDirectMemoryBytes = snapshot.Known(n)
	} else if err == nil {
		jvm.MaxDirectMemoryBytes = jvm.MaxHeapBytes
	}
	return nil
}

// What is kept of the properties is bounded.
const (
	maxProperty   = 256 // bytes of a name, and of a value
	maxProperties = 256
)

// parseProperties reads VM.system_properties, which is in the format of a
// properties file, and keeps almost nothing of it.
func parseProperties(text string, jvm *snapshot.JVM) error {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok && propertyKept(name) && len(name) <= maxProperty && len(value) <= maxProperty && len(jvm.Properties) < maxProperties {
			jvm.Properties[name] = unescape(value)
		}
	}
	return nil
}

// unescape undoes what java.util.Properties.store does to ':', '=', '#', '!',
// '\\' and blanks; other escapes stay as they are.
func unescape(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) && strings.IndexByte(`:=#!\ `, value[i+1]) >= 0 {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

var (
	// "garbage-first heap   total 262144K, used 1024K [0x…, 0x…)", since 24
	// "total reserved 4194304K, committed 262144K, used 1024K [0x…, 0x…)"; on
	// Serial and Parallel one such line a generation, with a third address.
	heapLine      = regexp.MustCompile(`^ ?(\S.*?)\s+total (?:reserved \d+K, committed )?(\d+)K, used (\d+)K\s+\[0x([0-9a-f]+),(?: 0x[0-9a-f]+,)? 0x([0-9a-f]+)\)`)
	zLine         = regexp.MustCompile(`^ ?Z\S*\s*(?:Heap)?\s+used (\d+)M, capacity (\d+)M`)
	shenandoah    = regexp.MustCompile(`(\d+)([KMG]) committed, (\d+)([KMG]) used`)
	metaspaceLine = regexp.MustCompile(`^ ?Metaspace\s+used (\d+)K`)
)

// parseHeapInfo reads GC.heap_info.
func parseHeapInfo(text string, jvm *snapshot.JVM) ([]Range, error) {
	var used, committed int64
	var ranges []Range
	found := false
	add := func(u, c int64) {
		used, committed, found = used+u, committed+c, true
	}
	for line := range strings.Lines(text) {
		if m := heapLine.FindStringSubmatch(line); m != nil {
			add(amount(m[3], 10), amount(m[2], 10))
			start, errStart := strconv.ParseUint(m[4], 16, 64)
			end, errEnd := strconv.ParseUint(m[5], 16, 64)
			if errStart == nil && errEnd == nil && start < end {
				ranges = append(ranges, Range{start, end})
			}
		} else if m := zLine.FindStringSubmatch(line); m != nil {
			add(amount(m[1], 20), amount(m[2], 20))
		} else if m := shenandoah.FindStringSubmatch(line); m != nil {
			add(scaled(m[3], m[4]), scaled(m[1], m[2]))
		} else if m := metaspaceLine.FindStringSubmatch(line); m != nil {
			jvm.MetaspaceUsedBytes = snapshot.Known(amount(m[1], 10))
		}
	}
	if !found {
		return nil, errors.New("no heap in the reply")
	}
	jvm.HeapUsedBytes, jvm.HeapCommittedBytes = snapshot.Known(used), snapshot.Known(committed)
	return ranges, nil
}

// amount is digits shifted left, and 0 for what no machine has.
func amount(digits string, shift int) int64 {
	const most = 1 << 56 // bytes; a sum of some stays an int64
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > most>>shift {
		return 0
	}
	return n << shift
}

func scaled(digits, unit string) int64 {
	return amount(digits, map[string]int{"K": 10, "M": 20, "G": 30}[unit])
}

var (
	nmtTotal    = regexp.MustCompile(`^Total: reserved=(\d+)KB, committed=(\d+)KB`)
	nmtCategory = regexp.MustCompile(`^-\s+(\S.*?) \(reserved=(\d+)KB, committed=(\d+)KB`)
)

// maxCategories bounds what is kept of a reply: HotSpot has about thirty.
const maxCategories = 128

// parseNMT reads VM.native_memory summary scale=KB.
func parseNMT(text string, jvm *snapshot.JVM) error {
	if strings.Contains(text, "not enabled") {
		return errors.New("native memory tracking is off")
	}
	for line := range strings.Lines(text) {
		var name string
		m := nmtCategory.FindStringSubmatch(line)
		if m != nil {
			name = m[1]
		} else if m = nmtTotal.FindStringSubmatch(line); m != nil {
			m = append([]string{m[0], ""}, m[1:]...)
			name = "Total"
		} else {
			continue
		}
		if len(jvm.NMT) == maxCategories {
			break
		}
		jvm.NMT = append(jvm.NMT, snapshot.NMTCategory{Name: name, ReservedBytes: amount(m[2], 10), CommittedBytes: amount(m[3], 10)})
	}
	if len(jvm.NMT) == 0 {
		return errors.New("native memory tracking: no category in the reply")
	}
	return nil
}
