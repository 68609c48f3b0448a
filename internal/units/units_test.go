package units

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for _, test := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"},
		{1, "1 B"},
		{-1, "-1 B"},
		{999, "999 B"},
		{1000, "1.0 KiB"},
		{1024, "1.0 KiB"},
		{1023487, "999 KiB"},
		{1023488, "1.0 MiB"},
		{104805171, "99.9 MiB"},
		{104806482, "100 MiB"},
		{-27472896, "-26.2 MiB"},
		{10 << 30, "10.0 GiB"},
		{10 << 40, "10.0 TiB"},
		{math.MaxInt64, "8.0 EiB"},
		{math.MinInt64, "-8.0 EiB"},
	} {
		if got := Bytes(test.n); got != test.want {
			t.Errorf("Bytes(%d) = %q, want %q", test.n, got, test.want)
		}
	}
	if got := SignedBytes(2048); got != "+2.0 KiB" {
		t.Error(got)
	}
	if got := SignedBytes(0); got != "0 B" {
		t.Error(got)
	}
	if got := Rate(1228.8); got != "1.2 KiB/s" {
		t.Error(got)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 12: "12", 999: "999", 1000: "1,000", -1000: "-1,000", 1234567: "1,234,567",
		math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := SignedCount(1000) + Exact(27472896); got != "+1,00027,472,896 B" {
		t.Error(got)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0B": 0, "512B": 512, "8MiB": 8388608, "8MB": 8000000, "1.5GiB": 1610612736, "26.2 MiB": 27472691,
		"1kB": 1000, "1KiB": 1024, "2TiB": 2 << 40, "3TB": 3e12, ".5KiB": 512, "4PiB": 4 << 50,
	} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":         "want a number",
		"MiB":      "want a number",
		"-8MiB":    "want a number",
		"8":        "needs a unit",
		"8M":       "8MiB (steps of 1024) or 8MB (steps of 1000)",
		"8mb":      "8MiB (steps of 1024) or 8MB (steps of 1000)",
		"8k":       "8KiB (steps of 1024) or 8kB (steps of 1000)",
		"8KB":      "8KiB (steps of 1024) or 8kB (steps of 1000)",
		"8  MiB":   "unknown unit",
		"8MiB ":    "unknown unit",
		"1.2.3MiB": "not a number",
		"1e3MiB":   "unknown unit",
		"0x10B":    "unknown unit",
		"9000PiB":  "too large",
		"0.1B":     "less than one byte",
		"8s":       "units are B",
	} {
		_, err := ParseBytes(text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseBytes(%q): error %v, want one that says %q", text, err, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for _, test := range []struct {
		s    float64
		want string
	}{
		{0, "0 s"},
		{1e-9, "<1 µs"},
		{0.00012, "120 µs"},
		{0.0015, "1.5 ms"},
		{0.0123, "12 ms"},
		{0.9994, "999 ms"},
		{0.9996, "1.0 s"},
		{1.74, "1.7 s"},
		{9.96, "10 s"},
		{-30, "-30 s"},
		{119.6, "2 min"},
		{7169, "119 min"},
		{7200, "2.0 h"},
		{86400 * 5, "5.0 d"},
	} {
		if got := Seconds(test.s); got != test.want {
			t.Errorf("Seconds(%g) = %q, want %q", test.s, got, test.want)
		}
	}
}

func TestParseSeconds(t *testing.T) {
	for text, want := range map[string]float64{
		"30s": 30, "5m": 300, "1h30m": 5400, "500ms": 0.5, "2d": 172800, "1.5s": 1.5, "0s": 0,
	} {
		got, err := ParseSeconds(text)
		if err != nil || got != want {
			t.Errorf("ParseSeconds(%q) = %g, %v; want %g", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "s", "5 min", "5min", "-5s", "1h30", "999999999d", "5M", "1s,2s"} {
		var syntax *SyntaxError
		if _, err := ParseSeconds(text); !errors.As(err, &syntax) {
			t.Errorf("ParseSeconds(%q): error %v, want a SyntaxError", text, err)
		}
	}
	if d, err := ParseDuration("1h30m"); err != nil || d != 90*time.Minute {
		t.Errorf("%v, %v", d, err)
	}
}

// What Bytes writes, ParseBytes reads back within the rounding of three figures.
func FuzzBytesRoundTrip(f *testing.F) {
	for _, n := range []int64{0, 1, 999, 1000, 27472896, 1 << 40, 1 << 53} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 || n > 1<<59 { // beyond, Bytes writes EiB
			return
		}
		got, err := ParseBytes(Bytes(n))
		if err != nil {
			t.Fatal(err)
		}
		if diff := math.Abs(float64(got - n)); diff > float64(n)*0.051 {
			t.Errorf("%d was written %q and read as %d", n, Bytes(n), got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"8MiB", "8MB", "1h30m", "", "9e9B", "1..s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := ParseBytes(text); err == nil && n < 0 {
			t.Errorf("ParseBytes(%q) = %d", text, n)
		}
		if s, err := ParseSeconds(text); err == nil && (s < 0 || math.IsNaN(s) || s > maxSeconds) {
			t.Errorf("ParseSeconds(%q) = %g", text, s)
		}
	})
}
