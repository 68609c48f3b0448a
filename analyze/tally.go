package analyze

import "github.com/leakscope/leakscope/snapshot"

// tally sums one figure on both sides of a diff.
type tally struct{ base, head, retained, created, freed int64 }

// evidence says which sides of a diff are known: a side without heap evidence
// has no figures, not figures of zero.
type evidence struct{ base, head bool }

// delta turns the sums into what is known of them.
func (t tally) delta(known evidence) Delta {
	var d Delta
	if known.base {
		d.Base = snapshot.Known(t.base)
	}
	if known.head {
		d.Head = snapshot.Known(t.head)
	}
	if known.base && known.head {
		d.Retained = snapshot.Known(t.retained)
		d.New = snapshot.Known(t.created)
		d.Freed = snapshot.Known(t.freed)
	}
	return d
}

// pair turns base and head alone into what is known of them.
func (t tally) pair(known evidence) Pair {
	d := t.delta(known)
	return Pair{Base: d.Base, Head: d.Head}
}

// amounts is a tally of allocations and one of their bytes.
type amounts struct{ count, bytes tally }

// addBase counts an allocation at the base; addHead one at the head;
// addRetained, addNew and addFreed what became of it. They are apart because a
// row that is asked about its base may not be the row its head belongs to.
func (a *amounts) addBase(bytes int64) { a.count.base++; a.bytes.base += bytes }
func (a *amounts) addHead(bytes int64) { a.count.head++; a.bytes.head += bytes }

func (a *amounts) addRetained(bytes int64) { a.count.retained++; a.bytes.retained += bytes }
func (a *amounts) addNew(count, bytes int64) {
	a.count.created += count
	a.bytes.created += bytes
}

func (a *amounts) addFreed(count, bytes int64) {
	a.count.freed += count
	a.bytes.freed += bytes
}
