package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var binaryUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// Bytes writes a number of bytes with three figures and a binary unit:
// "26.2 MiB", "512 B".
func Bytes(n int64) string { return binary(float64(n)) }

// SignedBytes is Bytes with a plus sign before what is above zero.
func SignedBytes(n int64) string {
	if n > 0 {
		return "+" + Bytes(n)
	}
	return Bytes(n)
}

// Rate writes bytes per second: "1.2 KiB/s".
func Rate(bytesPerSecond float64) string { return binary(math.Round(bytesPerSecond)) + "/s" }

func binary(n float64) string {
	if math.IsNaN(n) {
		return "not a number"
	}
	v, i := math.Abs(n), 0
	for v >= 999.5 && i < len(binaryUnits)-1 {
		v /= 1024
		i++
	}
	digits := 0
	if i > 0 && v < 99.95 {
		digits = 1
	}
	sign := ""
	if n < 0 {
		sign = "-"
	}
	return sign + strconv.FormatFloat(v, 'f', digits, 64) + " " + binaryUnits[i]
}

// Exact writes a number of bytes with all its digits in groups of three:
// "27,472,896 B".
func Exact(n int64) string { return Count(n) + " B" }

// Count writes a whole number with its digits in groups of three: "12,345".
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// SignedCount is Count with a plus sign before what is above zero.
func SignedCount(n int64) string {
	if n > 0 {
		return "+" + Count(n)
	}
	return Count(n)
}

// byteFactors are the units that ParseBytes reads, as they are spelt. IEC
// 80000-13 has the binary ones, the SI the decimal ones.
var byteFactors = []struct {
	unit   string
	factor float64
}{
	{"B", 1},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"PB", 1e15},
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"PiB", 1 << 50},
}

// SyntaxError says why a text is no amount.
type SyntaxError struct {
	Text   string // what was given
	Reason string
	Hint   string // what it may have been meant to be; "" when the reason says it
}

func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("%q: %s", e.Text, e.Reason)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// ParseBytes reads a number of bytes with its unit: 512B, 8MiB, 8MB, 1.5GiB;
// one space may stand before the unit. Units are spelt as in B, kB, MB, GB,
// TB, PB, KiB, MiB, GiB, TiB, PiB, and what is written must come to a whole
// number of bytes that 63 bits hold, fractions below a byte rounded off.
// Errors are [SyntaxError].
func ParseBytes(text string) (int64, error) {
	number, unit := split(text)
	v, err := parseNumber(text, number)
	if err != nil {
		return 0, err
	}
	if unit == "" {
		return 0, &SyntaxError{Text: text, Reason: "a size needs a unit", Hint: "write " + number + "B, " + number + "KiB or " + number + "MiB"}
	}
	for _, f := range byteFactors {
		if f.unit != unit {
			continue
		}
		n := math.Round(v * f.factor)
		if n >= 1<<63 {
			return 0, &SyntaxError{Text: text, Reason: "the size is too large"}
		}
		if n == 0 && v > 0 {
			return 0, &SyntaxError{Text: text, Reason: "less than one byte"}
		}
		return int64(n), nil
	}
	return 0, &SyntaxError{Text: text, Reason: fmt.Sprintf("unknown unit %q", unit), Hint: hintFor(number, unit)}
}

// hintFor names both readings of a unit that could be binary or decimal.
func hintFor(number, unit string) string {
	prefix := strings.ToUpper(unit[:1])
	if !strings.Contains("KMGTP", prefix) {
		return "units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
	}
	decimal := prefix + "B"
	if prefix == "K" {
		decimal = "kB"
	}
	return fmt.Sprintf("did you mean %s%siB (steps of 1024) or %s%s (steps of 1000)?", number, prefix, number, decimal)
}

// split takes a number and its unit apart, with at most one space in between.
func split(text string) (number, unit string) {
	i := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimPrefix(text[i:], " ")
}

func parseNumber(text, number string) (float64, error) {
	if number == "" {
		return 0, &SyntaxError{Text: text, Reason: "want a number and a unit, such as 8MiB or 30s"}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(v, 0) {
		return 0, &SyntaxError{Text: text, Reason: fmt.Sprintf("%q is not a number", number)}
	}
	return v, nil
}
