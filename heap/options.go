package heap

import (
	"io"
	"runtime"
)

// Options tune how a dump is read; the zero value is good.
type Options struct {
	// Segments are further streams of the same dump: top-level records without
	// a file header, as JDK 22 and later write them to FILE.p0 and so on. They
	// are read at the same time as the main stream, none waiting for another.
	Segments []io.Reader

	// Describe tells of classes that the dump itself has not described yet, when
	// instances of them come. It is called once at most. Since JDK 22 a streamed
	// dump has its classes at the end, while the JVM stands still from the first
	// object on: without it all instances are kept as they are until then. What
	// the dump says of those classes in the end is held against it.
	Describe func() []KnownClass

	// Progress is told how many bytes have been read so far, of a compressed
	// file those of the file. Calls do not overlap.
	Progress func(bytesRead int64)

	// MaxMemoryBytes is the memory the walk may take, about; 0 is no limit.
	// With too little for the references of a dump, a file is read again
	// whenever they are needed, which takes longer but gives the same result.
	// A stream cannot be read again: for it the limit holds for what is
	// buffered only, and a warning says so when it is passed.
	MaxMemoryBytes int64

	// Workers is how many goroutines decode; 0 is one for each processor.
	Workers int
}

// KnownClass describes a class before the dump does.
type KnownClass struct {
	ID     uint64  // its identifier in the dump: the address of its mirror
	Super  uint64  // that of its superclass; 0: none
	Name   string  // as [Class.Name]
	Fields []Field // the instance fields that it declares itself, in the order of the dump
}

func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// rowBudget is the part of the memory that references may take: the rest is
// for buffers, bitmaps and what is made of the references.
func (o *Options) rowBudget() int64 {
	if o.MaxMemoryBytes <= 0 {
		return 0
	}
	return max(o.MaxMemoryBytes/2, 1<<20)
}
