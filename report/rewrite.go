package report

import (
	"encoding"
	"encoding/json"
	"reflect"
)

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

// rewritten is a deep copy of v in which every string is what change makes of
// it, and every slice that JSON would write as null is empty instead. Values
// that write themselves (times, addresses, optional figures) are kept.
func rewritten[T any](v T, change func(string) string) T {
	var out T
	copyInto(reflect.ValueOf(&out).Elem(), reflect.ValueOf(&v).Elem(), change)
	return out
}

func copyInto(to, from reflect.Value, change func(string) string) {
	t := from.Type()
	if t.Implements(textMarshaler) || t.Implements(jsonMarshaler) {
		to.Set(from)
		return
	}
	switch from.Kind() {
	case reflect.String:
		if change == nil {
			to.Set(from)
		} else {
			to.SetString(change(from.String()))
		}
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(t.Elem()))
			copyInto(to.Elem(), from.Elem(), change)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			copyInto(to.Field(i), from.Field(i), change)
		}
	case reflect.Slice:
		to.Set(reflect.MakeSlice(t, from.Len(), from.Len()))
		for i := range from.Len() {
			copyInto(to.Index(i), from.Index(i), change)
		}
	case reflect.Map:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeMapWithSize(t, from.Len()))
		for it := from.MapRange(); it.Next(); {
			key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			copyInto(key, it.Key(), change)
			copyInto(value, it.Value(), change)
			to.SetMapIndex(key, value)
		}
	default:
		to.Set(from)
	}
}
