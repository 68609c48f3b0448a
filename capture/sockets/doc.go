// Package sockets reads the kernel's connection table for one process.
//
// What flows in: a pid, where proc is mounted, and the descriptors of the
// process. What flows out: the rows of its TCP and unix sockets, joined to the
// descriptors by inode, and how good that evidence is.
//
// The table comes from sock_diag in the network namespace of the target, which
// tells queues, timers, ages, kernel memory and shutdown; where the namespace
// cannot be entered or the kernel has no sock_diag, from /proc/PID/net, which
// tells less. Sources of the facts: the kernel's include/uapi/linux/inet_diag.h,
// unix_diag.h and tcp.h, sock_diag(7), proc_pid_net(5).
//
// Addresses: an IPv4 address mapped into IPv6 (::ffff:127.0.0.1) comes out as
// plain IPv4, while the protocol stays tcp6, so that both ends of a connection
// and the addresses of a managed heap compare equal. A remote end that does not
// exist, and the addresses of unix sockets, are the zero AddrPort. Zones are
// left out.
//
// Refused: the names of unix sockets (they are paths) and sockets of other
// processes.
package sockets
