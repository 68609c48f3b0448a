package vmstructs

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The counters of safepoints that a JVM publishes (runtimeService.cpp): how many
// have begun, and how long those took that have ended. Where neither changes, no
// pause began or ended.
const (
	safepoints    = "sun.rt.safepoints"
	safepointTime = "sun.rt.safepointTime"
)

const maxPerfData = 8 << 20 // bytes; PerfDataMemorySize is 32 KiB by default

// findPauses finds the counters of safepoints.
func (j *jvm) findPauses() error {
	found, err := j.published()
	if err != nil {
		return err
	}
	for _, name := range []string{safepoints, safepointTime} {
		counter, ok := found[name]
		if !ok {
			return fmt.Errorf("%w: no counter %s", ErrUnsupported, name)
		}
		j.layout.pauses = append(j.layout.pauses, counter)
	}
	return nil
}

// published finds the counters that a JVM publishes (perfMemory.hpp), of 64 bits
// each, and returns their addresses by name: a prologue, then entries that each
// give their length and where their name and value are. Without
// -XX:+UsePerfData there are none.
func (j *jvm) published() (map[string]uint64, error) {
	f := &resolver{t: j.tables}
	start, end := j.r.u64(f.at("PerfMemory::_start")), j.r.u64(f.at("PerfMemory::_end"))
	if len(f.missing) > 0 {
		return nil, f.missing[0]
	}
	const prologue, header, magic, long = 32, 20, 0xc0c0feca, 'J'
	if j.r.err == nil && (start == 0 || end < start+prologue || end-start > maxPerfData) {
		return nil, fmt.Errorf("%w: it publishes no counters (-XX:-UsePerfData)", ErrUnsupported)
	}
	b := j.r.bytes(start, int(end-start))
	if j.r.err != nil {
		return nil, j.r.err
	}
	u32 := func(at uint64) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }
	if u32(0) != magic || b[4] != 1 || b[5] != 2 {
		return nil, fmt.Errorf("%w: it publishes counters in a format that is not known", ErrUnsupported)
	}
	found := map[string]uint64{}
	at := u32(24)
	for n := u32(28); n > 0 && at >= prologue && at+header <= uint64(len(b)); n-- {
		length, name, value := u32(at), u32(at+4), u32(at+16)
		if length < header || length > uint64(len(b))-at || name >= length || value > length {
			break
		}
		text := b[at+name : at+length]
		if i := slices.Index(text, 0); i >= 0 && b[at+12] == long && u32(at+8) == 0 && length-value >= 8 {
			found[string(text[:i])] = start + at + value
		}
		at += length
	}
	return found, nil
}

// pauses reads the counters of safepoints, where they are looked at.
func (j *jvm) pauses() (p [2]uint64) {
	for i, at := range j.layout.pauses {
		p[i] = j.r.u64(at)
	}
	return p
}
