package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Seconds writes a duration with two or three figures: "12 ms", "1.7 s",
// "45 s", "12 min", "3.4 h", "5.0 d".
func Seconds(s float64) string {
	sign := ""
	if s < 0 {
		sign, s = "-", -s
	}
	format := func(v float64, digits int, unit string) string {
		return sign + strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
	}
	switch {
	case math.IsNaN(s):
		return "not a number"
	case s == 0:
		return "0 s"
	case s < 0.0000005:
		return sign + "<1 µs"
	case s < 0.0009995:
		return format(s*1e6, 0, "µs")
	case s < 0.00995:
		return format(s*1e3, 1, "ms")
	case s < 0.9995:
		return format(s*1e3, 0, "ms")
	case s < 9.95:
		return format(s, 1, "s")
	case s < 119.5:
		return format(s, 0, "s")
	case s < 119.5*60:
		return format(s/60, 0, "min")
	case s < 47.95*3600:
		return format(s/3600, 1, "h")
	}
	return format(s/86400, 1, "d")
}

var timeFactors = map[string]float64{"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}

// maxSeconds is the longest time that time.Duration holds, rounded down.
const maxSeconds = 9.2e9

// ParseSeconds reads a time as a sum of parts with their units: 30s, 5m,
// 1h30m, 500ms, 2d. Errors are [SyntaxError].
func ParseSeconds(text string) (float64, error) {
	if text == "" {
		return 0, &SyntaxError{Text: text, Reason: "want a number and a unit, such as 30s"}
	}
	total := 0.0
	for rest := text; rest != ""; {
		number, after := split(rest)
		v, err := parseNumber(text, number)
		if err != nil {
			return 0, err
		}
		i := strings.IndexAny(after, "0123456789.")
		if i < 0 {
			i = len(after)
		}
		unit := after[:i]
		factor, ok := timeFactors[unit]
		if !ok {
			reason := fmt.Sprintf("unknown unit %q", unit)
			if unit == "" {
				reason = "a time needs a unit"
			}
			return 0, &SyntaxError{Text: text, Reason: reason, Hint: "units are ms, s, m (minutes), h, d"}
		}
		total += v * factor
		rest = after[i:]
	}
	if total > maxSeconds {
		return 0, &SyntaxError{Text: text, Reason: "the time is too long"}
	}
	return total, nil
}

// ParseDuration is [ParseSeconds] for what takes a time.Duration.
func ParseDuration(text string) (time.Duration, error) {
	s, err := ParseSeconds(text)
	return time.Duration(math.Round(s * float64(time.Second))), err
}
