// Package launch runs the programs of a leak test: the command that is looked
// at, and the load that is put on it.
//
// What flows in: a command line. What flows out: a running process with its
// output line by line, whether it is ready, and how it ended. Each command runs
// in a process group of its own, with nothing on its stdin, and ends with
// [Group.Stop]: SIGTERM for all that it started, SIGKILL for what is left after
// a grace. What left the group (setsid, daemons) is found by a mark in the
// environment that it inherited. When leakscope itself is killed the kernel
// kills the command.
//
// Refused: signals to any process that does not belong to the command.
package launch
