package vmstructs

import (
	"encoding/binary"
	"unicode/utf16"

	"github.com/leakscope/leakscope/heap"
)

// Text returns what a java.lang.String holds, where that is not longer than
// limit characters. The walk asks for the names of gRPC methods and of threads
// alone.
func (g *graph) Text(n heap.Node, limit int) (string, bool) {
	c := g.Class(n)
	if n == heap.None || c < 0 || g.j.classes[c].Name != "java.lang.String" {
		return "", false
	}
	array, err := g.reference(n, "value")
	if err != nil || array == heap.None || g.Class(array) < 0 {
		return "", false
	}
	wide := g.j.classes[g.Class(array)].Name == "char[]" // 8
	if coder := g.number(c, "coder"); coder >= 0 {
		var v [1]uint64
		var ok [1]bool
		if g.Values([]heap.Node{n}, []int32{coder}, v[:], ok[:]) != nil || !ok[0] {
			return "", false
		}
		wide = v[0] != 0 // String.UTF16
	}
	l := g.j.layout
	at := g.nodes[array]
	var length [4]byte
	if g.j.r.read([]span{{at + uint64(l.headerSize()) - 4, length[:]}}) != nil {
		return "", false
	}
	size, width := int(int32(binary.LittleEndian.Uint32(length[:]))), 1
	if g.j.classes[g.Class(array)].Name == "char[]" {
		width = 2
	}
	if size < 0 || size*width > 2*limit {
		return "", false
	}
	b := make([]byte, size*width)
	if g.j.r.read([]span{{at + arrayBase(g.j.klasses[g.Class(array)]), b}}) != nil {
		return "", false
	}
	var text []rune
	if wide {
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
		text = utf16.Decode(units)
	} else {
		for _, c := range b { // Latin-1
			text = append(text, rune(c))
		}
	}
	return string(text), len(text) <= limit
}
