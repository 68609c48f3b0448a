package vmstructs

import (
	"encoding/binary"
	"errors"
)

// When G1 has marked, it unloads classes that nothing uses any more, and leaves their
// objects, which are dead, where they are until their region is emptied. Since 21 it
// overwrites them soon after; before, such a region stays as it is for hours. A scan
// can't tell how long such an object is: its class is gone. It looks for the next one
// that makes sense, and for those behind it.

// errUnknown says that there is no object of a known class where one should be.
var errUnknown = errors.New("no object that is known")

// behindDead returns where the objects go on behind dead ones of classes that are
// gone, where there is none at an address. Or the one before is dead, and its class's
// place was given to another whose objects have another size; last is an object some
// way before. ok is false where it may be something else: a live object of a class
// that was loaded since, or no object at all.
func (s *scanner) behindDead(at, last uint64) (next uint64, ok bool, err error) {
	j := s.j
	if j.tenured != nil {
		if next, ok := j.tenured.gap(at); ok {
			return next, true, nil
		}
	}
	if !spaceOf(j.spaces, at).settled() {
		return 0, false, nil
	}
	if !j.current {
		h, err := s.view(at, int(j.layout.smallest()))
		if err != nil || len(h) < int(j.layout.smallest()) || j.isClass(j.layout.headerKey(h)) {
			return 0, false, err
		}
	}
	from := at
	if dead, err := s.looksDead(at); err != nil {
		return 0, false, err
	} else if !dead {
		var o object
		for from = last; from < at; from += o.size {
			if ok, err := s.object(from, &o); err != nil || !ok {
				return 0, false, err
			}
			if from+o.size == at {
				break
			}
		}
		if from >= at {
			return 0, false, nil
		}
	}
	for next = from + j.layout.smallest(); next < s.end; next += j.layout.alignment {
		if ok, err := s.goesOn(next); err != nil {
			return 0, false, err
		} else if ok {
			break
		}
	}
	next = min(next, s.end)
	j.dead.Add(int64(next - from))
	if j.tenured != nil {
		j.tenured.addGap(at, next)
	}
	return next, true, nil
}

// isClass tells whether there is a class where a header says so: one whose mirror says
// that it is its. It may be one that was loaded since the others were read.
func (j *jvm) isClass(key uint64) bool {
	l := j.layout
	klass := l.klassAt(key)
	if klass%8 != 0 {
		return false
	}
	// From the Klass to its mirror, by a handle or not, and back.
	ways := []uint64{l.klass.mirror, l.mirrorKlass}
	if l.klass.mirrorIsHandle {
		ways = []uint64{l.klass.mirror, 0, l.mirrorKlass}
	}
	at := klass
	for _, offset := range ways {
		next, err := j.words([]uint64{at + offset})
		if err != nil {
			return errors.Is(err, ErrNotResident)
		}
		at = next[0]
	}
	return at == klass
}

// looksDead tells whether there is the header of an object whose class is not there.
func (s *scanner) looksDead(at uint64) (bool, error) {
	l := s.j.layout
	h, err := s.view(at, int(l.smallest()))
	if err != nil || len(h) < int(l.smallest()) {
		return false, err
	}
	key := l.headerKey(h)
	return l.plausibleMark(binary.LittleEndian.Uint64(h)) && s.j.byKey[key] == nil && s.j.keys.holds(key), nil
}

// goesOn tells whether there is an object of a known class, and behind it others, or
// the end, or another that is dead.
func (s *scanner) goesOn(at uint64) (bool, error) {
	const chain = 4
	var o object
	for n := 0; n < chain && at < s.end; n++ {
		h, err := s.view(at, 8)
		if err != nil || len(h) < 8 || !s.j.layout.plausibleMark(binary.LittleEndian.Uint64(h)) {
			return false, err
		}
		ok, err := s.object(at, &o)
		if err != nil {
			return false, err
		}
		if !ok {
			dead, err := s.looksDead(at)
			return n > 0 && dead, err
		}
		at += o.size
	}
	return true, nil
}

// plausibleMark tells whether a word can be the one that an object begins with: not
// locked, and above its hash and age nothing; or where its lock is. (markWord.hpp)
func (l *layout) plausibleMark(mark uint64) bool {
	const lockBits, unlocked, biased = 3, 1, 5
	switch {
	case mark&lockBits == unlocked && l.compactHeaders: // the class is above
		return true
	case mark&lockBits == unlocked && mark&7 != biased:
		return mark>>39 == 0
	case mark&7 == biased, mark&lockBits == 0, mark&lockBits == 2:
		return mark>>47 == 0 && mark != 0
	}
	return false
}

// keyRange is where the headers of objects say that their classes are.
type keyRange struct{ least, most, unit uint64 }

func (k *keyRange) add(key uint64) {
	if k.most == 0 {
		*k = keyRange{key, key, key & -key}
	}
	k.least, k.most, k.unit = min(k.least, key), max(k.most, key), min(k.unit, key&-key)
}

// holds tells whether a class can be there: between others, and as well aligned.
func (k *keyRange) holds(key uint64) bool {
	return k.least <= key && key <= k.most && (k.unit == 0 || key%k.unit == 0)
}

// addGap keeps what a try has found out of a stretch.
func (t *tenured) addGap(at, next uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gaps == nil {
		t.gaps = map[uint64]uint64{}
	}
	t.gaps[at] = next
}

func (t *tenured) gap(at uint64) (next uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, ok = t.gaps[at]
	return next, ok
}
