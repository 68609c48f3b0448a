package vmstructs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Native code holds objects by JNI global references. The JVM keeps these in an
// OopStorage: blocks of 64 places and a word that tells which are in use, listed in
// an array (oopStorage.inline.hpp, 11 on). The tables tell where the storage is, not
// how it is laid out; but each block says which storage it belongs to, so that a
// layout that is another one is noticed. 8 has a list of blocks that the tables
// describe.

const (
	placesInBlock = 64
	storageWords  = 16 // of an OopStorage, in which its array is looked for
	ownerWords    = 4  // of a block, behind its places and their word, in which its storage is looked for
	arrayHeader   = 24 // of an ActiveArray: its size, how many blocks it has, how many use it

	maxHandles = 1 << 20
)

// handles returns what JNI global references refer to.
func (j *jvm) handles() ([]uint64, error) {
	global, ok := j.tables.find("JNIHandles::_global_handles")
	if !ok {
		return nil, fmt.Errorf("%w: no field JNIHandles::_global_handles in the tables of this JVM", ErrUnsupported)
	}
	at := j.r.u64(global.at)
	if j.r.err != nil || at == 0 {
		return nil, j.r.err
	}
	read := j.storedHandles
	if global.typ == "JNIHandleBlock*" {
		read = j.listedHandles
	}
	found, err := read(at)
	if err != nil {
		return nil, fmt.Errorf("JNI global references: %w", err)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// listedHandles reads a list of blocks.
func (j *jvm) listedHandles(block uint64) (found []uint64, err error) {
	f := &resolver{t: j.tables}
	places, top, next := f.offset("JNIHandleBlock::_handles"), f.offset("JNIHandleBlock::_top"), f.offset("JNIHandleBlock::_next")
	if len(f.missing) > 0 {
		return nil, f.missing[0]
	}
	for ; block != 0; block = j.r.u64(block + next) {
		n := j.r.u32(block + top)
		if n > placesInBlock || len(found) > maxHandles {
			return nil, fmt.Errorf("%w: a block at 0x%x of %d, behind %d others", ErrUnsupported, block, n, len(found))
		}
		for raw := j.r.bytes(block+places, 8*int(n)); len(raw) >= 8; raw = raw[8:] {
			found = append(found, binary.LittleEndian.Uint64(raw)) // of a free one: another place
		}
		if j.r.err != nil {
			return nil, j.r.err
		}
	}
	return found, nil
}

// storedHandles reads an OopStorage.
func (j *jvm) storedHandles(storage uint64) ([]uint64, error) {
	words, err := j.wordsFrom(storage, storageWords)
	if err != nil {
		return nil, err
	}
	for _, array := range words {
		if blocks, ok := j.blocksOf(storage, array); ok {
			var found []uint64
			for _, b := range blocks {
				for used := b[placesInBlock]; used != 0; used &= used - 1 {
					found = append(found, b[bits.TrailingZeros64(used)])
				}
			}
			return found, nil
		}
	}
	return nil, fmt.Errorf("%w: an OopStorage at 0x%x without an array of its blocks", ErrUnsupported, storage)
}

// blocksOf reads the blocks that an array lists, if it is one of a storage's. There
// is always one: the JVM needs some of these references itself.
func (j *jvm) blocksOf(storage, array uint64) (blocks [][]uint64, ok bool) {
	if array == 0 || array%8 != 0 {
		return nil, false
	}
	head, err := j.wordsFrom(array, arrayHeader/8)
	if err != nil || head[1] == 0 || head[1] > head[0] || head[1] > maxHandles/placesInBlock {
		return nil, false
	}
	listed, err := j.wordsFrom(array+arrayHeader, int(head[1]))
	if err != nil {
		return nil, false
	}
	const size = placesInBlock + 1 + ownerWords
	if slices.ContainsFunc(listed, func(b uint64) bool { return b == 0 || b%8 != 0 }) {
		return nil, false
	}
	if blocks, err = j.wordsFromEach(listed, size); err != nil {
		return nil, false
	}
	foreign := func(b []uint64) bool { return !slices.Contains(b[placesInBlock+1:], storage) }
	return blocks, !slices.ContainsFunc(blocks, foreign)
}

// wordsFrom reads n words one after the other.
func (j *jvm) wordsFrom(at uint64, n int) ([]uint64, error) {
	all, err := j.wordsFromEach([]uint64{at}, n)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// wordsFromEach reads n words one after the other at each of some places.
func (j *jvm) wordsFromEach(at []uint64, n int) ([][]uint64, error) {
	raw := make([]byte, 8*n*len(at))
	spans := make([]span, len(at))
	for i, a := range at {
		spans[i] = span{a, raw[8*n*i : 8*n*(i+1)]}
	}
	if err := j.r.read(spans); err != nil {
		return nil, err
	}
	all := make([][]uint64, len(at))
	for i, s := range spans {
		all[i] = make([]uint64, n)
		for w := range all[i] {
			all[i][w] = binary.LittleEndian.Uint64(s.into[8*w:])
		}
	}
	return all, nil
}
