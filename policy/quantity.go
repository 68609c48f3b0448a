package policy

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/leakscope/leakscope/internal/units"
)

// dimension is the unit of a figure as powers of bytes and seconds; the zero
// dimension is a plain number.
type dimension struct{ bytes, seconds int8 }

var (
	dimCount   = dimension{}
	dimBytes   = dimension{bytes: 1}
	dimSeconds = dimension{seconds: 1}
	dimRate    = dimension{bytes: 1, seconds: -1}
)

// String names the dimension for messages.
func (d dimension) String() string {
	switch d {
	case dimCount:
		return "a plain number"
	case dimBytes:
		return "bytes"
	case dimSeconds:
		return "seconds"
	case dimRate:
		return "bytes per second"
	}
	var parts []string
	for _, p := range []struct {
		unit  string
		power int8
	}{{"bytes", d.bytes}, {"seconds", d.seconds}} {
		switch p.power {
		case 0:
		case 1:
			parts = append(parts, p.unit)
		default:
			parts = append(parts, p.unit+"^"+strconv.Itoa(int(p.power)))
		}
	}
	return strings.Join(parts, "·")
}

// maxPower bounds the powers that products can build up.
const maxPower = 4

func (d dimension) times(e dimension, sign int8) (dimension, bool) {
	p := dimension{d.bytes + sign*e.bytes, d.seconds + sign*e.seconds}
	ok := max(p.bytes, p.seconds) <= maxPower && min(p.bytes, p.seconds) >= -maxPower
	return p, ok
}

// maxQuantity bounds numbers, in their base unit; maxDigits as they are written.
const (
	maxQuantity = 1 << 60
	maxDigits   = 24
)

// parseQuantity reads a number with its unit: 3, 25%, 8MiB, 8MiB/s, 30s, 1h30m.
// A fault's offset counts from the start of the text.
func parseQuantity(text string) (float64, dimension, *fault) {
	v, d, f := scaleQuantity(text)
	if f == nil && v > maxQuantity {
		return 0, d, faultf(0, "the number is too large")
	}
	return v, d, f
}

func scaleQuantity(text string) (float64, dimension, *fault) {
	body, per, rate := strings.Cut(text, "/")
	number, unit := splitNumber(body)
	if len(number) > maxDigits {
		return 0, dimCount, faultf(0, "the number is too long")
	}
	if unit == "" || unit == "%" {
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, dimCount, faultf(0, "%q is not a number", number)
		}
		if unit == "%" {
			v /= 100
		}
		return v, dimCount, nil
	}
	if seconds, err := units.ParseSeconds(body); err == nil {
		return seconds, dimSeconds, nil
	}
	size, err := units.ParseBytes(body)
	if err != nil {
		return 0, dimBytes, unitFault(number, err)
	}
	if !rate {
		return float64(size), dimBytes, nil
	}
	seconds, err := units.ParseSeconds("1" + per)
	if err != nil {
		return 0, dimRate, unitFault(number, err)
	}
	return float64(size) / seconds, dimRate, nil
}

// unitFault turns an error of units into a fault at the unit.
func unitFault(number string, err error) *fault {
	var syntax *units.SyntaxError
	if !errors.As(err, &syntax) {
		return faultf(0, "%s", err)
	}
	f := faultf(0, "%s", syntax.Reason).or(syntax.Hint)
	if strings.HasPrefix(syntax.Reason, "unknown unit") {
		f.at = len(number)
		_, unit := splitNumber(syntax.Text)
		switch time := timeMeant(unit); {
		case time != "":
			f.hint = "did you mean " + number + time + "?"
		case len(unit) > len("MiB") || !strings.HasPrefix(syntax.Hint, "did you mean"):
			f.hint = "units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, ms, s, m (minutes), h, d, and %"
		}
	}
	return f
}

// timeMeant is the unit of time that a word abbreviates, or "".
func timeMeant(word string) string {
	for _, long := range []string{"seconds", "minutes", "hours", "days"} {
		if len(word) >= 3 && strings.HasPrefix(long, strings.ToLower(word)) {
			return long[:1]
		}
	}
	return ""
}

func isByteQuantity(text string) bool {
	_, err := units.ParseBytes(text)
	return err == nil
}

func isTimeUnit(text string) bool {
	_, err := units.ParseSeconds("1" + text)
	return err == nil && !strings.ContainsAny(text, "0123456789.")
}

func splitNumber(text string) (number, unit string) {
	i := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		return text, ""
	}
	return text[:i], text[i:]
}

// showNumber writes a number with its unit for a sentence: rounded, and with
// all its digits where rounding would hide on which side of a limit it lies.
func showNumber(v float64, d dimension) string {
	plain := strconv.FormatFloat(v, 'g', 6, 64)
	whole := v == math.Trunc(v) && math.Abs(v) < 1<<62
	switch {
	case d == dimBytes && whole:
		return exactSize(int64(v))
	case d == dimBytes && math.Abs(v) >= 1024 && math.Abs(v) < 1<<62:
		return units.Bytes(int64(math.Round(v)))
	case d == dimBytes:
		return plain + " B"
	case d == dimRate && math.Abs(v) >= 10 && math.Abs(v) < 1<<62:
		return units.Rate(v)
	case d == dimRate:
		return plain + " B/s"
	case d == dimSeconds:
		return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) + " s"
	case d == dimCount && whole:
		return units.Count(int64(v))
	case d == dimCount:
		return plain
	}
	return plain + " " + d.String()
}

// exactSize is "8.0 MiB", or "8.0 MiB (8,388,609 B)" where that is not the
// same.
func exactSize(n int64) string {
	text := units.Bytes(n)
	if v, err := units.ParseBytes(strings.TrimPrefix(text, "-")); err == nil && v == max(n, -n) {
		return text
	}
	return text + " (" + units.Exact(n) + ")"
}
