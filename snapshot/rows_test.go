package snapshot

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// TestAllocationRows holds the rows that are written against encoding/json.
func TestAllocationRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"", "direct", "no-cleaner", "pool-free", "a \"quoted\" one", "caf\u00e9", "<&>", "New1"}
	var all []Allocation
	for range 5000 {
		a := Allocation{
			Address: Address(r.Uint64() >> r.IntN(64)), Bytes: r.Int64() >> r.IntN(63),
			Kind: Kind(words[r.IntN(len(words))]), Fate: Fate(words[r.IntN(len(words))]),
			Holder: int32(r.IntN(100)) - 1, Connection: int32(r.Uint32()), Remainder: r.IntN(2) == 0,
		}
		if r.IntN(2) == 0 {
			a.Chunk, a.Sharers = Address(r.Uint64()), int32(r.IntN(9))
		}
		all = append(all, a)
	}
	var want, got bytes.Buffer
	enc := json.NewEncoder(&want)
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeAllocations(&got, all); err != nil {
		t.Fatal(err)
	}
	w, g := bytes.SplitAfter(want.Bytes(), []byte("\n")), bytes.SplitAfter(got.Bytes(), []byte("\n"))
	if len(w) != len(g) {
		t.Fatalf("%d rows, want %d", len(g), len(w))
	}
	for i := range w {
		if !bytes.Equal(w[i], g[i]) {
			t.Fatalf("row %d is %swant %s", i, g[i], w[i])
		}
	}
}

// TestParseAllocation holds what is read of a row, whole or changed in one place,
// against encoding/json: the same, or left to it.
func TestParseAllocation(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	kinds := []Kind{KindDirect, KindNoCleaner, KindPooled, KindMapped, KindForeign, "other"}
	taken := 0
	for range 20_000 {
		a := Allocation{
			Address: Address(r.Uint64() >> r.IntN(64)), Bytes: r.Int64() >> r.IntN(63),
			Kind: kinds[r.IntN(len(kinds))], Fate: Fates()[r.IntN(len(Fates()))],
			Holder: int32(r.IntN(100)) - 1, Connection: int32(r.Uint32()), Remainder: r.IntN(2) == 0,
		}
		if r.IntN(2) == 0 {
			a.Chunk, a.Sharers = Address(r.Uint64()), int32(r.IntN(9))
		}
		row := appendAllocation(nil, &a)
		if r.IntN(3) == 0 {
			row[r.IntN(len(row))] = byte(r.IntN(256))
		}
		got, ok := parseAllocation(row)
		if !ok {
			continue
		}
		taken++
		var want Allocation
		if err := json.Unmarshal(row, &want); err != nil || got != want {
			t.Fatalf("%q is read as %+v; encoding/json: %+v, %v", row, got, want, err)
		}
	}
	if taken < 8_000 {
		t.Errorf("%d rows of 20,000 were read", taken)
	}
}

// BenchmarkWriteAllocations writes a row at a time.
func BenchmarkWriteAllocations(b *testing.B) {
	all := make([]Allocation, 1000)
	for i := range all {
		all[i] = Allocation{Address: Address(0x7f0000000000 + i<<12), Bytes: 4096, Kind: KindDirect, Fate: FateApplication, Holder: 3, Connection: -1}
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"rows": func(w *bytes.Buffer) error { return writeAllocations(w, all) },
		"encoding-json": func(w *bytes.Buffer) error {
			enc := json.NewEncoder(w)
			for i := range all {
				if err := enc.Encode(&all[i]); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			var w bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				w.Reset()
				if err := write(&w); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(w.Len()))
		})
	}
}
