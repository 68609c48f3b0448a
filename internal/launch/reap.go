package launch

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// subreaper makes orphans of commands our children while there is any command,
// so that we can wait for them: the init process of a container often does not.
var subreaper struct {
	sync.Mutex
	users int
}

func adopt() {
	subreaper.Lock()
	defer subreaper.Unlock()
	if subreaper.users++; subreaper.users == 1 {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // since Linux 3.4
	}
}

func abandon() {
	subreaper.Lock()
	defer subreaper.Unlock()
	if subreaper.users--; subreaper.users == 0 {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	}
}

// reapOrphans waits for what has ended of the group, and of those that left it,
// as far as they are our children. The command itself was waited for before.
func (g *Group) reapOrphans() {
	for {
		pid, err := unix.Wait4(-g.PID(), nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
	}
	for pid := range g.outsiders {
		for {
			if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}
