// Package freeze stops all threads of a process for a moment, with a limit,
// and lets them go on as they were.
//
// What flows in: a pid and a limit. What flows out: a [Stopped], whose target
// does not run until it is released, and what the stop took. It refuses a
// process that somebody else traces. It uses PTRACE_SEIZE and PTRACE_INTERRUPT
// (ptrace(2)), which send no signal: a target that was stopped by SIGSTOP stays
// so, and one that waits in a system call goes on waiting.
//
// The target comes first: a small process of its own holds it ([Holder]). It
// lets the target go when the limit is over, whatever leakscope does, and when
// leakscope ends or is killed. When the holder itself is killed, the kernel
// detaches from what it held; when it is stopped or starved, a timer of the
// kernel kills it.
package freeze
