package snapshot

import (
	"bytes"
	"encoding/json"
)

// Optional is a value that may be unknown. The zero Optional is unknown; JSON
// writes it as null. Missing evidence is never zero: use Optional wherever a
// source can fail to tell.
type Optional[T any] struct {
	value T
	known bool
}

// Known returns an Optional that holds v.
func Known[T any](v T) Optional[T] { return Optional[T]{value: v, known: true} }

// Get returns the value and whether it is known.
func (o Optional[T]) Get() (T, bool) { return o.value, o.known }

// IsKnown reports whether the value is known.
func (o Optional[T]) IsKnown() bool { return o.known }

// Or returns the value, or fallback when it is unknown.
func (o Optional[T]) Or(fallback T) T {
	if o.known {
		return o.value
	}
	return fallback
}

// MarshalJSON writes the value, or null when it is unknown.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.known {
		return []byte("null"), nil
	}
	return json.Marshal(o.value)
}

// UnmarshalJSON reads a value; null makes it unknown.
func (o *Optional[T]) UnmarshalJSON(text []byte) error {
	*o = Optional[T]{}
	if bytes.Equal(bytes.TrimSpace(text), []byte("null")) {
		return nil
	}
	if err := json.Unmarshal(text, &o.value); err != nil {
		return err
	}
	o.known = true
	return nil
}

// Equal reports whether both are unknown, or both known with equal JSON forms.
// It exists for go-cmp, which cannot look into unexported fields.
func (o Optional[T]) Equal(p Optional[T]) bool {
	if o.known != p.known {
		return false
	}
	if !o.known {
		return true
	}
	a, errA := json.Marshal(o.value)
	b, errB := json.Marshal(p.value)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
