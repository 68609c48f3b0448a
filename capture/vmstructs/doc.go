// Package vmstructs reads a running HotSpot JVM from outside: its counters, the
// off-heap memory it has allocated, and what holds it. Nothing runs in the
// target for that: no attach, no signal, no safepoint, no file. What it needs is
// the right to read the target's memory (same user, or CAP_SYS_PTRACE).
//
// libjvm.so describes its own data structures in exported tables
// (gHotSpotVMStructs, gHotSpotVMTypes and others, made for debuggers). They give
// type sizes, field offsets and the addresses of static fields; what they leave
// out differs between JDKs and is data in layout.go. Everything read is checked
// before it is believed: addresses against the target's mappings, classes
// against the class hierarchy, and the whole of a reading against counters that
// the target itself keeps. A reading that a collection has crossed is thrown
// away.
package vmstructs
