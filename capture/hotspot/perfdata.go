package hotspot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// perfData is what a JVM publishes in its hsperfdata file: counters by name
// (perfMemory.hpp, perfData.hpp; version 2.0 of the format).
type perfData struct {
	longs   map[string]int64
	strings map[string]string
}

const (
	perfMagic   = 0xcafec0c0
	maxPerfData = 8 << 20 // bytes; PerfDataMemorySize is 32 KiB by default
	perfLong    = 'J'
	perfByte    = 'B'
)

var errPerfData = errors.New("not a version 2 hsperfdata file")

// maxTemporary bounds the entries of /tmp that are looked at.
const maxTemporary = 1 << 16

// readPerfData reads the file of a JVM, which it has under its own pid in its
// own /tmp. It does not exist under -XX:-UsePerfData and
// -XX:+PerfDisableSharedMem.
func readPerfData(p *process) (*perfData, error) {
	tmp, err := p.directory("/tmp")
	if err != nil {
		return nil, err
	}
	defer tmp.close()
	names, err := tmp.names(maxTemporary)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "hsperfdata_") {
			continue
		}
		content, err := tmp.readFile(name+"/"+strconv.Itoa(p.nspid), p.uid, maxPerfData)
		if err != nil {
			continue
		}
		if perf, err := parsePerfData(content); err == nil {
			return perf, nil
		}
	}
	return nil, fmt.Errorf("%w: no hsperfdata file", ErrUnsupported)
}

// parsePerfData decodes the prologue and the entries.
func parsePerfData(b []byte) (*perfData, error) {
	const prologue, header = 32, 20
	if len(b) < prologue || binary.BigEndian.Uint32(b) != perfMagic || b[5] != 2 {
		return nil, errPerfData
	}
	var order binary.ByteOrder = binary.BigEndian
	if b[4] == 1 {
		order = binary.LittleEndian
	}
	perf := &perfData{longs: map[string]int64{}, strings: map[string]string{}}
	at, count := int64(order.Uint32(b[24:])), order.Uint32(b[28:])
	for range count {
		if at < prologue || at+header > int64(len(b)) {
			break
		}
		e := b[at:]
		length, name, vector := int64(order.Uint32(e)), int64(order.Uint32(e[4:])), order.Uint32(e[8:])
		kind, value := e[12], int64(order.Uint32(e[16:]))
		if length < header || length > int64(len(e)) || name >= length || value > length {
			return perf, fmt.Errorf("hsperfdata entry at offset %d: %w", at, errPerfData)
		}
		e = e[:length]
		key := cString(e[name:])
		switch {
		case kind == perfLong && vector == 0 && value+8 <= length:
			perf.longs[key] = int64(order.Uint64(e[value:]))
		case kind == perfByte && vector > 0:
			perf.strings[key] = cString(e[value:min(length, value+int64(vector))])
		}
		at += length
	}
	return perf, nil
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// attachDisabled reports -XX:+DisableAttachMechanism: the first capability is
// "attach supported" (jvmtiExport, statSampler.cpp).
func (p *perfData) attachDisabled() bool {
	capabilities := p.strings["sun.rt.jvmCapabilities"]
	return capabilities != "" && capabilities[0] == '0'
}

// pausedSeconds is the time the JVM has spent in safepoints since its start.
func (p *perfData) pausedSeconds() (float64, bool) {
	ticks, ok := p.longs["sun.rt.safepointTime"]
	frequency := p.longs["sun.os.hrt.frequency"]
	return float64(ticks) / float64(max(frequency, 1)), ok && frequency > 0
}

// collections sums the collectors' invocation counts.
func (p *perfData) collections() (int64, bool) {
	var sum int64
	known := false
	for i := range 4 {
		if n, ok := p.longs["sun.gc.collector."+strconv.Itoa(i)+".invocations"]; ok {
			sum += n
			known = true
		}
	}
	return sum, known
}
