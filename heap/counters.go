package heap

import "fmt"

// counterTable lists the counters that a target keeps of its own off-heap
// memory: a class, and for each counter its static field's names, the one it
// is reported under first. The value is a number or an object with a field
// "value".
var counterTable = []struct {
	class string
	names [][]string
}{
	// java.nio.Bits: upper case from JDK 9, camel case before.
	{"java.nio.Bits", [][]string{
		{"RESERVED_MEMORY", "reservedMemory"},
		{"TOTAL_CAPACITY", "totalCapacity"},
		{"COUNT", "count"},
		{"MAX_MEMORY", "maxMemory"},
	}},
	{"io.netty.util.internal.PlatformDependent", [][]string{
		{"DIRECT_MEMORY_COUNTER"},
		{"DIRECT_MEMORY_LIMIT"},
	}},
}

// Counters reads the counters that a heap keeps of off-heap memory, sorted by
// name, and nothing else of it.
func Counters(g Graph) []Counter {
	w := &walk{g: g, classes: g.Classes()}
	w.classify()
	w.readCounters()
	return w.result().Counters
}

// readCounters reads the counters of every copy of their classes.
func (w *walk) readCounters() {
	seen := map[string]int{}
	for c := range w.classes {
		for i := range counterTable {
			row := &counterTable[i]
			if !hasSuffix(w.classes[c].Name, row.class) {
				continue
			}
			for _, names := range row.names {
				value, known, there := w.counter(ClassID(c), names)
				if !there {
					continue
				}
				name := w.classes[c].Name + "." + names[0]
				if seen[name]++; seen[name] > 1 {
					name = fmt.Sprintf("%s#%d", name, seen[name])
				}
				w.counters = append(w.counters, Counter{name, value, known})
			}
		}
	}
}

func (w *walk) counter(c ClassID, names []string) (value int64, known, there bool) {
	for _, name := range names {
		v, typ, ok := w.g.Static(c, name)
		switch {
		case !ok:
			continue
		case typ != Object:
			return int64(v), true, true
		case v == uint64(None):
			return 0, false, true
		}
		values, read, err := w.columns([]Node{Node(v)}, "value")
		if err != nil {
			return 0, false, true
		}
		return int64(values[0]), read[0], true
	}
	return 0, false, false
}
