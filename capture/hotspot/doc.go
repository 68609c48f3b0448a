// Package hotspot talks to a HotSpot JVM over its attach socket: what it says
// of itself, and its heap dump as a stream.
//
// What flows in: a pid. What flows out: a [snapshot.JVM], and the bytes of a
// heap dump while the JVM writes it. It never signals a process that is not
// proven to be a HotSpot JVM, refuses other JVMs, bounds every reply, and
// leaves no file in the target, also when leakscope is killed.
package hotspot
