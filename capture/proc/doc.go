// Package proc reads the /proc files of one process into the data model:
// who it is ([FS.Target]), what its memory is ([FS.Memory], [FS.Mappings]) and
// which descriptors it has open ([FS.FDs]).
//
// What flows in: a pid, and the place where proc is mounted. What flows out:
// values of package snapshot, with an error that says which parts are missing.
// The package only reads: it sends no signal, attaches to nothing and writes
// nothing. It refuses to keep what a snapshot must not hold: the environment,
// paths, and the values on a command line (unless asked for).
//
// Each file is opened and read once, with no stat before it, because a process
// can end between the two. A pid can be reused at any moment: call [FS.Check]
// with the start time of the target after a series of readings.
//
// The files are described in the kernel's Documentation/filesystems/proc.rst
// and in proc(5).
package proc
