// Package term answers what an output stream is: a terminal, how wide, and
// whether to colour it.
//
// What flows in: the stream, the --color flag and the environment, the latter
// as a function so that nothing here reads globals. What flows out: a yes or
// no, or a number of columns. Each stream is decided by itself.
package term

import (
	"fmt"
	"io"
	"strconv"

	"golang.org/x/term"
)

// DefaultWidth is used where a stream is no terminal.
const DefaultWidth = 80

// The bounds of a width: below, tables cannot be read; above, lines cannot.
const (
	minWidth = 40
	maxWidth = 240
)

// descriptor is what an *os.File has.
type descriptor interface{ Fd() uintptr }

// IsTerminal reports whether the stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(descriptor)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width is the number of columns to fill: that of the terminal, else COLUMNS,
// else 80, kept between 40 and 240. lookup is os.LookupEnv.
func Width(w io.Writer, lookup func(string) (string, bool)) int {
	width := DefaultWidth
	if text, ok := lookup("COLUMNS"); ok {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			width = n
		}
	}
	if f, ok := w.(descriptor); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			width = n
		}
	}
	return min(max(width, minWidth), maxWidth)
}

// ColorMode is the value of --color.
type ColorMode string

// The modes.
const (
	ColorAuto   ColorMode = "auto"
	ColorAlways ColorMode = "always"
	ColorNever  ColorMode = "never"
)

// ParseColorMode reads the value of --color; "" is auto.
func ParseColorMode(text string) (ColorMode, error) {
	switch m := ColorMode(text); m {
	case ColorAuto, ColorAlways, ColorNever:
		return m, nil
	case "":
		return ColorAuto, nil
	}
	return "", fmt.Errorf("colour mode %q: want auto, always or never", text)
}

// Colored decides whether a stream gets colour: the flag, then NO_COLOR
// (no-color.org: any value but the empty one), then CLICOLOR_FORCE and
// FORCE_COLOR, then whether it is a terminal that is not dumb and CLICOLOR is
// not 0. lookup is os.LookupEnv.
func Colored(w io.Writer, mode ColorMode, lookup func(string) (string, bool)) bool {
	switch mode {
	case ColorAlways:
		return true
	case ColorNever:
		return false
	}
	env := func(name string) string {
		v, _ := lookup(name)
		return v
	}
	switch {
	case env("NO_COLOR") != "":
		return false
	case forced(env("CLICOLOR_FORCE")), forced(env("FORCE_COLOR")):
		return true
	case env("CLICOLOR") == "0", env("TERM") == "dumb":
		return false
	}
	return IsTerminal(w)
}

func forced(value string) bool { return value != "" && value != "0" && value != "false" }
