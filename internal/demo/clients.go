package demo

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// wish is the first byte of a client; LeakDemo.java says what each gets.
type wish byte

const (
	replay   wish = 'R' // hangs up: the server never closes
	lastLook wish = 'L' // hangs up: the server closes and forgets the session
	feed     wish = 'F' // never reads
	wait     wish = 'W' // silent
	echo     wish = 'E' // healthy
)

// plan is how many clients of each kind come in a phase, in this order: the
// silent ones first, since it is time that makes them idle. A later phase adds
// none that stall: those of the first are published to again.
func plan(phase int) []wish {
	var all []wish
	add := func(w wish, n int) {
		for range n {
			all = append(all, w)
		}
	}
	if phase == 1 {
		add(wait, 6)
		add(echo, 4)
		add(feed, 4)
	}
	add(replay, 12)
	add(lastLook, 8)
	return all
}

const (
	answerTimeout = 10 * time.Second
	echoPause     = 50 * time.Millisecond
	echoBytes     = 512
	// smallWindow is the receive buffer of a client that does not read.
	smallWindow = 4 << 10
)

// clients are the other ends of the program's connections. They live in this
// process, so that none of their memory is the target's.
type clients struct {
	address string
	wg      sync.WaitGroup
	mu      sync.Mutex
	open    []net.Conn
}

func newClients(port int) *clients {
	return &clients{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
}

// connect opens a client and waits until the server has given it what it gets.
func (c *clients) connect(ctx context.Context, w wish) error {
	dialer := net.Dialer{Timeout: answerTimeout, KeepAlive: -1}
	if w == feed {
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			if failed := raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallWindow)
			}); failed != nil {
				return failed
			}
			return err
		}
	}
	conn, err := dialer.DialContext(ctx, "tcp4", c.address)
	if err != nil {
		return fmt.Errorf("connect to the demo: %w", err)
	}
	leaves := w == replay || w == lastLook
	if !leaves {
		c.mu.Lock()
		c.open = append(c.open, conn)
		c.mu.Unlock()
	} else {
		defer conn.Close() //nolint:errcheck // hanging up is the point
	}
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return fmt.Errorf("connect to the demo: %w", err)
	}
	answer := []byte{byte(w)}
	if _, err := conn.Write(answer); err != nil {
		return fmt.Errorf("ask the demo for %c: %w", w, err)
	}
	if _, err := conn.Read(answer); err != nil {
		return fmt.Errorf("ask the demo for %c: %w", w, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("connect to the demo: %w", err)
	}
	if w == echo {
		c.wg.Go(func() { talk(conn) })
	}
	return nil
}

// talk keeps bytes moving until the connection is closed.
func talk(conn net.Conn) {
	out, in := make([]byte, echoBytes), make([]byte, echoBytes)
	for i := range out {
		out[i] = byte(i)
	}
	for {
		if _, err := conn.Write(out); err != nil {
			return
		}
		for got := 0; got < len(in); {
			n, err := conn.Read(in[got:])
			if err != nil {
				return
			}
			got += n
		}
		time.Sleep(echoPause)
	}
}

// close hangs up every client.
func (c *clients) close() {
	c.mu.Lock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
	c.mu.Unlock()
	c.wg.Wait()
}
