// Package report renders an [analyze.Result], and the outcome of its gate, for
// people and for programs.
//
// What flows in: a result, optionally a [policy.Outcome], and [Options] (width,
// colour, how many rows). What flows out: text or bytes on a writer, the same
// for the same input: the package reads no clock, no file and no environment.
// What is unknown is shown as "–" with the reason, never as zero, and text
// that came from a target is shown without its control characters.
//
// One file holds one format; [Formats] lists them.
package report
