package heap

import "errors"

// ErrPartial is what [Graph.Referrers] returns where it has yielded all that it
// could find, and there may be more.
var ErrPartial = errors.New("not all referrers are known")

// Node is the number a [Graph] gave to an object. Numbers are dense: a graph
// that knows all its objects from the start numbers them by address; one that
// discovers objects numbers them as it meets them. The walk keeps its own
// tables as slices indexed by Node.
type Node uint32

// None is no object: null, or an object the graph does not hold.
const None Node = ^Node(0)

// ClassID is the index of a class in [Graph.Classes].
type ClassID int32

// NoClass is the superclass of java.lang.Object and of arrays' element types.
const NoClass ClassID = -1

// Element is the field number of a reference held by an array element.
const Element int32 = -1

// Type is the type of a field, by its code in the HPROF format.
type Type uint8

// The types of fields. A reference is [Object], whatever its class.
const (
	Object  Type = 2
	Boolean Type = 4
	Char    Type = 5
	Float   Type = 6
	Double  Type = 7
	Byte    Type = 8
	Short   Type = 9
	Int     Type = 10
	Long    Type = 11
)

// Field is one field of a class: its name and type.
type Field struct {
	Name string
	Type Type
}

// Class is one loaded class. Two loaders can each have one of the same name.
type Class struct {
	Name   string  // with dots: "java.lang.Thread", "java.util.Map$Entry", "byte[]", "java.lang.Object[]"
	Super  ClassID // NoClass when there is none, or when it is not known
	Fields []Field // the instance fields the class itself declares
	// Mirror is the class's java.lang.Class object, the source of its static
	// references in [Graph.References]; None when the graph has none.
	Mirror Node
}

// RootKind says why an object is a root of the collector.
type RootKind uint8

// The kinds of root, strongest claim to a readable path first: where several
// paths are equally short, the smaller kind is shown.
const (
	RootStatic RootKind = iota + 1 // a class: its static fields
	RootThread                     // a thread object, a frame or a native stack
	RootJNI                        // a JNI global or local reference
	RootOther                      // monitors in use, the VM's own
)

// Graph is a managed heap, as little of it as the attribution walk needs, so
// that a heap dump and the memory of a running process serve alike.
//
// A field of a class is named by its number: the position in [Layout], the
// class's own fields first, then its superclass's, and so on up. Methods that
// take many nodes exist so that an implementation can read them in one batch.
// They may be called again and again, never concurrently. References are
// strong ones only: the graph leaves out those that [WeakField] names.
//
// Every method that returns an error may fail half-way; the walk then keeps
// what it has and the result says so.
type Graph interface {
	// Classes returns all classes, indexed by ClassID. It does not change.
	Classes() []Class

	// Objects returns the nodes of all instances of exactly these classes
	// (subclasses are asked for by the caller), by address. It is called once,
	// with every class the walk looks for, because for live memory it is a
	// scan of the heap.
	Objects(classes []ClassID) ([]Node, error)

	// Len is the number of nodes so far: every Node is smaller.
	Len() int

	// Address returns the object's address.
	Address(n Node) uint64

	// Class returns the object's class, NoClass when it could not be read. A
	// class's mirror has the class java.lang.Class.
	Class(n Node) ClassID

	// Values reads fields of objects that all are of one class: out[i*len(fields)+j]
	// is field fields[j] of nodes[i]. Integers come sign-extended, a boolean
	// is 0 or 1, floats are their bits, a reference is a Node (uint64(None)
	// for null; for an object the graph does not hold too, and then it is not
	// ok, which is how the two are told apart). A graph made from a dump
	// keeps only the fields of classes that [Wanted] names; the others read as
	// unknown: ok[i*len(fields)+j] is false. ok has the length of out.
	Values(nodes []Node, fields []int32, out []uint64, ok []bool) error

	// Static reads a static field by name, as Values does; ok is false when
	// the class has none of that name.
	Static(c ClassID, name string) (value uint64, typ Type, ok bool)

	// References calls yield for each strong reference of each node, in the
	// order of nodes. field is Element for array elements, and the field
	// number otherwise; for a mirror it is the position of the static in
	// [Graph.StaticNames]. A graph may leave out references to objects that
	// hold no object of a class that [Wanted] names, not even through others,
	// and to those that only say how memory is freed: Cleaners, deallocators.
	References(nodes []Node, yield func(from Node, field int32, to Node)) error

	// StaticNames returns the names of the class's static fields.
	StaticNames(c ClassID) []string

	// Referrers calls yield for each strong reference to a node of the set.
	// For live memory this is one more scan; the walk calls it once for each
	// level, a bounded number of times. With the error [ErrPartial] there may
	// be more: then nothing is garbage for the lack of them.
	Referrers(set []Node, yield func(from Node, field int32, to Node)) error

	// Roots calls yield for each root and returns true, or for those that it is
	// sure of and returns false: then what is reachable is judged backward from
	// the objects in question, by Referrers, and the mirrors of classes are
	// roots too.
	Roots(yield func(n Node, kind RootKind)) bool

	// Address6 returns the 16 bytes of the byte array that holds an IPv6
	// address. It refuses arrays of any other length. No other array contents
	// are ever read.
	Address6(array Node) (address [16]byte, ok bool)
}

// Layout returns the fields of an instance of c in the order that numbers
// them: its own first, then its superclass's, and so on up. Broken input with
// a cycle of superclasses ends at the first class met again.
func Layout(classes []Class, c ClassID) []Field {
	var fields []Field
	for steps := 0; c >= 0 && int(c) < len(classes) && steps <= maxSupers; steps++ {
		fields = append(fields, classes[c].Fields...)
		c = classes[c].Super
	}
	return fields
}

// maxSupers bounds the depth of inheritance: the JVM's own limit is far below.
const maxSupers = 1 << 10
