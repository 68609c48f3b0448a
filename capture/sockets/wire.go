package sockets

import (
	"encoding/binary"
	"fmt"
)

// LengthError says that a message of the kernel is shorter than its fixed part,
// or that an attribute goes beyond its message.
type LengthError struct {
	What string
	Got  int
	Want int // at least
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("%s: %d bytes, want at least %d", e.What, e.Got, e.Want)
}

// attributes calls visit for each netlink attribute: length and type of two
// bytes each in host order, then the value, padded to four bytes.
func attributes(b []byte, visit func(kind uint16, value []byte)) error {
	const header = 4
	for len(b) >= header {
		length := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) & 0x3fff // the top bits are flags
		if length < header {
			return &LengthError{What: fmt.Sprintf("attribute %d", kind), Got: length, Want: header}
		}
		if length > len(b) {
			return &LengthError{What: fmt.Sprintf("message with attribute %d", kind), Got: len(b), Want: length}
		}
		visit(kind, b[header:length])
		b = b[min(len(b), (length+3)&^3):]
	}
	return nil
}

// The words of a structure that the kernel may cut short: a word that is not
// there whole is not known.

func word32(b []byte, offset int) (uint32, bool) {
	if len(b) < offset+4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(b[offset:]), true
}

func word64(b []byte, offset int) (uint64, bool) {
	if len(b) < offset+8 {
		return 0, false
	}
	return binary.NativeEndian.Uint64(b[offset:]), true
}
