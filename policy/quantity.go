package policy

import (
	"errors"
	"math"
	"strconv"
	"strings"
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
	return "bytes^" + strconv.Itoa(int(d.bytes)) + "·seconds^" + strconv.Itoa(int(d.seconds))
}

// maxPower bounds the powers that products can build up.
const maxPower = 4

func (d dimension) times(e dimension, sign int8) (dimension, bool) {
	p := dimension{d.bytes + sign*e.bytes, d.seconds + sign*e.seconds}
	ok := max(p.bytes, p.seconds) <= maxPower && min(p.bytes, p.seconds) >= -maxPower
	return p, ok
}

var byteUnits = map[string]float64{
	"B":  1,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var timeUnits = map[string]float64{"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}

// maxQuantity bounds numbers, in their base unit: an exbibyte, or more seconds
// than the universe has lasted.
const maxQuantity = 1 << 60

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
	v, err := strconv.ParseFloat(number, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, dimCount, faultf(0, "the number is too large")
	case err != nil:
		return 0, dimCount, faultf(0, "%q is not a number", number)
	case unit == "":
		return v, dimCount, nil
	case unit == "%":
		return v / 100, dimCount, nil
	}
	if factor, ok := byteUnits[unit]; ok {
		if !rate {
			return v * factor, dimBytes, nil
		}
		return v * factor / timeUnits[per], dimRate, nil // the lexer has checked the unit of time
	}
	if seconds, ok := parseTime(body); ok {
		return seconds, dimSeconds, nil
	}
	f := faultf(len(number), "unknown unit %q", unit)
	names := []string{"B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "ms", "s", "m", "h", "d"}
	if near := nearestUnit(unit, names); near != "" {
		return 0, dimCount, f.or(`did you mean "` + number + near + `"?`)
	}
	return 0, dimCount, f.or("units are " + strings.Join(names, ", ") + ", %")
}

func nearestUnit(unit string, names []string) string {
	for _, n := range names {
		if len(unit) > 1 && strings.EqualFold(n, unit) {
			return n
		}
	}
	switch strings.ToUpper(unit) {
	case "K", "KI", "M", "MI", "G", "GI", "T", "TI":
		return strings.ToUpper(unit[:1]) + "iB"
	case "SEC", "SECONDS":
		return "s"
	case "MIN", "MINUTES":
		return "m"
	}
	return ""
}

func splitNumber(text string) (number, unit string) {
	i := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		return text, ""
	}
	return text[:i], text[i:]
}

// parseTime adds up the parts of a duration such as 1h30m.
func parseTime(text string) (float64, bool) {
	total := 0.0
	for text != "" {
		number, rest := splitNumber(text)
		i := strings.IndexAny(rest, "0123456789.")
		if i < 0 {
			i = len(rest)
		}
		v, err := strconv.ParseFloat(number, 64)
		seconds, ok := timeUnits[rest[:i]]
		if err != nil || !ok {
			return 0, false
		}
		total += v * seconds
		text = rest[i:]
	}
	return total, true
}

// showNumber writes a number with its unit for a sentence.
func showNumber(v float64, d dimension) string {
	plain := strconv.FormatFloat(v, 'f', -1, 64)
	switch d {
	case dimBytes:
		return binarySize(v)
	case dimRate:
		return binarySize(v) + "/s"
	case dimSeconds:
		return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) + " s"
	case dimCount:
		if v != float64(int64(v)) {
			return strconv.FormatFloat(v, 'g', 4, 64)
		}
		return plain
	}
	return strconv.FormatFloat(v, 'g', 4, 64) + " " + d.String()
}

func binarySize(v float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i, sign := 0, ""
	if v < 0 {
		v, sign = -v, "-"
	}
	bytes := v
	for v >= 999.5 && i < len(units)-1 {
		v /= 1024
		i++
	}
	digits := 0
	if i > 0 && v < 99.95 {
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if exact := strconv.FormatFloat(bytes, 'f', -1, 64); i > 0 && bytes == math.Trunc(bytes) && text != strconv.FormatFloat(v, 'f', -1, 64) && text != strconv.FormatFloat(v, 'f', -1, 64)+".0" {
		return sign + text + " " + units[i] + " (" + exact + " B)"
	}
	return sign + text + " " + units[i]
}
