package vmstructs

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"
)

// library is a shared object as the target's dynamic linker has laid it out.
type library struct {
	r       *reader
	base    uint64
	end     uint64
	strings uint64
	symbols uint64
	hash    uint64 // DT_GNU_HASH
}

// maxLibraries bounds how many files of the name are looked at.
const maxLibraries = 16

// findLibrary finds a shared object by the name of its file.
func findLibrary(r *reader, mappings []mapping, name string) (*library, error) {
	tried := 0
	for i, m := range mappings {
		if m.offset != 0 || !m.readable || path.Base(m.path) != name {
			continue
		}
		if tried++; tried > maxLibraries {
			break
		}
		l := &library{r: r, base: m.start, end: m.end}
		for _, next := range mappings[i:] {
			if next.path == m.path {
				l.end = max(l.end, next.end)
			}
		}
		if err := l.open(); err == nil {
			return l, nil
		} else if r.err = nil; isFatal(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: no %s that can be read is mapped", ErrNotHotSpot, name)
}

// open reads the ELF header, the program headers and the dynamic section.
func (l *library) open() error {
	const headerSize, programSize = 64, 56
	h := l.r.bytes(l.base, headerSize)
	if l.r.err != nil {
		return l.r.err
	}
	if !bytes.HasPrefix(h, []byte(elf.ELFMAG)) || elf.Class(h[4]) != elf.ELFCLASS64 || elf.Data(h[5]) != elf.ELFDATA2LSB {
		return fmt.Errorf("%w: the file mapped at 0x%x is no 64-bit ELF", ErrNotHotSpot, l.base)
	}
	at := binary.LittleEndian.Uint64(h[32:])
	size, n := binary.LittleEndian.Uint16(h[54:]), binary.LittleEndian.Uint16(h[56:])
	if size != programSize || n == 0 || n > 256 || at > 1<<20 {
		return fmt.Errorf("%w: odd program headers", ErrNotHotSpot)
	}
	headers := l.r.bytes(l.base+at, int(n)*programSize)
	var dynamic, length uint64
	for i := range int(n) {
		p := headers[i*programSize:]
		if elf.ProgType(binary.LittleEndian.Uint32(p)) == elf.PT_DYNAMIC {
			dynamic, length = l.base+binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[40:])
		}
	}
	if l.r.err != nil {
		return l.r.err
	}
	if dynamic == 0 || length > 1<<16 || !l.holds(dynamic, length) {
		return fmt.Errorf("%w: no dynamic section", ErrNotHotSpot)
	}
	entries := l.r.bytes(dynamic, int(length)&^15)
	for ; len(entries) >= 16; entries = entries[16:] {
		value := binary.LittleEndian.Uint64(entries[8:])
		if value < l.base {
			value += l.base // not every linker writes the final address back
		}
		switch elf.DynTag(binary.LittleEndian.Uint64(entries)) {
		case elf.DT_STRTAB:
			l.strings = value
		case elf.DT_SYMTAB:
			l.symbols = value
		case elf.DT_GNU_HASH:
			l.hash = value
		}
	}
	if l.strings == 0 || l.symbols == 0 || l.hash == 0 {
		return fmt.Errorf("%w: no symbol table with a GNU hash", ErrNotHotSpot)
	}
	return l.r.err
}

func (l *library) holds(address, n uint64) bool {
	return address >= l.base && address < l.end && n <= l.end-address
}

// symbol returns the address of an exported symbol.
func (l *library) symbol(name string) (uint64, bool) {
	const word, symbolSize = 8, 24
	head := l.r.bytes(l.hash, 16)
	buckets, first := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	bloom := binary.LittleEndian.Uint32(head[8:])
	if buckets == 0 || buckets > 1<<20 || bloom > 1<<20 || l.r.err != nil {
		return 0, false
	}
	h := uint32(5381)
	for _, c := range []byte(name) {
		h = h*33 + uint32(c)
	}
	bucketsAt := l.hash + 16 + uint64(bloom)*word
	chains := bucketsAt + uint64(buckets)*4
	i := l.r.u32(bucketsAt + uint64(h%buckets)*4)
	if i < first {
		return 0, false
	}
	for range 1 << 12 {
		c := l.r.u32(chains + uint64(i-first)*4)
		if c|1 == h|1 {
			s := l.r.bytes(l.symbols+uint64(i)*symbolSize, symbolSize)
			at := l.strings + uint64(binary.LittleEndian.Uint32(s))
			if got := l.r.bytes(at, len(name)+1); string(got) == name+"\x00" {
				return l.base + binary.LittleEndian.Uint64(s[8:]), l.r.err == nil
			}
		}
		if c&1 != 0 || l.r.err != nil {
			break
		}
		i++
	}
	return 0, false
}
