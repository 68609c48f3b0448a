package hprof

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Tags of top-level records.
const (
	TagString          = 0x01
	TagLoadClass       = 0x02
	TagHeapDump        = 0x0C
	TagHeapDumpSegment = 0x1C
	TagHeapDumpEnd     = 0x2C
)

// RecordHeaderSize is the size of a top-level record's header: tag, time, length.
const RecordHeaderSize = 9

// Tags of the records inside a heap dump segment.
const (
	RootUnknown        = 0xFF
	RootJNIGlobal      = 0x01
	RootJNILocal       = 0x02
	RootJavaFrame      = 0x03
	RootNativeStack    = 0x04
	RootStickyClass    = 0x05
	RootThreadBlock    = 0x06
	RootMonitorUsed    = 0x07
	RootThreadObject   = 0x08
	subClass           = 0x20
	subInstance        = 0x21
	subObjectArray     = 0x22
	subPrimitiveArray  = 0x23
	rootInternedString = 0x89
	rootFinalizing     = 0x8A
	rootDebugger       = 0x8B
	rootRefCleanup     = 0x8C
	rootVMInternal     = 0x8D
	rootJNIMonitor     = 0x8E
	subHeapInfo        = 0xFE
	subArrayNoData     = 0xC3
	subUnreachable     = 0x90
)

// Type codes of fields and array elements.
const (
	TypeObject  = 2
	TypeBoolean = 4
	TypeChar    = 5
	TypeFloat   = 6
	TypeDouble  = 7
	TypeByte    = 8
	TypeShort   = 9
	TypeInt     = 10
	TypeLong    = 11
)

// typeSizes is indexed by type code; 0 is no type. An object's is filled in
// from the identifier size.
var typeSizes = [16]uint8{
	TypeBoolean: 1, TypeChar: 2, TypeFloat: 4, TypeDouble: 8,
	TypeByte: 1, TypeShort: 2, TypeInt: 4, TypeLong: 8,
}

// TypeSize returns the bytes a value of type t takes in a dump, 0 for an
// unknown type.
func TypeSize(t uint8, idSize int) int {
	if t == TypeObject {
		return idSize
	}
	return int(typeSizes[t&15]) * b2i(t < 16)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// SyntaxError is a place where a dump is not what the format says.
type SyntaxError struct {
	Offset int64 // in the dump; of a compressed one, in its inflated form
	What   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("heap dump offset %d: %s", e.Offset, e.What)
}

// Header is the start of a dump.
type Header struct {
	Version string // "1.0.1" or "1.0.2"
	IDSize  int    // 4 or 8
	Size    int    // of the header itself, in bytes
}

const magic = "JAVA PROFILE "

// MaxHeaderSize is enough bytes for [ParseHeader].
const MaxHeaderSize = 32

// ParseHeader reads the header from the first bytes of a dump. It needs at
// most MaxHeaderSize of them.
func ParseHeader(b []byte) (Header, error) {
	if len(b) > MaxHeaderSize {
		b = b[:MaxHeaderSize]
	}
	end := bytes.IndexByte(b, 0)
	if end < 0 || !bytes.HasPrefix(b, []byte(magic)) {
		return Header{}, &SyntaxError{0, "not an HPROF heap dump: it does not start with \"JAVA PROFILE\""}
	}
	h := Header{Version: string(b[len(magic):end]), Size: end + 1 + 4 + 8}
	if h.Version != "1.0.1" && h.Version != "1.0.2" {
		return Header{}, &SyntaxError{0, fmt.Sprintf("unknown HPROF version %q", h.Version)}
	}
	if len(b) < h.Size {
		return Header{}, &SyntaxError{int64(len(b)), "the header is cut off"}
	}
	size := binary.BigEndian.Uint32(b[end+1:])
	if size != 4 && size != 8 {
		return Header{}, &SyntaxError{int64(end + 1), fmt.Sprintf("identifier size %d: want 4 or 8", size)}
	}
	h.IDSize = int(size)
	return h, nil
}

// ReadID reads an identifier of the given size from the start of b.
func ReadID(b []byte, size int) uint64 {
	if size == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return uint64(binary.BigEndian.Uint32(b))
}

// PlausibleRecord reports whether b, at a place where remaining bytes of the
// dump are left, can be the header of a top-level record.
func PlausibleRecord(b []byte, remaining int64) bool {
	if len(b) < RecordHeaderSize {
		return false
	}
	length := int64(binary.BigEndian.Uint32(b[5:]))
	switch b[0] {
	case TagString, TagLoadClass, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0D, 0x0E:
		return length <= remaining-RecordHeaderSize && length < 1<<28
	case TagHeapDump, TagHeapDumpSegment:
		return true
	case TagHeapDumpEnd:
		return length == 0
	}
	return false
}
