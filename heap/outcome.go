package heap

import (
	"context"
	"fmt"
)

// result makes the closure of a finished pass, attributes it and fills in what
// only the reader of the dump knows.
func (red *reduction) result(ctx context.Context, again rowSource, rep *report) (*Result, error) {
	unknown, otherwise := red.finish()
	rows := again
	if !red.dropped.Load() {
		stored := &storedRows{}
		for _, w := range red.workers {
			if len(w.chunks) > 0 {
				stored.lists = append(stored.lists, w.chunks)
			}
		}
		rows = stored
	}
	if unknown > 0 {
		rep.warnings = append(rep.warnings, fmt.Sprintf("%d objects are of classes that the dump does not describe", unknown))
	}
	if red.pages.full.Load() {
		return nil, fmt.Errorf("the heap spans more than %d GiB of pages in use: too large for this reader", maxPages>>(30-pageBits))
	}
	red.pinCounters()
	marks := newBitmap(red.pages.slots())
	red.markAnchors(marks)
	c := &closure{rows: rows, slots: red.pages.slots(), marks: marks}
	if err := c.grow(ctx); err != nil {
		return nil, err
	}
	g, err := newDumpGraph(ctx, red, rows, marks)
	if err != nil {
		return nil, err
	}
	for _, w := range red.workers {
		w.chunks = nil
	}
	red.leaves = growingBitmap{}
	collectLarge(g.Len())
	r, err := Attribute(g)
	if err != nil {
		return nil, err
	}
	r.Objects, r.Bytes = 0, rep.read
	for _, w := range red.workers {
		r.Objects += w.objects
	}
	r.Warnings = append(r.Warnings, rep.warnings...)
	switch {
	case rep.damage != nil:
		r.Complete, r.Reason = false, rep.damage.Error()
	case len(otherwise) > 0:
		r.Complete, r.Reason = false, fmt.Sprintf("heap dump: %d classes are not as the JVM was seen to keep them, %s first: their objects were read wrongly", len(otherwise), otherwise[0])
	case rep.truncatedAt >= 0:
		r.Complete, r.Reason = false, fmt.Sprintf("heap dump offset %d: the dump ends here, before its last record", rep.truncatedAt)
	}
	collectLarge(len(r.Allocations)) // the graph is needed no more, and what is made of the result is as large
	return r, nil
}
