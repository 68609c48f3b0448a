package hprof

import (
	"encoding/binary"
	"fmt"
)

// Visitor receives the records of heap dump segments. Slices are valid during
// the call only.
type Visitor interface {
	// Root is a root of the collector; tag is one of the Root constants, or
	// another for kinds that matter little.
	Root(tag byte, id uint64)
	Class(c *ClassDump)
	// Instance has the field values of an object: its own class's first, then
	// its superclass's.
	Instance(id, class uint64, body []byte)
	// ObjectArray has the elements of an array as identifiers. A large array
	// comes in several parts: first is set on the first, last on the last.
	ObjectArray(id, class uint64, elements []byte, first, last bool)
	// PrimitiveArray is an array of elem. contents is set only when it takes
	// up at most MaxContents bytes.
	PrimitiveArray(id uint64, elem uint8, length uint32, contents []byte)
}

// MaxContents is the most bytes of a primitive array that a Visitor is shown:
// an IPv6 address.
const MaxContents = 16

// maxRecord bounds a record that has to be in memory as a whole: a class dump
// with the most constants, statics and fields the format can say is smaller,
// and so is any instance that HotSpot can make.
const maxRecord = 4 << 20

// Decoder decodes the payload of heap dump segments, fed in pieces. It holds
// no bytes itself: what Feed does not consume is to be fed again with more
// behind it. The zero Decoder is not usable; IDSize must be set.
type Decoder struct {
	IDSize int
	// Offset is the place in the dump of the next byte to be fed, for errors.
	Offset int64

	skip uint64 // bytes of a primitive array still to pass over

	arrayID    uint64
	arrayClass uint64
	arrayLeft  uint64 // bytes of an object array still to come
	arrayFirst bool
}

// Skip returns how many of the next bytes need not be fed at all; the caller
// that passes over some of them says so by Skipped.
func (d *Decoder) Skip() uint64 { return d.skip }

// Skipped tells the decoder that n bytes were passed over, n ≤ Skip().
func (d *Decoder) Skipped(n uint64) {
	d.skip -= n
	d.Offset += int64(n)
}

// Idle reports whether the decoder is between two records.
func (d *Decoder) Idle() bool { return d.skip == 0 && d.arrayLeft == 0 }

// Feed decodes the records in b and returns how many bytes it consumed. It
// stops in front of a record that b holds only a part of; of arrays it
// consumes what is there. An error is a *SyntaxError; nothing after it can be
// trusted.
func (d *Decoder) Feed(b []byte, v Visitor) (n int, err error) {
	total := len(b)
	id := d.IDSize
	if d.skip > 0 {
		k := min(d.skip, uint64(len(b)))
		d.skip -= k
		b = b[k:]
	}
	if d.arrayLeft > 0 {
		b = b[d.feedArray(b, v):]
		if d.arrayLeft > 0 {
			n = total - len(b)
			d.Offset += int64(n)
			return n, nil
		}
	}
	for len(b) > 0 {
		tag := b[0]
		var size int // of the whole record, tag included
		switch tag {
		case subInstance:
			head := 1 + 2*id + 8
			if len(b) < head {
				goto short
			}
			body := binary.BigEndian.Uint32(b[head-4:])
			if body > maxRecord {
				return d.fail(total-len(b), fmt.Sprintf("instance of %d bytes: more than any JVM makes", body))
			}
			size = head + int(body)
			if len(b) < size {
				goto short
			}
			if id == 8 {
				v.Instance(binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[13:]), b[head:size])
			} else {
				v.Instance(ReadID(b[1:], id), ReadID(b[1+id+4:], id), b[head:size])
			}
		case subPrimitiveArray:
			head := 1 + id + 9
			if len(b) < head {
				goto short
			}
			elem := b[head-1]
			if elem >= 16 || typeSizes[elem] == 0 {
				return d.fail(total-len(b), fmt.Sprintf("primitive array of unknown type %d", elem))
			}
			length := binary.BigEndian.Uint32(b[1+id+4:])
			contents := uint64(length) * uint64(typeSizes[elem])
			if contents <= MaxContents {
				size = head + int(contents)
				if len(b) < size {
					goto short
				}
				v.PrimitiveArray(ReadID(b[1:], id), elem, length, b[head:size])
				break
			}
			v.PrimitiveArray(ReadID(b[1:], id), elem, length, nil)
			if uint64(len(b)-head) < contents {
				d.skip = contents - uint64(len(b)-head)
				size = len(b)
			} else {
				size = head + int(contents)
			}
		case subObjectArray:
			head := 1 + id + 8 + id
			if len(b) < head {
				goto short
			}
			d.arrayID = ReadID(b[1:], id)
			d.arrayClass = ReadID(b[1+id+8:], id)
			d.arrayLeft = uint64(binary.BigEndian.Uint32(b[1+id+4:])) * uint64(id)
			d.arrayFirst = true
			if d.arrayLeft == 0 {
				v.ObjectArray(d.arrayID, d.arrayClass, nil, true, true)
				size = head
				break
			}
			size = head + d.feedArray(b[head:], v)
			if d.arrayLeft > 0 {
				b = b[size:]
				goto short
			}
		case subClass:
			c, n, wrong := parseClass(b[1:], id)
			if wrong != "" {
				return d.fail(total-len(b), wrong)
			}
			if n == 0 {
				if len(b) > maxRecord {
					return d.fail(total-len(b), "class dump longer than the format allows")
				}
				goto short
			}
			v.Class(c)
			size = 1 + n
		default:
			size = rootSize(tag, id)
			if size == 0 {
				if tag == subArrayNoData {
					size = 1 + id + 9
				} else {
					return d.fail(total-len(b), fmt.Sprintf("unknown tag 0x%02X in a heap dump segment", tag))
				}
			}
			if len(b) < size {
				goto short
			}
			switch tag {
			case subHeapInfo:
			case subArrayNoData:
				v.PrimitiveArray(ReadID(b[1:], id), b[size-1], binary.BigEndian.Uint32(b[1+id+4:]), nil)
			default:
				v.Root(tag, ReadID(b[1:], id))
			}
		}
		b = b[size:]
	}
short:
	n = total - len(b)
	d.Offset += int64(n)
	return n, nil
}

// feedArray hands on as many whole elements of the current array as b holds.
func (d *Decoder) feedArray(b []byte, v Visitor) int {
	n := int(min(d.arrayLeft, uint64(len(b))))
	n -= n % d.IDSize
	if n == 0 {
		return 0
	}
	d.arrayLeft -= uint64(n)
	v.ObjectArray(d.arrayID, d.arrayClass, b[:n], d.arrayFirst, d.arrayLeft == 0)
	d.arrayFirst = false
	return n
}

func (d *Decoder) fail(at int, what string) (int, error) {
	d.Offset += int64(at)
	return at, &SyntaxError{d.Offset, what}
}

// rootSize returns the size of a fixed-size record, tag included, 0 for a tag
// that is none. Those from 0x89 on are Android's.
func rootSize(tag byte, id int) int {
	switch tag {
	case RootUnknown, RootStickyClass, RootMonitorUsed,
		rootInternedString, rootFinalizing, rootDebugger, rootRefCleanup, rootVMInternal, subUnreachable:
		return 1 + id
	case RootJNIGlobal:
		return 1 + 2*id
	case RootJNILocal, RootJavaFrame, RootThreadObject, rootJNIMonitor:
		return 1 + id + 8
	case RootNativeStack, RootThreadBlock:
		return 1 + id + 4
	case subHeapInfo:
		return 1 + 4 + id
	}
	return 0
}
