package vmstructs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readImage reads an image as a process is read.
func readImage(t testing.TB, m *image) []string {
	t.Helper()
	target, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	reading, err := target.Read(t.Context(), Options{})
	if err != nil || reading.Tries != 1 {
		t.Fatalf("%v after %d tries: %q", err, reading.Tries, reading.Rejected)
	}
	return rows(reading.Heap)
}

// TestImages reads recorded JVMs: byte for byte what the processes gave.
func TestImages(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			m := loadImage(t, name)
			if diff := cmp.Diff(loadTruth(t, name), readImage(t, m)); diff != "" {
				t.Error(diff)
			}
			t.Logf("%+v", m.cost())
		})
	}
}

func BenchmarkImages(b *testing.B) {
	for _, name := range images {
		m := loadImage(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				readImage(b, m)
			}
		})
	}
}
