package snapshot

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

// writeAllocations writes rows as encoding/json does, in a fifth of the time:
// there can be millions, and they are most of what a capture of such a heap writes.
func writeAllocations(w io.Writer, all []Allocation) error {
	const flush = 32 << 10
	b := make([]byte, 0, flush+1024)
	for i := range all {
		b = appendAllocation(b, &all[i])
		if len(b) >= flush || i == len(all)-1 {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return nil
}

func appendAllocation(b []byte, a *Allocation) []byte {
	b = append(b, `{"address":"0x`...)
	b = strconv.AppendUint(b, uint64(a.Address), 16)
	b = append(b, `","bytes":`...)
	b = strconv.AppendInt(b, a.Bytes, 10)
	b = append(b, `,"kind":`...)
	b = appendWord(b, string(a.Kind))
	b = append(b, `,"fate":`...)
	b = appendWord(b, string(a.Fate))
	if a.Chunk != 0 {
		b = append(b, `,"chunk":"0x`...)
		b = strconv.AppendUint(b, uint64(a.Chunk), 16)
		b = append(b, '"')
	}
	b = append(b, `,"holder":`...)
	b = strconv.AppendInt(b, int64(a.Holder), 10)
	b = append(b, `,"connection":`...)
	b = strconv.AppendInt(b, int64(a.Connection), 10)
	if a.Sharers != 0 {
		b = append(b, `,"sharers":`...)
		b = strconv.AppendInt(b, int64(a.Sharers), 10)
	}
	if a.Remainder {
		b = append(b, `,"remainder":true`...)
	}
	return append(b, '}', '\n')
}

// appendWord quotes a kind or a fate. Those of a snapshot that another version
// wrote may be any text.
func appendWord(b []byte, word string) []byte {
	for i := range len(word) {
		if c := word[i]; c != '-' && (c < 'a' || c > 'z') {
			quoted, _ := json.Marshal(word) // of a string it does not fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, word...)
	return append(b, '"')
}

// rowReader reads rows as appendAllocation writes them, about ten times as fast
// as encoding/json, which reads all others.
type rowReader struct {
	rest []byte // of the row
	ok   bool
}

// skip passes over what must come next.
func (r *rowReader) skip(text string) {
	if r.ok = r.ok && len(r.rest) >= len(text) && string(r.rest[:len(text)]) == text; r.ok {
		r.rest = r.rest[len(text):]
	}
}

// has passes over what may come next.
func (r *rowReader) has(text string) bool {
	if !r.ok || len(r.rest) < len(text) || string(r.rest[:len(text)]) != text {
		return false
	}
	r.rest = r.rest[len(text):]
	return true
}

func (r *rowReader) hexadecimal() (v uint64) {
	n := 0
	for ; n < len(r.rest) && n < 17; n++ {
		c := r.rest[n]
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			r.ok = r.ok && n > 0
			r.rest = r.rest[n:]
			return v
		}
	}
	r.ok = false
	return 0
}

// decimal reads an integer of at most 18 digits that fits into so many bits.
func (r *rowReader) decimal(bits uint) (v int64) {
	negative := r.has("-")
	n := 0
	for ; n < len(r.rest) && n < 19; n++ {
		c := r.rest[n]
		if c < '0' || c > '9' {
			break
		}
		v = v*10 + int64(c-'0')
	}
	zeros := n > 1 && r.rest[0] == '0'
	r.ok = r.ok && n > 0 && n < 19 && !zeros && v <= 1<<(bits-1)-1
	r.rest = r.rest[n:]
	if negative {
		return -v
	}
	return v
}

// word reads a quoted word that is known; the row keeps no bytes of its input.
func word[T ~string](r *rowReader, known map[string]T) T {
	end := bytes.IndexByte(r.rest, '"')
	if end < 0 {
		r.ok = false
		return ""
	}
	w, ok := known[string(r.rest[:end])]
	r.ok = r.ok && ok
	r.rest = r.rest[end:]
	return w
}

var (
	knownKinds = words(KindDirect, KindNoCleaner, KindPooled, KindMapped, KindForeign)
	knownFates = words(Fates()...)
)

func words[T ~string](all ...T) map[string]T {
	m := map[string]T{}
	for _, w := range all {
		m[string(w)] = w
	}
	return m
}

// parseAllocation reads a row; ok is false where it is not as appendAllocation
// writes one.
func parseAllocation(row []byte) (a Allocation, ok bool) {
	r := rowReader{row, true}
	r.skip(`{"address":"0x`)
	a.Address = Address(r.hexadecimal())
	r.skip(`","bytes":`)
	a.Bytes = r.decimal(64)
	r.skip(`,"kind":"`)
	a.Kind = word(&r, knownKinds)
	r.skip(`","fate":"`)
	a.Fate = word(&r, knownFates)
	r.skip(`"`)
	if r.has(`,"chunk":"0x`) {
		a.Chunk = Address(r.hexadecimal())
		r.skip(`"`)
	}
	r.skip(`,"holder":`)
	a.Holder = int32(r.decimal(32))
	r.skip(`,"connection":`)
	a.Connection = int32(r.decimal(32))
	if r.has(`,"sharers":`) {
		a.Sharers = int32(r.decimal(32))
	}
	a.Remainder = r.has(`,"remainder":true`)
	r.skip("}\n")
	return a, r.ok && len(r.rest) == 0
}

// readAllocations reads rows until one is not as appendAllocation writes it, and
// returns what is left to read from there on.
func readAllocations(r *bufio.Reader, all []Allocation) ([]Allocation, io.Reader) {
	for {
		row, err := r.ReadSlice('\n')
		a, ok := parseAllocation(row)
		if err != nil || !ok {
			return all, io.MultiReader(bytes.NewReader(bytes.Clone(row)), r)
		}
		all = append(all, a)
	}
}
