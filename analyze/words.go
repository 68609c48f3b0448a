package analyze

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size writes a number of bytes for a sentence: three figures and a binary
// unit.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := math.Abs(float64(n)), 0
	for v >= 999.5 && i < len(units)-1 {
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
	return sign + strconv.FormatFloat(v, 'f', digits, 64) + " " + units[i]
}

func rate(bytesPerSecond float64) string { return size(int64(math.Round(bytesPerSecond))) + "/s" }

func duration(seconds float64) string {
	switch {
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 7200:
		return fmt.Sprintf("%.0f min", seconds/60)
	}
	return fmt.Sprintf("%.1f h", seconds/3600)
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// shortStep leaves the package out of a "package.Class.field" step.
func shortStep(step string) string {
	field := strings.LastIndexByte(step, '.')
	if field < 0 {
		return step
	}
	return shortClass(step[:field]) + step[field:]
}

func shortClass(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}
