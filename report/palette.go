package report

import (
	"github.com/fatih/color"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// palette paints words for one writer. The colours of fatih/color are switched
// one by one, because its global switch is decided from stdout alone.
type palette struct {
	heading, faint, good, warn, bad *color.Color
}

func newPalette(colored bool) palette {
	make := func(attributes ...color.Attribute) *color.Color {
		c := color.New(attributes...)
		if colored {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c
	}
	return palette{
		heading: make(color.Bold),
		faint:   make(color.Faint),
		good:    make(color.FgGreen),
		warn:    make(color.FgYellow),
		bad:     make(color.FgRed, color.Bold),
	}
}

// plain is the colour of what needs none.
var plain *color.Color

func paint(c *color.Color, text string) string {
	if c == nil || text == "" {
		return text
	}
	return c.Sprint(text)
}

func (p palette) verdict(v analyze.Verdict) *color.Color {
	switch v {
	case analyze.Leak:
		return p.bad
	case analyze.Growing, analyze.Inconclusive:
		return p.warn
	case analyze.Steady, analyze.Shrinking:
		return p.good
	}
	return plain
}

func (p palette) state(s analyze.State) *color.Color {
	switch s {
	case analyze.StateClosed, analyze.StatePeerClosed:
		return p.bad
	case analyze.StateStalled, analyze.StateUnreachable, analyze.StateUnknown:
		return p.warn
	case analyze.StateActive:
		return p.good
	}
	return plain
}

func (p palette) severity(s analyze.Severity) *color.Color {
	switch s {
	case analyze.SeverityError:
		return p.bad
	case analyze.SeverityWarning:
		return p.warn
	}
	return plain
}

func (p palette) status(s snapshot.Status) *color.Color {
	switch s {
	case snapshot.StatusOK:
		return p.good
	case snapshot.StatusDenied, snapshot.StatusUnstable:
		return p.bad
	case snapshot.StatusPartial:
		return p.warn
	}
	return plain
}
