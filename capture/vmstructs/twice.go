package vmstructs

import (
	"errors"
	"fmt"

	"github.com/leakscope/leakscope/heap"
)

// A heap that is read while its program runs can hide an object: one that is
// handed from a holder that was not looked at yet to one that was. No collection
// runs for that, and no counter changes. So the walk is made twice, and what it
// says of an allocation counts only when it says it twice.

// maxMoved is the share of all bytes that may have changed hands between two
// walks. Where a walk misjudges one allocation in a hundred, two of them differ
// on two, and agree on the same mistake on one in ten thousand.
const maxMoved = 0.02

// errHanded says that the program moved too much while it was read.
var errHanded = errors.New("objects changed hands meanwhile")

// allocation is what two walks know one by.
type allocation struct {
	address, chunk uint64
	bytes          int64
	kind           heap.Kind
}

// agree takes the second of two walks, less what they do not agree on: those
// allocations are unattributed. What only one of them met came up, or went,
// between them. handed tells that there were such.
//
// A word on a stack may be all that is found of an object on its way from one
// holder to the next, twice in a row: where objects change hands, what a thread
// holds is no claim either.
func agree(first, second *heap.Result) (agreed *heap.Result, handed bool, err error) {
	fates := make(map[allocation]heap.Fate, len(first.Allocations))
	for _, a := range first.Allocations {
		if !a.Remainder || a.Fate == heap.FateLost {
			fates[identity(a)] = a.Fate
		}
	}
	var moved, all int64
	count := 0
	var byThread []int
	open := func(a *heap.Allocation) {
		a.Fate, a.Holder, a.Connection, a.Sharers = heap.FateUnattributed, -1, -1, 0
		moved += a.Bytes
		count++
	}
	for i := range second.Allocations {
		a := &second.Allocations[i]
		if a.Fate == heap.FateRuntime {
			continue
		}
		all += a.Bytes
		if a.Remainder && a.Fate != heap.FateLost {
			continue // what is free in a pool follows from what is not
		}
		fate, met := fates[identity(*a)]
		if met && fate == a.Fate && fate == heap.FateApplication && a.Holder >= 0 && second.Holders[a.Holder].Root == "thread" {
			byThread = append(byThread, i)
		}
		// What was lost must have been as much before: it is a difference of sums,
		// each of which can be of another moment.
		if met && fate == a.Fate || !met && a.Fate != heap.FateLost {
			continue
		}
		open(a)
	}
	if count == 0 {
		return second, false, nil
	}
	for _, i := range byThread {
		open(&second.Allocations[i])
	}
	if float64(moved) > maxMoved*float64(all) {
		return nil, true, fmt.Errorf("%w: %d allocations", errHanded, count)
	}
	second.Warnings = append(second.Warnings, fmt.Sprintf("%d allocations with %d bytes changed hands while the heap was read", count, moved))
	return second, true, nil
}

func identity(a heap.Allocation) allocation {
	return allocation{address: a.Address, chunk: a.Chunk, bytes: a.Bytes, kind: a.Kind}
}
