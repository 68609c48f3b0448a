package sockets

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// What a unix_diag request can ask for, and the attributes that come back.
// Names are not asked for.
const (
	unixShowQueues = 0x10
	unixShowMemory = 0x20
	unixShowUID    = 0x40

	unixQueues   = 4
	unixMemory   = 5
	unixShutdown = 6
	unixUID      = 7 // kernel 5.4
)

// unixRequest builds struct unix_diag_req for all unix sockets.
func unixRequest() []byte {
	const size = 24
	b := make([]byte, size)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], 1<<32-1)
	binary.NativeEndian.PutUint32(b[12:], unixShowQueues|unixShowMemory|unixShowUID)
	return b
}

// unixMessageBytes is the size of struct unix_diag_msg.
const unixMessageBytes = 16

// noUID is what an older kernel leaves a row's uid as.
const noUID = 1<<32 - 1

// decodeUnix reads struct unix_diag_msg and its attributes. On LISTEN the
// queues count connections. Elsewhere the receive queue is bytes to read and
// the send queue the kernel memory of what the peer has not read.
func decodeUnix(b []byte) (r row, ok bool, err error) {
	if len(b) < unixMessageBytes {
		return r, false, &LengthError{What: "unix_diag message", Got: len(b), Want: unixMessageBytes}
	}
	if b[0] != unix.AF_UNIX {
		return r, false, nil
	}
	r.Protocol, r.uid = snapshot.Unix, noUID
	if r.State, ok = stateOf(b[2]); !ok {
		return r, false, nil
	}
	r.Inode = uint64(binary.NativeEndian.Uint32(b[4:]))
	r.Cookie = uint64(binary.NativeEndian.Uint32(b[12:]))<<32 | uint64(binary.NativeEndian.Uint32(b[8:]))
	err = attributes(b[unixMessageBytes:], func(kind uint16, value []byte) {
		switch kind {
		case unixQueues:
			received, ok := word32(value, 0)
			sent, ok2 := word32(value, 4)
			if ok && ok2 {
				r.ReceiveQueueBytes, r.SendQueueBytes = snapshot.Known(int64(received)), snapshot.Known(int64(sent))
			}
		case unixMemory:
			addKernelMemory(&r.Socket, value)
		case unixShutdown:
			if len(value) > 0 {
				r.Shutdown = snapshot.Known(int64(value[0]))
			}
		case unixUID:
			if uid, ok := word32(value, 0); ok {
				r.uid = uid
			}
		}
	})
	return r, true, err
}
