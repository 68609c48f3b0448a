package heap

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// BenchmarkRead reads a generated dump of 200,000 things; bytes per second are
// those of the dump. scripts/bench.sh measures whole processes on dumps that a
// JVM wrote.
func BenchmarkRead(b *testing.B) {
	m := randomModel(rand.New(rand.NewPCG(1, 2)), 200_000)
	dump, _ := m.encode(shape{idSize: 8, segment: 1 << 20})
	zipped := zip(dump, 1<<20)
	for name, read := range map[string]func() (*Result, error){
		"file": func() (*Result, error) {
			return ReadAt(b.Context(), bytes.NewReader(dump), int64(len(dump)), Options{})
		},
		"stream": func() (*Result, error) { return ReadStream(b.Context(), bytes.NewReader(dump), Options{}) },
		"gzip": func() (*Result, error) {
			return ReadAt(b.Context(), bytes.NewReader(zipped), int64(len(zipped)), Options{})
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(dump)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
