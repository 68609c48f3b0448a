package snapshot

// ExaminationSchema and ExaminationVersion identify the JSON form of an
// [Examination].
const (
	ExaminationSchema  = "urn:leakscope:schema:examination:1"
	ExaminationVersion = "1.0"
)

// Examination says what can be captured of a target, and what not.
type Examination struct {
	Schema        string      `json:"schema"`
	FormatVersion string      `json:"format_version"`
	Tool          Tool        `json:"tool"`
	Target        Target      `json:"target"`
	Conditions    []Condition `json:"conditions"` // in the order they are looked at
	Levels        []Level     `json:"levels"`     // from the least that is captured to the most
}

// Condition is one thing about a target that a capture depends on.
type Condition struct {
	Name  string         `json:"name"`
	State ConditionState `json:"state"`
	Found string         `json:"found"`
	Hint  string         `json:"hint,omitempty"` // the way out
}

// ConditionState says what a condition means for a capture.
type ConditionState string

// The states of a condition.
const (
	ConditionOK      ConditionState = "ok"
	ConditionNote    ConditionState = "note"    // good to know, no obstacle
	ConditionLimits  ConditionState = "limits"  // something can't be captured, or takes a signal or a pause
	ConditionBlocks  ConditionState = "blocks"  // most can't be captured
	ConditionUnknown ConditionState = "unknown" // could not be found out
)

// Level is one way to capture a target, with what it would cost.
type Level struct {
	Name      string            `json:"name"`
	Command   string            `json:"command"`
	Available Availability      `json:"available"`
	Reason    string            `json:"reason,omitempty"` // why it is not, or not known to be
	Hint      string            `json:"hint,omitempty"`   // the way out
	Seconds   Optional[float64] `json:"estimated_seconds"`
	Pause     Optional[float64] `json:"estimated_pause_seconds"` // of the target
	Memory    Optional[int64]   `json:"memory_bytes"`            // of leakscope
	Disk      Optional[int64]   `json:"disk_bytes"`              // free space wanted in a directory of the target
	Signals   Optional[bool]    `json:"signals"`                 // it sends the target a signal
}

// Availability says whether a level can be captured.
type Availability string

// The values of an availability.
const (
	AvailableYes     Availability = "yes"
	AvailableNo      Availability = "no"
	AvailableUnknown Availability = "unknown"
)
