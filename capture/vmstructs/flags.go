package vmstructs

import (
	"strconv"
	"strings"
)

// flags reads the values of flags, as 8 bytes each: a bool is the lowest byte.
// A flag that this JVM does not have is left out.
func (j *jvm) flags(names ...string) (map[string]uint64, error) {
	l := &j.layout.flags
	raw := j.r.bytes(l.at, int(l.count*l.stride))
	if j.r.err != nil {
		return nil, j.r.err
	}
	var texts []uint64
	for i := range l.count {
		texts = append(texts, field64(raw[i*l.stride:(i+1)*l.stride], l.name))
	}
	text, err := j.lib.texts(texts)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	out := map[string]uint64{}
	for i := range l.count {
		if name := text[texts[i]]; wanted[name] {
			out[name] = j.r.u64(field64(raw[i*l.stride:(i+1)*l.stride], l.address))
		}
	}
	return out, j.r.err
}

// flagTexts writes flags as the JVM does.
func (j *jvm) flagTexts() map[string]string {
	out := map[string]string{}
	for name, v := range j.flag {
		switch {
		case name == "NativeMemoryTracking": // a string
			if texts, err := j.lib.texts([]uint64{v}); err == nil {
				out[name] = texts[v]
			}
		case strings.HasPrefix(name, "Use"), strings.HasPrefix(name, "ZGen"), strings.HasPrefix(name, "Disable"), strings.HasPrefix(name, "Explicit"):
			out[name] = strconv.FormatBool(v&0xff != 0)
		case strings.HasPrefix(name, "ObjectAlignment"): // an int
			out[name] = strconv.FormatInt(int64(int32(v)), 10)
		default:
			out[name] = strconv.FormatUint(v, 10)
		}
	}
	return out
}
