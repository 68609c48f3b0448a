package heap

import (
	"context"
	"sync"
	"sync/atomic"
)

// rowSource gives the rows of a pass, batch by batch, to several goroutines at
// once: from memory, or by reading the dump again.
type rowSource interface {
	// each calls visit for every chunk; backward asks for the reverse order,
	// which a source may ignore. A goroutine's chunks come one after another.
	each(ctx context.Context, backward bool, visit func(c *chunk)) error
	// stored reports whether the rows are in memory.
	stored() bool
}

// storedRows are the chunks of all workers.
type storedRows struct {
	lists [][]*chunk
}

func (s *storedRows) stored() bool { return true }

func (s *storedRows) each(ctx context.Context, backward bool, visit func(c *chunk)) error {
	var group sync.WaitGroup
	for _, list := range s.lists {
		group.Go(func() {
			for i := range list {
				if backward {
					i = len(list) - 1 - i
				}
				if ctx.Err() != nil {
					return
				}
				visit(list[i])
			}
		})
	}
	group.Wait()
	return ctx.Err()
}

// closure marks the ancestors of the anchors: every object from which one can
// be reached.
type closure struct {
	rows  rowSource
	slots int
	marks bitmap
}

// maxSweeps is how many times the rows are swept before what is left is
// decided by a reverse index: one costs about as much as so many sweeps.
const maxSweeps = 10

// grow marks ancestors until there are no more. A sweep over the rows marks
// the sources of marked targets; because it sees the marks it has just made,
// it follows chains along its direction to their end, and sweeps alternate.
// Few heaps need more than six. Those that do are finished by a reverse index,
// so the time is linear in the rows whatever their order.
func (c *closure) grow(ctx context.Context) error {
	for sweep := 0; ; sweep++ {
		if sweep == maxSweeps && c.rows.stored() {
			return c.finish(ctx)
		}
		var changed atomic.Bool
		backward := sweep%2 == 0
		err := c.rows.each(ctx, backward, func(k *chunk) {
			var any bool
			if backward {
				any = sweepBackward(k, c.marks)
			} else {
				any = sweepForward(k, c.marks)
			}
			if any {
				changed.Store(true)
			}
		})
		if err != nil {
			return err
		}
		if !changed.Load() {
			return nil
		}
	}
}

func sweepForward(k *chunk, marks bitmap) (changed bool) {
	targets := k.targets
	for i, mask := range k.masks {
		n := rowTargets(mask)
		for _, t := range targets[:n] {
			if marks.has(t) {
				if src := k.srcs[i]; !marks.has(src) {
					marks.set(src)
					changed = true
				}
				break
			}
		}
		targets = targets[n:]
	}
	return changed
}

func sweepBackward(k *chunk, marks bitmap) (changed bool) {
	targets := k.targets
	for i := len(k.masks) - 1; i >= 0; i-- {
		n := len(targets) - rowTargets(k.masks[i])
		for _, t := range targets[n:] {
			if marks.has(t) {
				if src := k.srcs[i]; !marks.has(src) {
					marks.set(src)
					changed = true
				}
				break
			}
		}
		targets = targets[:n]
	}
	return changed
}

// finish marks the remaining ancestors through an index from each unmarked
// object to those that refer to it.
func (c *closure) finish(ctx context.Context) error {
	sources := newBitmap(c.slots)
	err := c.rows.each(ctx, false, func(k *chunk) {
		for _, src := range k.srcs {
			if !c.marks.has(src) {
				sources.set(src)
			}
		}
	})
	if err != nil {
		return err
	}
	number := rank(sources, nil)
	starts := make([]atomic.Uint32, number.total+1)
	visit := func(yield func(t, src packed)) func(k *chunk) {
		return func(k *chunk) {
			targets := k.targets
			for i, mask := range k.masks {
				n := rowTargets(mask)
				if sources.has(k.srcs[i]) {
					for _, t := range targets[:n] {
						if sources.has(t) {
							yield(t, k.srcs[i])
						}
					}
				}
				targets = targets[n:]
			}
		}
	}
	if err := c.rows.each(ctx, false, visit(func(t, _ packed) { starts[number.of(t)].Add(1) })); err != nil {
		return err
	}
	var sum uint32
	for i := range starts {
		sum += starts[i].Load()
		starts[i].Store(sum)
	}
	referrers := make([]packed, sum)
	if err := c.rows.each(ctx, false, visit(func(t, src packed) {
		referrers[starts[number.of(t)].Add(^uint32(0))] = src
	})); err != nil {
		return err
	}
	// The sources of marked targets start the worklist.
	var mu sync.Mutex
	var work []packed
	err = c.rows.each(ctx, false, func(k *chunk) {
		targets := k.targets
		for i, mask := range k.masks {
			n := rowTargets(mask)
			if src := k.srcs[i]; sources.has(src) {
				for _, t := range targets[:n] {
					if c.marks.has(t) && !sources.has(t) {
						mu.Lock()
						work = append(work, src)
						mu.Unlock()
						break
					}
				}
			}
			targets = targets[n:]
		}
	})
	if err != nil {
		return err
	}
	for _, src := range work {
		c.marks.set(src)
	}
	for len(work) > 0 {
		t := work[len(work)-1]
		work = work[:len(work)-1]
		n := number.of(t)
		end := sum
		if int(n)+1 < len(starts) {
			end = starts[n+1].Load()
		}
		for _, src := range referrers[starts[n].Load():end] {
			if c.marks.set(src) {
				work = append(work, src)
			}
		}
	}
	return nil
}
