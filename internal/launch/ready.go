package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	askInterval = 100 * time.Millisecond
	askTimeout  = 5 * time.Second // for one answer
)

// Readiness says when a program counts as ready: when everything that is given
// holds.
type Readiness struct {
	URL     string         // answers a GET with a status below 400
	Address string         // host:port, accepts connections
	Log     *regexp.Regexp // matches a line of its output

	once sync.Once
	seen chan struct{}
}

// Given reports whether there is anything to wait for.
func (r *Readiness) Given() bool { return r.URL != "" || r.Address != "" || r.Log != nil }

// ParseURL checks a URL.
func ParseURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", text)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%q is no http or https URL", text)
	}
	return nil
}

// ParseAddress makes host:port of "8080", ":8080" or "host:8080".
func ParseAddress(text string) (string, error) {
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("%q is no port and no host:port", text)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port", port)
	}
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// TakenError says that somebody answers already, before the program is started.
type TakenError struct{ Where string }

func (e *TakenError) Error() string {
	return e.Where + " answers before the command is started: another process has it"
}

// Free returns a [TakenError] when somebody else would be taken for the program
// that is to be started.
func (r *Readiness) Free(ctx context.Context) error {
	if r.URL != "" && askURL(ctx, r.URL) == nil {
		return &TakenError{r.URL}
	}
	if r.Address != "" && askAddress(ctx, r.Address) == nil {
		return &TakenError{r.Address}
	}
	return nil
}

// matched is closed when the log has matched.
func (r *Readiness) matched() chan struct{} {
	r.once.Do(func() { r.seen = make(chan struct{}) })
	return r.seen
}

// Line is told a line of the program's output.
func (r *Readiness) Line(text string) {
	if r.Log == nil || !r.Log.MatchString(text) {
		return
	}
	select {
	case <-r.matched():
	default:
		close(r.matched())
	}
}

// NotReadyError says what a program was waited for in vain.
type NotReadyError struct {
	After time.Duration
	What  string // that did not come
	Err   error  // the last answer; nil for a log
}

func (e *NotReadyError) Error() string {
	text := fmt.Sprintf("not ready after %s: %s", e.After, e.What)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *NotReadyError) Unwrap() error { return e.Err }

// Wait waits until the program is ready. When ended, which may be nil, is closed
// first it returns nil too: the caller looks at that before anything else. It
// returns a [NotReadyError] after the timeout, and the context's error when ctx
// ended.
func (r *Readiness) Wait(ctx context.Context, timeout time.Duration, ended <-chan struct{}) error {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	inVain := func(what string, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &NotReadyError{timeout, what, err}
	}
	if r.Log != nil {
		select {
		case <-r.matched():
		case <-ended:
			return nil
		case <-waiting.Done():
			return inVain(fmt.Sprintf("no line of the output matches %q", r.Log), nil)
		}
	}
	for _, probe := range []struct {
		where string
		ask   func(context.Context, string) error
	}{{r.Address, askAddress}, {r.URL, askURL}} {
		if probe.where == "" {
			continue
		}
		var last error
		for {
			err := probe.ask(waiting, probe.where)
			if err == nil {
				break
			}
			if late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded); last == nil || !late {
				last = err // the end of the wait itself tells nothing
			}
			again := time.NewTimer(askInterval)
			select {
			case <-again.C:
			case <-ended:
				again.Stop()
				return nil
			case <-waiting.Done():
				again.Stop()
				return inVain(probe.where, last)
			}
		}
	}
	return nil
}

func askAddress(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return plain(err)
	}
	return conn.Close()
}

// askURL asks once, on a connection of its own that does not stay open in the
// program. Redirects are an answer, and are not followed.
func askURL(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true
	client := http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return plain(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

// plain takes off an error what the message around it says already.
func plain(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		err = dial.Err
	}
	return err
}

// LocalPort is the port of this machine that the program is to listen on, as far
// as what is waited for says that; else 0.
func (r *Readiness) LocalPort() uint16 {
	if r.Address != "" {
		if host, port, err := net.SplitHostPort(r.Address); err == nil && isLocal(host) {
			return portNumber(port)
		}
	}
	if u, err := url.Parse(r.URL); err == nil && r.URL != "" && isLocal(u.Hostname()) {
		return portNumber(cmp.Or(u.Port(), u.Scheme))
	}
	return 0
}

func portNumber(name string) uint16 {
	n, err := net.LookupPort("tcp", name)
	if err != nil || n < 0 || n > math.MaxUint16 {
		return 0
	}
	return uint16(n)
}

// isLocal reports whether every address of a host is one of this machine.
func isLocal(host string) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	addresses, err := net.LookupIP(host)
	if err != nil || len(addresses) == 0 {
		return false
	}
	for _, a := range addresses {
		ours := a.IsLoopback() || a.IsUnspecified() || slices.ContainsFunc(own, func(o net.Addr) bool {
			n, ok := o.(*net.IPNet)
			return ok && n.IP.Equal(a)
		})
		if !ours {
			return false
		}
	}
	return true
}
