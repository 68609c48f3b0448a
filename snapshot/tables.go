package snapshot

import (
	"slices"
	"strings"
)

// DetailWholeTables is a key of [Source.Detail] of a partial source of sockets:
// the protocols, joined by spaces, whose tables were read whole all the same,
// with ages and queues, and whose rows are known to be the target's.
const DetailWholeTables = "whole_tables"

// HasTables reports whether a source of sockets has read the tables of all
// these protocols whole.
func (s *Source) HasTables(protocols ...Protocol) bool {
	switch s.Status {
	case StatusOK:
		return true
	case StatusPartial:
		whole := strings.Fields(s.Detail[DetailWholeTables])
		return !slices.ContainsFunc(protocols, func(p Protocol) bool { return !slices.Contains(whole, string(p)) })
	}
	return false
}

// HasTCP reports whether a source of sockets knows every TCP connection of the
// target: what it lacks, if anything, is about unix sockets.
func (s *Source) HasTCP() bool { return s.HasTables(TCP4, TCP6) }
