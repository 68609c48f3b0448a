package report

import (
	"slices"
	"strings"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// gap is one source that did not deliver, in the inputs it happened in.
type gap struct {
	source snapshot.Source
	inputs []string
}

func (g *gap) sentence(inputs int) string {
	text := g.source.Name + " is " + string(g.source.Status)
	if inputs > 1 {
		text += " in " + strings.Join(g.inputs, ", ")
	}
	if g.source.Reason != "" {
		text += ": " + g.source.Reason
	}
	return text
}

// gapsOf lists the sources that were not ok, the same ones together. With
// names it looks at those sources alone.
func gapsOf(r *analyze.Result, names ...string) []gap {
	var all []gap
	for _, s := range r.Sources {
		if s.Status == snapshot.StatusOK || len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		i := slices.IndexFunc(all, func(g gap) bool {
			return g.source.Name == s.Name && g.source.Status == s.Status && g.source.Reason == s.Reason
		})
		if i < 0 {
			all = append(all, gap{source: s.Source})
			i = len(all) - 1
		}
		if !slices.Contains(all[i].inputs, s.Input) {
			all[i].inputs = append(all[i].inputs, s.Input)
		}
	}
	return all
}

// whyNoHeap gives the reasons for memory that is not known; none when it is.
func (v *view) whyNoHeap() []string { return whyNoHeap(v.r) }

func whyNoHeap(r *analyze.Result) []string {
	if len(r.Inputs) == 0 {
		return []string{"there is no snapshot"}
	}
	var blank []string
	for _, in := range r.Inputs {
		if !in.TotalBytes.IsKnown() {
			blank = append(blank, in.Name)
		}
	}
	if len(blank) == 0 {
		return nil
	}
	var why, explained []string
	for _, g := range gapsOf(r, snapshot.SourceHeapDump, snapshot.SourceVMStructs) {
		if !slices.ContainsFunc(g.inputs, func(in string) bool { return slices.Contains(blank, in) }) {
			continue
		}
		why = append(why, g.sentence(len(r.Inputs)))
		explained = append(explained, g.inputs...)
	}
	var rest []string
	for _, name := range blank {
		if !slices.Contains(explained, name) {
			rest = append(rest, name)
		}
	}
	if len(rest) > 0 {
		why = append(why, "no heap evidence in "+strings.Join(rest, ", "))
	}
	return why
}

// whyNoConnections gives the reasons for connections that are not known in
// full; none when they are.
func (v *view) whyNoConnections() []string {
	var why []string
	for _, g := range gapsOf(v.r, snapshot.SourceSockets, snapshot.SourceFDs) {
		why = append(why, g.sentence(len(v.r.Inputs)))
	}
	if s := v.r.Summary.Connections; len(why) == 0 && (!s.Head.IsKnown() || v.diff && !s.Base.IsKnown()) {
		why = append(why, "a snapshot has no connection table")
	}
	return why
}

func (v *view) evidence() {
	gaps := gapsOf(v.r)
	if len(gaps) == 0 && len(v.r.Warnings) == 0 {
		return
	}
	v.heading("Evidence that is missing", "")
	for i := range gaps {
		g := &gaps[i]
		v.item("  - ", g.sentence(len(v.r.Inputs)))
		if g.source.Hint != "" {
			v.item("    hint: ", g.source.Hint)
		}
	}
	for _, w := range v.r.Warnings {
		v.item("  ! ", w)
	}
}

func (v *view) inputs() {
	if len(v.r.Inputs) == 0 {
		return
	}
	v.heading("Snapshots", "")
	g := &grid{columns: []column{flexible("file"), left("role"), left("taken (UTC)"), figure("after"), figure("off-heap"), left("")}}
	for _, in := range v.r.Inputs {
		note := ""
		if in.Partial {
			note = "partial"
		}
		g.add(text(in.Name), text(in.Role), text(when(in.Started)), text(secondsOf(in.ElapsedSeconds)), text(bytesOf(in.TotalBytes)), painted(note, v.p.warn))
	}
	v.grid(g)
	if slices.ContainsFunc(v.r.Inputs, func(in analyze.Input) bool { return !in.TotalBytes.IsKnown() }) {
		v.isUnknown("not known", v.whyNoHeap())
	}
	for _, s := range v.r.Sources {
		if pause, ok := s.PauseSeconds.Get(); ok && pause > 0 {
			v.para("", s.Name+" of "+s.Input+" paused the target for "+units.Seconds(pause), v.p.faint)
		}
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
