package freeze

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// grace is what a holder has, after the limit of a stop, to release the target
// itself. It needs microseconds, unless it is not let run.
const grace = time.Second

// sigevent is struct sigevent of the 64-bit kernel (sigevent(3type)).
type sigevent struct {
	value  uint64
	signal int32
	notify int32 // SIGEV_SIGNAL
	_      [48]byte
}

// lastResort has the kernel kill this process after some time, unless it is
// disarmed: also one that is stopped by a signal or frozen in its cgroup. The
// death of a tracer releases its tracees.
func lastResort(after time.Duration) (disarm func(), err error) {
	event := sigevent{signal: int32(unix.SIGKILL)}
	var id int32
	if _, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id))); errno != 0 {
		return nil, fmt.Errorf("timer_create: %w", errno)
	}
	disarm = func() { _, _, _ = unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(id), 0, 0) }
	when := unix.ItimerSpec{Value: unix.NsecToTimespec(after.Nanoseconds())}
	if _, _, errno := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(id), 0, uintptr(unsafe.Pointer(&when)), 0, 0, 0); errno != 0 {
		disarm()
		return nil, fmt.Errorf("timer_settime: %w", errno)
	}
	return disarm, nil
}
