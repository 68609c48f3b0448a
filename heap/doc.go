// Package heap finds, in a managed heap, each piece of off-heap memory, the
// object path that holds it, and the connection it belongs to.
//
// What flows in: a heap dump in the HPROF format (a file, gzip members
// included, or a stream that is still being written), or any other [Graph].
// What flows out: a [Result]. The package is pure: it opens what it is given
// to read and nothing else, keeps no string values and no array contents, and
// gives the same result for the same heap, however many workers read it.
//
// Refused: other dump formats. A truncated or damaged dump is not refused:
// what could be read is returned with Complete unset and the offset in Reason.
package heap
