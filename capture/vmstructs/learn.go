package vmstructs

import (
	"cmp"
	"context"
	"time"
)

// learn scans what is not known of the old objects, before a try begins:
// collections may run meanwhile. What can't be kept the try scans itself.
func (t *tenured) learn(ctx context.Context, j *jvm, workers int) error {
	before, err := j.quiet()
	if err != nil || t.wanted == nil {
		return nil //nolint:nilerr // the try will see it too
	}
	if err := t.counts(j); err != nil {
		return err
	}
	spaces, err := j.readSpaces()
	if err != nil {
		return err
	}
	if now, err := j.look(); err != nil || now != before {
		return err
	}
	j.spaces = spaces
	t.there(spaces)
	runs := make([]extent, 0, len(spaces))
	for _, s := range spaces {
		if s.settled() {
			runs = append(runs, s.extent)
		}
	}
	runs, _ = t.rest(j, runs)
	wanted := make([]bool, len(j.classes))
	for _, address := range t.wanted {
		if k := j.byPlace[address]; k != nil {
			wanted[k.id] = true
		}
	}
	w := j.newSweep(wanted)
	w.keep = t
	all := make([]found, workers)
	v := w.visitor(j, all)
	t.between(j, &v, workers, func(n, run int) { all[n].start(runs[run], true) }, func(n, run int) { t.add(j, &all[n], runs[run]) })
	if err := j.scan(ctx, runs, workers, v); err != nil {
		return err
	}
	if t.partial {
		// Of a very large heap there is time for it once.
		begun, anew := time.Now(), true
		if end, ok := ctx.Deadline(); ok && time.Until(end) < searches*t.took {
			anew = false
		}
		t.askConnections(j, anew)
		if err := t.learnReferences(ctx, j, workers); err != nil {
			return err
		}
		if anew && len(t.connections) > 0 {
			t.took = time.Since(begun)
		}
	}
	return t.counts(j)
}

// between has a visitor scan each run while old objects stay where they are.
// begin is called before, and done after those that nothing came in between of.
func (t *tenured) between(j *jvm, v *visitor, workers int, begin, done func(worker, run int)) {
	states := make([]state, workers)
	v.begin = func(n, run int) bool {
		begin(n, run)
		var err error
		for range maxWaits {
			if states[n], err = j.look(); err != nil || !states[n].active {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return err == nil && !states[n].active
	}
	v.end = func(n, run int, err error) error {
		if err == nil && t.mixed {
			var after state
			if after, err = j.look(); err == nil && after != states[n] {
				err = errMoved
			}
		}
		if err == nil {
			done(n, run)
		}
		return nil
	}
}

// searches is for how many more there has to be time for old objects to be searched
// anew for what refers to connections.
const searches = 4

// maxWaits is how many milliseconds a collection is waited for.
const maxWaits = 500

// prepare does what a try can do before collections are a matter, so that the
// try itself is short.
func (j *jvm) prepare(ctx context.Context, workers int) error {
	j.current = false
	if err := j.loadClasses(); err != nil {
		return err
	}
	if err := j.tenured.learn(ctx, j, workers); err != nil {
		return err
	}
	return j.awaitCollection(ctx)
}

// awaitCollection waits until a collection has just ended, for there to be as
// much time as there can be until the next one, and few young objects. Where
// none comes for a while there is time enough.
func (j *jvm) awaitCollection(ctx context.Context) error {
	before, err := j.look()
	for range maxWaits {
		if err != nil || ctx.Err() != nil {
			break
		}
		time.Sleep(time.Millisecond)
		var now state
		if now, err = j.look(); err == nil && !now.active && now.collections != before.collections {
			break
		}
	}
	return cmp.Or(err, ctx.Err())
}
