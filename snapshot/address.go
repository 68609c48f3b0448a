package snapshot

import (
	"fmt"
	"strconv"
	"strings"
)

// Address is a native address in the target. JSON writes it as "0x…", because
// a JSON number cannot hold 64 bits.
type Address uint64

// String returns the address as 0x and lower-case hexadecimal digits.
func (a Address) String() string { return "0x" + strconv.FormatUint(uint64(a), 16) }

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(string(text), "0x")
	if !ok {
		return fmt.Errorf("address %q: want 0x and hexadecimal digits", text)
	}
	v, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return fmt.Errorf("address %q: %w", text, err)
	}
	*a = Address(v)
	return nil
}
