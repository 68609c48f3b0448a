package vmstructs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// span is a piece of the target's memory to be read, and where it goes.
type span struct {
	address uint64
	into    []byte
}

// memory reads the target's memory.
type memory interface {
	// read fills all spans. It fails when one of them can't be read whole;
	// then nothing of what was filled counts.
	read(spans []span) error
	// residentPages tells of n pages from the page at address on which are in
	// memory.
	residentPages(address uint64, n int, out []bool) error
	// mapped returns the mapping that an address lies in.
	mapped(address uint64) (mapping, bool)
	// cost returns what was read so far.
	cost() Cost
}

// mapping is a range of the target's addresses.
type mapping struct {
	start, end uint64
	offset     uint64 // in the file
	inode      uint64
	path       string
	readable   bool
}

// Cost is what a reading took.
type Cost struct {
	Bytes int64 // of the target's memory that were copied
	Calls int64 // of process_vm_readv
}

// Errors of a reading. They are wrapped with the place.
var (
	// ErrNotHotSpot says that the process has no HotSpot JVM that describes itself.
	ErrNotHotSpot = errors.New("no HotSpot JVM that describes its structures")
	// ErrDenied says that its memory may not be read.
	ErrDenied = errors.New("its memory may not be read")
	// ErrGone says that the process has ended.
	ErrGone = errors.New("the process has ended")
	// ErrNotResident says that memory is swapped out: to read it would have the
	// kernel bring it in, for the target.
	ErrNotResident = errors.New("memory is not resident")
	// ErrUnsupported says that this JVM keeps its data in a way that is not known.
	ErrUnsupported = errors.New("not supported")
)

const pageSize = 4096

// reader adds typed reads to a memory. The first failure stays: what follows
// reads as zero, so that a chain of reads is checked once, at its end.
type reader struct {
	memory
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) bytes(address uint64, n int) []byte {
	b := make([]byte, n)
	if r.err == nil {
		if err := r.read([]span{{address, b}}); err != nil {
			r.fail(fmt.Errorf("%d bytes at 0x%x: %w", n, address, err))
			clear(b)
		}
	}
	return b
}

func (r *reader) u8(address uint64) uint8   { return r.bytes(address, 1)[0] }
func (r *reader) u32(address uint64) uint32 { return binary.LittleEndian.Uint32(r.bytes(address, 4)) }

func (r *reader) u64(address uint64) uint64 { return binary.LittleEndian.Uint64(r.bytes(address, 8)) }

// counted adds to a cost from several goroutines.
type counted struct{ bytes, calls atomic.Int64 }

func (c *counted) cost() Cost { return Cost{Bytes: c.bytes.Load(), Calls: c.calls.Load()} }
