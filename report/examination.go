package report

import (
	"io"
	"strings"

	"github.com/fatih/color"

	"github.com/leakscope/leakscope/snapshot"
)

// ExaminationJSON writes an examination as JSON.
func ExaminationJSON(w io.Writer, e *snapshot.Examination) error {
	return encodeJSON(w, rewritten(e, nil))
}

// Examination writes what can be captured of a target, for a terminal.
func Examination(w io.Writer, e *snapshot.Examination, o Options) error {
	e = rewritten(e, visible)
	v := &view{o: o, width: o.width(), p: newPalette(o.Color)}
	v.para("", describeTarget(&e.Target), v.p.heading)
	v.heading("Conditions", "")
	g := &grid{columns: []column{left("condition"), left("state"), flexible("found")}}
	for _, c := range e.Conditions {
		g.add(text(c.Name), painted(string(c.State), v.p.condition(c.State)), text(c.Found))
	}
	v.grid(g)
	var hints remarks
	for _, c := range e.Conditions {
		hints.add(c.Name, "hint: ", c.Hint)
	}
	hints.write(v)
	v.heading("Levels of capture", "")
	g = &grid{columns: []column{left("level"), left("possible"), figure("takes"), figure("pause"), figure("memory"), figure("disk"), left("signal")}}
	for _, l := range e.Levels {
		signal := unknown
		if sends, ok := l.Signals.Get(); ok {
			signal = map[bool]string{false: "none", true: "SIGQUIT"}[sends]
		}
		g.add(
			text(l.Name), painted(string(l.Available), v.p.available(l.Available)), text(secondsOf(l.Seconds)), text(secondsOf(l.Pause)),
			text(bytesOf(l.Memory)), text(bytesOf(l.Disk)), text(signal),
		)
	}
	v.grid(g)
	var reasons, commands remarks
	for _, l := range e.Levels {
		reasons.add(l.Name, "", l.Reason)
		reasons.add(l.Name, "hint: ", l.Hint)
		if l.Available != snapshot.AvailableNo {
			commands.add(l.Name, "", l.Command)
		}
	}
	reasons.write(v)
	v.para("", "estimates; memory is leakscope's own, disk that of a directory of the target; "+unknown+" not known", v.p.faint)
	v.heading("Commands", "")
	commands.write(v)
	return v.flush(w)
}

// remarks are texts, each with the names it is about.
type remarks struct {
	texts []string
	names map[string][]string
}

func (r *remarks) add(name, prefix, text string) {
	if text == "" {
		return
	}
	if r.names == nil {
		r.names = map[string][]string{}
	}
	text = prefix + text
	if r.names[text] == nil {
		r.texts = append(r.texts, text)
	}
	r.names[text] = append(r.names[text], name)
}

func (r *remarks) write(v *view) {
	for _, text := range r.texts {
		v.item("  ", strings.Join(r.names[text], ", ")+": "+text)
	}
}

func (p palette) condition(s snapshot.ConditionState) *color.Color {
	switch s {
	case snapshot.ConditionOK:
		return p.good
	case snapshot.ConditionBlocks:
		return p.bad
	case snapshot.ConditionLimits, snapshot.ConditionUnknown:
		return p.warn
	}
	return p.faint
}

func (p palette) available(a snapshot.Availability) *color.Color {
	switch a {
	case snapshot.AvailableYes:
		return p.good
	case snapshot.AvailableNo:
		return p.bad
	}
	return p.warn
}
