// Package hprof decodes the HPROF binary heap dump format, versions 1.0.1 and
// 1.0.2, with identifiers of 4 or 8 bytes.
//
// What flows in: bytes, from a file or a stream, in pieces of any size. What
// flows out: calls of a [Visitor] for the records inside heap dump segments
// ([Decoder]), top-level records ([Scanner]) and inflated gzip members
// ([NewGzipReader]). The contents of primitive arrays are skipped.
//
// Refused, with a [SyntaxError] that says where: unknown tags, lengths beyond
// the limits, classes whose layout overflows. The format is described in
// hprof_b_spec.h of the JDK and, for what HotSpot writes today, in
// src/hotspot/share/services/heapDumper.cpp.
package hprof
