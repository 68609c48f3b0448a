package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// InspectionSchema and InspectionVersion identify the JSON form of an
// [Inspection].
const (
	InspectionSchema  = "urn:leakscope:schema:inspection:1"
	InspectionVersion = "1.0"
)

// Inspection is what a snapshot holds and how good its evidence is.
type Inspection struct {
	Schema          string             `json:"schema"`
	FormatVersion   string             `json:"format_version"`
	File            string             `json:"file"`
	SnapshotVersion string             `json:"snapshot_format_version"`
	Tool            snapshot.Tool      `json:"tool"`
	Target          snapshot.Target    `json:"target"`
	Clock           snapshot.Clock     `json:"clock"`
	Interrupted     bool               `json:"interrupted"`
	Sources         []snapshot.Source  `json:"sources"`
	Sections        []Section          `json:"sections"`
	Checks          []snapshot.Check   `json:"checks"`
	Counters        []snapshot.Counter `json:"counters"`
	Warnings        []string           `json:"warnings"`
}

// Section is one part of a snapshot. Rows is unknown when the part was not
// captured, and 1 for a part that is no list.
type Section struct {
	Name string                   `json:"name"`
	Rows snapshot.Optional[int64] `json:"rows"`
}

func inspect(file string, s *snapshot.Snapshot) *Inspection {
	m := &s.Manifest
	in := &Inspection{
		Schema: InspectionSchema, FormatVersion: InspectionVersion,
		File: file, SnapshotVersion: m.FormatVersion, Tool: m.Tool, Target: m.Target, Clock: m.Clock,
		Interrupted: m.Interrupted, Sources: m.Sources, Sections: sectionsOf(s),
	}
	in.Counters = s.Counters()
	if s.Heap != nil {
		in.Checks = s.Heap.Checks
		if !s.Heap.Complete {
			in.Warnings = append(in.Warnings, "the heap was read in part: "+cmp.Or(s.Heap.Reason, "it does not say why"))
		}
		in.Warnings = append(in.Warnings, s.Heap.Warnings...)
	}
	if m.Interrupted {
		in.Warnings = append(in.Warnings, "the capture was interrupted")
	}
	return in
}

func sectionsOf(s *snapshot.Snapshot) []Section {
	section := func(name string, captured bool, rows int) Section {
		if !captured {
			return Section{Name: name}
		}
		return Section{name, snapshot.Known(int64(rows))}
	}
	all := []Section{
		section("memory", s.Memory != nil, 1),
		section("mappings", s.Mappings != nil, len(s.Mappings)),
		section("fds", s.FDs != nil, len(s.FDs)),
		section("sockets", s.Sockets != nil, len(s.Sockets)),
		section("jvm", s.JVM != nil, 1),
	}
	heap := s.Heap
	if heap == nil {
		heap = &snapshot.Heap{}
	}
	return append(
		all,
		section("heap allocations", s.Heap != nil, len(heap.Allocations)),
		section("heap holders", s.Heap != nil, len(heap.Holders)),
		section("heap connections", s.Heap != nil, len(heap.Connections)),
	)
}

// InspectJSON writes an [Inspection] of the snapshot that file names.
func InspectJSON(w io.Writer, file string, s *snapshot.Snapshot) error {
	return encodeJSON(w, rewritten(inspect(file, s), nil))
}

// Inspect writes what is in a snapshot, and how good its evidence is, for a
// terminal.
func Inspect(w io.Writer, file string, s *snapshot.Snapshot, o Options) error {
	in := rewritten(inspect(file, s), visible)
	v := &view{o: o, width: o.width(), p: newPalette(o.Color)}
	v.para("", fmt.Sprintf("%s: snapshot format %s by %s", in.File, in.SnapshotVersion, tool(in.Tool)), v.p.heading)
	v.inspectTarget(in)
	v.inspectSources(in)
	v.inspectSections(in)
	v.inspectChecks(in)
	if len(in.Warnings) > 0 {
		v.heading("Warnings", "")
		for _, w := range in.Warnings {
			v.item("  ! ", w)
		}
	}
	return v.flush(w)
}

func tool(t snapshot.Tool) string {
	return strings.TrimSpace(cmp.Or(t.Name, "an unnamed tool") + " " + t.Version)
}

// pairs writes lines of a name and a value, the values aligned.
func (v *view) pairs(all [][2]string) {
	width := 0
	for _, p := range all {
		width = max(width, columns(p[0]))
	}
	for _, p := range all {
		if p[1] != "" {
			v.item("  "+p[0]+strings.Repeat(" ", width-columns(p[0])+2), p[1])
		}
	}
}

func (v *view) inspectTarget(in *Inspection) {
	t := &in.Target
	v.heading("Target", "")
	owner := ""
	if uid, ok := t.UID.Get(); ok {
		owner = fmt.Sprintf("uid %d", uid)
		if gid, ok := t.GID.Get(); ok {
			owner += fmt.Sprintf(", gid %d", gid)
		}
	} else if t.PID != 0 {
		owner = unknown
	}
	command := strings.Join(t.CommandLine, " ")
	if t.Redacted && command != "" {
		command += " (redacted)"
	}
	identity := ""
	if t.PID != 0 {
		identity = fmt.Sprintf("start %d ticks after boot %s", t.StartTimeTicks, t.BootID)
		if t.StartedAt != nil {
			identity += ", " + when(*t.StartedAt) + " UTC"
		}
	}
	v.pairs([][2]string{
		{"process", describeTarget(t)},
		{"identity", identity},
		{"owner", owner},
		{"command", command},
		{"container", t.ContainerID},
		{"kernel", t.Kernel},
		{"heap dump", t.HeapDumpFile},
		{"taken", clockOf(&in.Clock)},
	})
}

func clockOf(c *snapshot.Clock) string {
	text := when(c.Started) + " UTC"
	if d := c.Finished.Sub(c.Started); d > 0 {
		text += ", in " + units.Seconds(d.Seconds())
	}
	return text + ", machine up " + secondsOf(c.UptimeSeconds)
}

func (v *view) inspectSources(in *Inspection) {
	v.heading("Sources", "")
	if len(in.Sources) == 0 {
		v.para("", "none: the snapshot does not say how it was taken", v.p.warn)
		return
	}
	g := &grid{columns: []column{left("source"), left("status"), figure("took"), figure("pause"), figure("estimated"), figure("read")}}
	for _, s := range in.Sources {
		g.add(
			text(s.Name), painted(string(s.Status), v.p.status(s.Status)), text(units.Seconds(s.DurationSeconds)),
			text(secondsOf(s.PauseSeconds)), text(secondsOf(s.EstimateSeconds)), text(bytesOf(s.BytesRead)),
		)
	}
	v.grid(g)
	for _, s := range in.Sources {
		var details []string
		for name, value := range s.Detail {
			details = append(details, name+" "+value)
		}
		slices.Sort(details)
		if s.Reason != "" {
			v.item("  "+s.Name+": ", s.Reason)
		}
		if s.Hint != "" {
			v.item("  "+s.Name+": hint: ", s.Hint)
		}
		if len(details) > 0 {
			v.item("  "+s.Name+": ", strings.Join(details, ", "))
		}
	}
	v.para("", unknown+" not measured, or not applicable", v.p.faint)
}

func (v *view) inspectSections(in *Inspection) {
	v.heading("Contents", "")
	g := &grid{columns: []column{left("section"), figure("rows")}}
	missing := false
	for _, s := range in.Sections {
		missing = missing || !s.Rows.IsKnown()
		g.add(text(s.Name), text(countOf(s.Rows)))
	}
	v.grid(g)
	if missing {
		v.para("", unknown+" not captured: its source says why", v.p.faint)
	}
}

func (v *view) inspectChecks(in *Inspection) {
	if len(in.Checks) > 0 {
		v.heading("Self-checks of the heap", "")
		g := &grid{columns: []column{flexible("check"), figure("expected"), figure("found"), left("")}}
		for _, c := range in.Checks {
			verdict := painted("ok", v.p.good)
			if !c.OK {
				verdict = painted("differs", v.p.bad)
			}
			g.add(text(c.Name), text(units.Count(c.Expected)), text(units.Count(c.Actual)), verdict)
		}
		v.grid(g)
	}
	if len(in.Counters) > 0 {
		v.heading("Counters of the target", "")
		g := &grid{columns: []column{flexible("counter"), figure("value")}}
		for _, c := range in.Counters {
			value := unknown
			if n, ok := c.Value.Get(); ok {
				value = units.Count(n)
			}
			g.add(text(c.Name), text(value))
		}
		v.grid(g)
	}
}
