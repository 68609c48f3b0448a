package analyze

import (
	"net/netip"
	"time"

	"github.com/leakscope/leakscope/snapshot"
)

// Schema and FormatVersion identify the JSON form of a Result. A published
// schema is never edited, only added to.
const (
	Schema        = "urn:leakscope:schema:report:1"
	FormatVersion = "1.1"
)

// Int is a whole number that may be unknown.
type Int = snapshot.Optional[int64]

// Float is a number that may be unknown.
type Float = snapshot.Optional[float64]

// Confidence says how a figure was learned.
type Confidence string

// The confidences, best first.
const (
	Exact     Confidence = "exact"    // a reference path was walked
	Inferred  Confidence = "inferred" // counters and sockets only
	NoneKnown Confidence = "unknown"  // nothing to judge from
)

// Verdict is the one-word answer.
type Verdict string

// The verdicts.
const (
	Leak         Verdict = "leak"
	Growing      Verdict = "growing"
	Steady       Verdict = "steady"
	Shrinking    Verdict = "shrinking"
	Inconclusive Verdict = "inconclusive"
)

// State is the lifecycle state of a connection; each has exactly one.
type State string

// The lifecycle states, in the order reports show them.
const (
	StateListening   State = "listening"
	StateOpening     State = "opening"
	StateActive      State = "active"
	StateIdle        State = "idle"
	StateStalled     State = "stalled"
	StateUnreachable State = "unreachable"
	StatePeerClosed  State = "peer-closed"
	StateClosing     State = "closing"
	StateClosed      State = "closed"
	StateUnknown     State = "unknown"
)

// States lists every lifecycle state in the order reports show them.
func States() []State {
	return []State{
		StateListening, StateOpening, StateActive, StateIdle, StateStalled,
		StateUnreachable, StatePeerClosed, StateClosing, StateClosed, StateUnknown,
	}
}

// Delta is one figure over the inputs: in the first snapshot, in the last, and
// what became of the first's share. Head = Retained + New wherever all are
// known. Base = Retained + Freed for the total and for a connection; in a row
// by state, fate or holder a retained allocation counts where it is now, and
// may have come from another row. The report of one snapshot has Head alone.
type Delta struct {
	Base     Int `json:"base"`
	Head     Int `json:"head"`
	Retained Int `json:"retained"`
	New      Int `json:"new"`
	Freed    Int `json:"freed"`
}

// Pair is a figure that has no parts that are retained or freed.
type Pair struct {
	Base Int `json:"base"`
	Head Int `json:"head"`
}

// Result is the answer to report (one snapshot) and diff (two or more). Its
// JSON form is the contract in doc/json.md.
type Result struct {
	Schema        string        `json:"schema"`
	FormatVersion string        `json:"format_version"`
	Tool          snapshot.Tool `json:"tool"`
	Inputs        []Input       `json:"inputs"`
	Summary       Summary       `json:"summary"`
	States        []StateRow    `json:"states"`
	Fates         []FateRow     `json:"fates"`
	Holders       []HolderRow   `json:"holders"`
	// Retainers is the head's tree of who would free how much if it were gone;
	// missing where not all roots of its heap are known.
	Retainers      *snapshot.Retainer `json:"retainers,omitempty"`
	Connections    []ConnectionRow    `json:"connections"`
	Transitions    []Transition       `json:"transitions"`
	Findings       []Finding          `json:"findings"`
	Trends         []Trend            `json:"trends"` // three snapshots or more
	Reconciliation []Reconciliation   `json:"reconciliation"`
	Residency      []Residency        `json:"residency"` // empty: rss could not be split
	Sources        []SourceRow        `json:"sources"`
	Warnings       []string           `json:"warnings"`
}

// Input is one snapshot that went in.
type Input struct {
	Name           string          `json:"name"` // as given, base name only
	Role           string          `json:"role"` // "base", "head", "between"
	Target         snapshot.Target `json:"target"`
	Started        time.Time       `json:"started"`
	ElapsedSeconds Float           `json:"elapsed_seconds"` // since the first input
	TotalBytes     Int             `json:"total_bytes"`     // all allocations
	Partial        bool            `json:"partial"`
}

// Summary is the verdict and the totals it rests on.
type Summary struct {
	Verdict        Verdict    `json:"verdict"`
	Confidence     Confidence `json:"confidence"`
	Reasons        []string   `json:"reasons"` // sentences, the decisive one first
	NextSteps      []string   `json:"next_steps"`
	Bytes          Delta      `json:"bytes"`       // all allocations but those of fate runtime
	Allocations    Delta      `json:"allocations"` // likewise
	Connections    Pair       `json:"connections"`
	ElapsedSeconds Float      `json:"elapsed_seconds"`
	// RetainedBytes are those that something keeps in use: of fate connection,
	// application, lost or unattributed, and the JDK's thread-local caches of
	// temporary buffers; not a pool's reserve, not garbage.
	RetainedBytes Delta `json:"retained_bytes"`
	// GrowthBytesPerSecond is the growth of RetainedBytes.
	GrowthBytesPerSecond Float `json:"growth_bytes_per_second"`
	// ClosedConnections ended between base and head: gone, closed, or closed by
	// their peer. Growth for each of them is what tells a leak from warm-up.
	ClosedConnections              Int   `json:"closed_connections"`
	GrowthBytesPerClosedConnection Float `json:"growth_bytes_per_closed_connection"`
}

// StateRow is one lifecycle state: the connections in it in each snapshot, and
// the allocations those connections hold in each. Retained, New and Freed
// follow an allocation into the state it is in at the head (freed: the state
// it was in at the base).
type StateRow struct {
	State       State      `json:"state"`
	Connections Pair       `json:"connections"`
	Allocations Delta      `json:"allocations"`
	Bytes       Delta      `json:"bytes"`
	Confidence  Confidence `json:"confidence"`
	// KernelSendQueueBytes is what the kernel holds unsent for these
	// connections, outside the process's memory: beside the total, never in it.
	KernelSendQueueBytes Pair `json:"kernel_send_queue_bytes"`
}

// FateRow is one fate and its allocations. The rows of all fates sum to the total.
type FateRow struct {
	Fate        snapshot.Fate `json:"fate"`
	Allocations Delta         `json:"allocations"`
	Bytes       Delta         `json:"bytes"`
}

// HolderRow is one holder path and the allocations it keeps.
type HolderRow struct {
	Path        []string      `json:"path"`
	Root        string        `json:"root,omitempty"`
	Fate        snapshot.Fate `json:"fate"`
	States      []State       `json:"states"` // of the connections at its top, at the head
	Connections Pair          `json:"connections"`
	Allocations Delta         `json:"allocations"`
	Bytes       Delta         `json:"bytes"`
}

// ConnectionRow is one connection, seen from the heap and from the kernel.
type ConnectionRow struct {
	ID          string           `json:"id"`              // stable across snapshots
	Class       string           `json:"class,omitempty"` // "" when only the kernel knows it
	Local       netip.AddrPort   `json:"local,omitzero"`
	Remote      netip.AddrPort   `json:"remote,omitzero"`
	FD          Int              `json:"fd"`
	Inode       uint64           `json:"inode,omitempty"`
	BaseState   State            `json:"base_state,omitempty"` // "": not there
	State       State            `json:"state,omitempty"`      // at the head; "": gone
	Reason      string           `json:"reason"`               // the evidence for the state
	Confidence  Confidence       `json:"confidence"`
	Allocations Delta            `json:"allocations"`
	Bytes       Delta            `json:"bytes"`
	Socket      *snapshot.Socket `json:"socket,omitempty"` // at the head, else the base
	// Evidence and Labels are what the heap says of the connection.
	Evidence map[string]int64  `json:"evidence,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// Transition counts the connections that went from one state to another, and
// the bytes they held before and kept on the way.
type Transition struct {
	From          State `json:"from,omitempty"` // "": not there before
	To            State `json:"to,omitempty"`   // "": gone
	Connections   int64 `json:"connections"`
	BaseBytes     Int   `json:"base_bytes"`
	HeadBytes     Int   `json:"head_bytes"`
	RetainedBytes Int   `json:"retained_bytes"`
}

// Shape says how a figure moved over three snapshots or more.
type Shape string

// The shapes of a trend.
const (
	Rising      Shape = "rising"       // the interval of its slope lies above zero
	LevelingOff Shape = "leveling-off" // it rose and has stopped: warm-up
	Flat        Shape = "flat"
	Falling     Shape = "falling"
	Undecided   Shape = "undecided" // too few snapshots, or too much scatter
)

// Trend is one figure over three snapshots or more: the Theil–Sen slope, which
// single outliers do not move, with its 90 % confidence interval.
type Trend struct {
	Of      string `json:"of"`  // total, state, fate, holder, connection, counter
	Key     string `json:"key"` // which one
	Per     string `json:"per"` // second, closed-connection
	Samples int64  `json:"samples"`
	Shape   Shape  `json:"shape"`
	// Slope is in bytes; Low and High are unknown with fewer than four samples.
	Slope  Float `json:"slope_bytes"`
	Low    Float `json:"low_bytes"`
	High   Float `json:"high_bytes"`
	Values []Int `json:"values_bytes"` // one for each input
}

// Severity ranks a finding.
type Severity string

// The severities, worst first.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note"
)

// Finding is a named problem at one place.
type Finding struct {
	ID          string     `json:"id"`    // cause/form/place, stable across runs
	Cause       string     `json:"cause"` // e.g. no-termination
	Form        string     `json:"form,omitempty"`
	Title       string     `json:"title"`
	Severity    Severity   `json:"severity"`
	Confidence  Confidence `json:"confidence"`
	States      []State    `json:"states"`
	Connections Pair       `json:"connections"`
	Bytes       Delta      `json:"bytes"`
	Evidence    []Evidence `json:"evidence"`
	Disproof    string     `json:"disproof"` // what would show it wrong
	Remedy      string     `json:"remedy"`
	Verify      string     `json:"verify"`
}

// Evidence is one line of a finding's evidence and where it was read.
type Evidence struct {
	Text   string `json:"text"`
	Source string `json:"source"`
}

// Reconciliation is one counter beside the attributed total. Counters overlap:
// they are shown side by side and never summed.
type Reconciliation struct {
	Counter         string `json:"counter"`
	Base            Int    `json:"base"`
	Head            Int    `json:"head"`
	DifferenceBytes Int    `json:"difference_bytes"` // head counter − the allocations it should count
	Covers          string `json:"covers"`           // what it counts
	Explanation     string `json:"explanation"`      // what the difference is
	Source          string `json:"source"`
}

// Residency is one part of the process's resident memory. The parts sum to rss;
// unexplained takes what is left, and is negative when pages went away between
// the reading of rss and that of the mappings.
type Residency struct {
	Part      string `json:"part"`
	BaseBytes Int    `json:"base_bytes"`
	HeadBytes Int    `json:"head_bytes"`
	Source    string `json:"source"`
}

// SourceRow is one source in one input.
type SourceRow struct {
	Input string `json:"input"`
	snapshot.Source
}
