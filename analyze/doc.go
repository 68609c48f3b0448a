// Package analyze turns snapshots into an answer: pure functions, no clock, no
// environment, no files.
//
// What flows in: one [snapshot.Snapshot] for [Report], two or more of one
// target for [Diff]. What flows out: a [Result], the JSON contract of every
// report. It refuses snapshots of different targets.
package analyze
