// Package policy is the gate: rules over an [analyze.Result], each a condition
// in a small expression language, judged with three answers.
//
// What flows in: the bytes of a policy file and its name, or expressions from
// the command line, a result, and the time (waivers end). What flows out: an
// [Outcome], which says of every rule whether it held, with each figure it
// used and where that came from, and what the gate as a whole says.
//
// What is refused: unknown keys, metrics, labels and label values, figures of
// different units compared with each other, a second document, anchors,
// duplicate ids, and anything beyond the limits on size and depth; all errors
// of a file are reported together, each with line and column.
//
// Missing evidence is never zero: a rule that needs a figure which is not
// known neither holds nor fails, it cannot be judged. The package reads no
// clock, no file and no environment.
package policy
