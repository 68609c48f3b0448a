package heap

import (
	"fmt"
	"maps"
	"slices"
)

// virtualThreads returns the virtual threads that there are.
func (w *walk) virtualThreads() map[Node]bool {
	threads := map[Node]bool{}
	for _, n := range w.objects[roleThread] {
		if w.className(n) == virtualThread {
			threads[n] = true
		}
	}
	return threads
}

// noteVirtual finds out whether a heap dump lacks what the frames of virtual threads
// refer to: those of JDK 21 have no root for a virtual thread that waits
// (JDK-8299426). Nothing can be said to be garbage then.
func (w *walk) noteVirtual(unrooted map[Node]bool) error {
	threads := slices.Sorted(maps.Keys(unrooted))
	states, ok, err := w.columnsOf(threads, "state")
	if err != nil {
		return err
	}
	alive := 0
	for i := range threads {
		if ok[i] && VirtualAlive(states[i]) {
			alive++
		}
	}
	if alive > 0 {
		w.framesMissing = true
		w.warnings = append(w.warnings, fmt.Sprintf(
			"%d virtual threads are in this dump without what their frames refer to: what only these hold can't be told from garbage", alive))
	}
	return nil
}

const virtualThread = "java.lang.VirtualThread"

// VirtualAlive tells by the field state of a java.lang.VirtualThread whether it has
// begun and not ended (VirtualThread.java, 21 to 27).
func VirtualAlive(state uint64) bool {
	const notStarted, terminated, suspended = 0, 99, 1 << 8
	return state != notStarted && state&^suspended != terminated
}
