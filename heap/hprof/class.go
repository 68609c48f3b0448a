package hprof

import "encoding/binary"

// Static is a static field of a class and its value: of an object its
// identifier, of anything else its bits, sign-extended for whole numbers.
type Static struct {
	Name  uint64 // identifier of its string
	Type  uint8
	Value uint64
}

// FieldDef is an instance field that a class declares.
type FieldDef struct {
	Name uint64 // identifier of its string
	Type uint8
}

// ClassDump is what a dump says of a class. Field order is that of the dump.
type ClassDump struct {
	ID           uint64 // of its java.lang.Class object
	Super        uint64
	Loader       uint64
	InstanceSize uint32
	Statics      []Static
	Fields       []FieldDef
}

// parseClass reads a class dump from b, which starts after the tag. It returns
// n = 0 when b is too short, and an error text when the record is wrong.
func parseClass(b []byte, idSize int) (c *ClassDump, n int, wrong string) {
	fixed := 7*idSize + 8
	if len(b) < fixed+2 {
		return nil, 0, ""
	}
	c = &ClassDump{
		ID:           ReadID(b, idSize),
		Super:        ReadID(b[idSize+4:], idSize),
		Loader:       ReadID(b[2*idSize+4:], idSize),
		InstanceSize: binary.BigEndian.Uint32(b[7*idSize+4:]),
	}
	p := fixed
	constants := int(binary.BigEndian.Uint16(b[p:]))
	p += 2
	for range constants {
		if len(b) < p+3 {
			return nil, 0, ""
		}
		size := TypeSize(b[p+2], idSize)
		if size == 0 {
			return nil, 0, "class dump: unknown type of a constant"
		}
		p += 3 + size
	}
	if len(b) < p+2 {
		return nil, 0, ""
	}
	statics := int(binary.BigEndian.Uint16(b[p:]))
	p += 2
	if len(b) >= p+statics*(idSize+2) {
		c.Statics = make([]Static, 0, statics)
	}
	for range statics {
		if len(b) < p+idSize+1 {
			return nil, 0, ""
		}
		s := Static{Name: ReadID(b[p:], idSize), Type: b[p+idSize]}
		p += idSize + 1
		size := TypeSize(s.Type, idSize)
		if size == 0 {
			return nil, 0, "class dump: unknown type of a static field"
		}
		if len(b) < p+size {
			return nil, 0, ""
		}
		s.Value = ReadValue(b[p:], s.Type, idSize)
		p += size
		c.Statics = append(c.Statics, s)
	}
	if len(b) < p+2 {
		return nil, 0, ""
	}
	fields := int(binary.BigEndian.Uint16(b[p:]))
	p += 2
	if len(b) < p+fields*(idSize+1) {
		return nil, 0, ""
	}
	c.Fields = make([]FieldDef, 0, fields)
	for range fields {
		f := FieldDef{Name: ReadID(b[p:], idSize), Type: b[p+idSize]}
		if TypeSize(f.Type, idSize) == 0 {
			return nil, 0, "class dump: unknown type of a field"
		}
		p += idSize + 1
		c.Fields = append(c.Fields, f)
	}
	return c, p, ""
}

// ReadValue reads a value of type t from the start of b, which is long enough:
// whole numbers sign-extended, a char and a boolean zero-extended, floating
// point as its bits, an object as its identifier.
func ReadValue(b []byte, t uint8, idSize int) uint64 {
	switch t {
	case TypeObject:
		return ReadID(b, idSize)
	case TypeBoolean:
		return uint64(b[0])
	case TypeByte:
		return uint64(int64(int8(b[0])))
	case TypeChar:
		return uint64(binary.BigEndian.Uint16(b))
	case TypeShort:
		return uint64(int64(int16(binary.BigEndian.Uint16(b))))
	case TypeFloat:
		return uint64(binary.BigEndian.Uint32(b))
	case TypeInt:
		return uint64(int64(int32(binary.BigEndian.Uint32(b))))
	case TypeDouble, TypeLong:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}
