package hprof

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// zipped compresses text as members of a block each; with a comment, as
// HotSpot does.
func zipped(text []byte, block int, comment string) []byte {
	var out bytes.Buffer
	for first := true; first || len(text) > 0; first = false {
		z := gzip.NewWriter(&out)
		if first {
			z.Comment = comment
		}
		n := min(block, len(text))
		_, _ = z.Write(text[:n])
		_ = z.Close()
		text = text[n:]
	}
	return out.Bytes()
}

func inflate(t *testing.T, z []byte, workers int) ([]byte, error) {
	t.Helper()
	last := int64(-1)
	r, err := NewGzipReader(t.Context(), bytes.NewReader(z), int64(len(z)), workers, func(n int64) {
		if n < last || n > int64(len(z)) {
			t.Errorf("progress %d after %d of %d", n, last, len(z))
		}
		last = n
	})
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	return text, errors.Join(err, r.Close())
}

// text is neither random nor constant, and holds the start of a gzip member:
// so the compressed form may hold places that look like one.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(4))
		if r.IntN(50) == 0 {
			copy(b[i:], "\x1f\x8b\x08\x00")
		}
	}
	return b
}

func TestGzip(t *testing.T) {
	want := text(300_000)
	// Stored blocks keep such places as they are.
	var stored bytes.Buffer
	z, _ := gzip.NewWriterLevel(&stored, gzip.NoCompression)
	z.Comment = blockComment + "1"
	_, _ = z.Write(want)
	_ = z.Close()
	for name, file := range map[string][]byte{
		"one member":                 zipped(want, len(want), ""),
		"members":                    zipped(want, 1000, ""),
		"members of HotSpot":         zipped(want, 1000, blockComment+"1000"),
		"a comment that is not true": zipped(want, 70_000, blockComment+"10"),
		"a comment without a number": zipped(want, 5000, blockComment),
		"one member of HotSpot":      zipped(want, len(want), blockComment+"1048576"),
		"false starts of members":    stored.Bytes(),
		"an empty member":            append(zipped(nil, 1, blockComment+"1"), zipped(want, 4000, "")...),
	} {
		for _, workers := range []int{1, 3} {
			got, err := inflate(t, file, workers)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %d workers: %d of %d bytes, %v", name, workers, len(got), len(want), err)
			}
		}
	}
}

// TestCutGzip cuts a compressed file at every byte: what comes is the start of
// the text, and but for cuts between members there is an error.
func TestCutGzip(t *testing.T) {
	want := text(600)
	for _, comment := range []string{"", blockComment + "200"} {
		whole := zipped(want, 200, comment)
		clean := 0
		for cut := range len(whole) {
			got, err := inflate(t, whole[:cut], 2)
			if !bytes.HasPrefix(want, got) {
				t.Fatalf("cut at %d: other bytes", cut)
			}
			if err == nil {
				clean++
				if len(got)%200 != 0 {
					t.Errorf("cut at %d: no error after %d bytes", cut, len(got))
				}
			}
		}
		if clean > 5 {
			t.Errorf("%d cuts were not noticed", clean)
		}
	}
}

func TestDamagedGzip(t *testing.T) {
	want := text(3000)
	whole := zipped(want, 500, blockComment+"500")
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 0x55
	if got, err := inflate(t, damaged, 2); err == nil {
		t.Errorf("%d bytes of a damaged file, no error", len(got))
	}
	gap := append(bytes.Clone(whole), "no member"...)
	if got, err := inflate(t, append(gap, zipped(want, 500, "")...), 2); err == nil || !strings.Contains(err.Error(), "offset") || len(got) != len(want) {
		t.Errorf("%d bytes before a gap, %v", len(got), err)
	}
	// A member that inflates beyond the limit is not kept in memory.
	bomb := zipped(make([]byte, 3*maxMember), 3*maxMember, blockComment+"1")
	if got, err := inflate(t, bomb, 1); err == nil || len(got) > 2*maxMember {
		t.Errorf("%d bytes of a bomb, %v", len(got), err)
	}
}
