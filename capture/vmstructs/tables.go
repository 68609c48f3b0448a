package vmstructs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// tables are what libjvm.so says of its own data structures.
type tables struct {
	types     map[string]vmType
	fields    map[string]vmField // by "Type::field"
	constants map[string]int64
}

type vmType struct {
	super string
	size  uint64
}

type vmField struct {
	typ    string // as it is written in C++
	static bool
	offset uint64 // of an instance's field
	at     uint64 // address of a static field
}

const (
	maxEntries = 1 << 14 // of one table
	maxName    = 256     // bytes of a name in a table
)

func isFatal(err error) bool {
	var held *HoldError
	return errors.Is(err, ErrGone) || errors.Is(err, ErrDenied) || errors.As(err, &held)
}

// readTables reads the tables of a libjvm.so.
func readTables(l *library) (*tables, error) {
	t := &tables{types: map[string]vmType{}, fields: map[string]vmField{}, constants: map[string]int64{}}
	err := cmp.Or(
		l.table("gHotSpotVMTypes", "gHotSpotVMTypeEntry", []string{"TypeName", "SuperclassName"}, []string{"Size"}, func(names []string, v []uint64) {
			t.types[names[0]] = vmType{super: names[1], size: v[0]}
		}),
		l.table("gHotSpotVMStructs", "gHotSpotVMStructEntry", []string{"TypeName", "FieldName", "TypeString"}, []string{"IsStatic", "Offset", "Address"}, func(names []string, v []uint64) {
			t.fields[names[0]+"::"+names[1]] = vmField{typ: names[2], static: uint32(v[0]) != 0, offset: v[1], at: v[2]}
		}),
		l.table("gHotSpotVMIntConstants", "gHotSpotVMIntConstantEntry", []string{"Name"}, []string{"Value"}, func(names []string, v []uint64) {
			t.constants[names[0]] = int64(int32(v[0]))
		}),
		l.table("gHotSpotVMLongConstants", "gHotSpotVMLongConstantEntry", []string{"Name"}, []string{"Value"}, func(names []string, v []uint64) {
			t.constants[names[0]] = int64(v[0])
		}),
	)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// table reads one of the tables: an array of entries whose layout other
// exported variables give, ended by an entry without a first name.
func (l *library) table(symbol, entry string, names, values []string, add func(names []string, values []uint64)) error {
	variable := func(name string) uint64 {
		at, ok := l.symbol(name)
		if !ok {
			l.r.fail(fmt.Errorf("%w: no symbol %s", ErrNotHotSpot, name))
			return 0
		}
		return l.r.u64(at)
	}
	start, stride := variable(symbol), variable(entry+"ArrayStride")
	var nameAt, valueAt []uint64
	for _, n := range names {
		nameAt = append(nameAt, variable(entry+n+"Offset"))
	}
	for _, v := range values {
		valueAt = append(valueAt, variable(entry+v+"Offset"))
	}
	if l.r.err != nil {
		return l.r.err
	}
	if stride == 0 || stride > 256 || slices.Max(append(nameAt, valueAt...)) > stride-4 {
		return fmt.Errorf("%w: table %s has entries of %d bytes", ErrNotHotSpot, symbol, stride)
	}
	var rows [][]uint64 // addresses of the names, then values
	var texts []uint64
	const batch = 64
	for at := start; len(rows) < maxEntries; at += batch * stride {
		raw, n := l.prefix(at, batch*int(stride))
		ended := n == 0
		for ; n >= int(stride); n -= int(stride) {
			var row []uint64
			for _, o := range nameAt {
				row = append(row, field64(raw[:stride], o))
			}
			if row[0] == 0 {
				ended = true
				break
			}
			texts = append(texts, row...)
			for _, o := range valueAt {
				row = append(row, field64(raw[:stride], o))
			}
			rows = append(rows, row)
			raw = raw[stride:]
		}
		if ended {
			break
		}
	}
	text, err := l.texts(texts)
	if err != nil {
		return fmt.Errorf("table %s: %w", symbol, err)
	}
	for _, row := range rows {
		named := make([]string, len(names))
		for i := range named {
			named[i] = text[row[i]]
		}
		add(named, row[len(names):])
	}
	if len(rows) == 0 {
		return fmt.Errorf("%w: table %s is empty", ErrNotHotSpot, symbol)
	}
	return nil
}

// field64 reads 8 bytes, or what is left of the entry.
func field64(entry []byte, at uint64) uint64 {
	var b [8]byte
	copy(b[:], entry[min(at, uint64(len(entry))):])
	return binary.LittleEndian.Uint64(b[:])
}

// prefix reads n bytes, or as many as can be read up to the end of a page.
func (l *library) prefix(at uint64, n int) ([]byte, int) {
	b := make([]byte, n)
	for n > 0 {
		if err := l.r.read([]span{{at, b[:n]}}); err == nil {
			return b[:n], n
		}
		last := (at + uint64(n) - 1) &^ (pageSize - 1)
		if last <= at {
			break
		}
		n = int(last - at)
	}
	return nil, 0
}

// texts reads C strings, each once.
func (l *library) texts(at []uint64) (map[uint64]string, error) {
	at = slices.Clone(at)
	slices.Sort(at)
	at = slices.Compact(at)
	out := map[uint64]string{0: ""}
	page, raw := uint64(0), []byte(nil)
	load := func(address uint64) error {
		if p := address &^ (pageSize - 1); raw == nil || p != page {
			b := make([]byte, pageSize)
			if err := l.r.read([]span{{p, b}}); err != nil {
				return err
			}
			page, raw = p, b
		}
		return nil
	}
	for _, a := range at {
		if a == 0 {
			continue
		}
		var text []byte
		for ended := false; !ended && len(text) < maxName; {
			if err := load(a + uint64(len(text))); err != nil {
				return nil, err
			}
			rest := raw[(a+uint64(len(text)))%pageSize:]
			if i := bytes.IndexByte(rest, 0); i >= 0 {
				rest, ended = rest[:i], true
			}
			text = append(text, rest...)
		}
		out[a] = string(text)
	}
	return out, nil
}
