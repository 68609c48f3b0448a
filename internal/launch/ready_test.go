package launch

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

const soon = time.Second // long enough for a try on a busy machine

func TestReadyURL(t *testing.T) {
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Connection")
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/nowhere", http.StatusFound)
		case "/third":
			if len(asked) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/ok":
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	for path, want := range map[string]string{"/ok": "", "/moved": "", "/third": "", "/missing": "it answers 404 Not Found"} {
		for len(asked) > 0 {
			<-asked
		}
		r := &Readiness{URL: server.URL + path}
		timeout := 30 * time.Second
		if want != "" {
			timeout = soon
		}
		err := r.Wait(t.Context(), timeout, nil)
		var late *NotReadyError
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", path, err)
		case want != "" && (!errors.As(err, &late) || !strings.HasPrefix(err.Error(), "not ready after 1s: "+r.URL+": ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", path, err)
		}
		if path == "/third" && len(asked) != 3 {
			t.Errorf("asked %d times", len(asked))
		}
		if <-asked != "close" {
			t.Error("the connection was to stay open in the program")
		}
		var taken *TakenError
		if err := r.Free(t.Context()); (want == "") != errors.As(err, &taken) {
			t.Errorf("%s: free: %v", path, err)
		}
	}
	for _, text := range []string{"", "localhost:80", "ftp://x/", "http://", "http://[::1", "/health"} {
		if ParseURL(text) == nil {
			t.Errorf("%q counts as a URL", text)
		}
	}
	if err := ParseURL("https://localhost:8443/health?x=1"); err != nil {
		t.Error(err)
	}
}

func TestReadyAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	r := &Readiness{Address: address}
	if err := r.Wait(t.Context(), 30*time.Second, nil); err != nil {
		t.Error(err)
	}
	var taken *TakenError
	if err := r.Free(t.Context()); !errors.As(err, &taken) || taken.Where != address {
		t.Errorf("free: %v", err)
	}
	_ = listener.Close()
	if err := r.Free(t.Context()); err != nil {
		t.Errorf("not free: %v", err)
	}
	if err := r.Wait(t.Context(), soon, nil); err == nil || !strings.Contains(err.Error(), address+": connect: connection refused") {
		t.Errorf("nobody listens: %v", err)
	}
	for text, want := range map[string]string{
		"8080": "localhost:8080", ":8080": "localhost:8080", "127.0.0.1:8080": "127.0.0.1:8080", "[::1]:80": "[::1]:80",
		"": "", "x": "", "0": "", "70000": "", "a:b:c": "", "host:": "", "-1": "",
	} {
		got, err := ParseAddress(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestReadyLog(t *testing.T) {
	r := &Readiness{Log: regexp.MustCompile(`^Started .* in`)}
	r.Line("Starting")
	var late *NotReadyError
	if err := r.Wait(t.Context(), time.Millisecond, nil); !errors.As(err, &late) || late.Err != nil || err.Error() != `not ready after 1ms: no line of the output matches "^Started .* in"` {
		t.Errorf("no such line: %v", err)
	}
	r.Line("Started Server in 2 s")
	r.Line("Started Server in 2 s") // a second match is no error
	if err := r.Wait(t.Context(), time.Hour, nil); err != nil {
		t.Error(err)
	}
	if (&Readiness{}).Given() || !r.Given() || !(&Readiness{URL: "x"}).Given() || !(&Readiness{Address: "x"}).Given() {
		t.Error("what is given is not seen")
	}
	if err := (&Readiness{}).Wait(t.Context(), time.Hour, nil); err != nil {
		t.Error(err)
	}
}

// TestReadyEnds does not wait for what cannot come.
func TestReadyEnds(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	stopped, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	cancel(cause)
	for name, r := range map[string]*Readiness{
		"log":     {Log: regexp.MustCompile("x")},
		"url":     {URL: "http://127.0.0.1:1/"},
		"address": {Address: "127.0.0.1:1"},
	} {
		if err := r.Wait(t.Context(), time.Hour, ended); err != nil {
			t.Errorf("%s, ended: %v", name, err)
		}
		if err := r.Wait(stopped, time.Hour, nil); !errors.Is(err, cause) {
			t.Errorf("%s, interrupted: %v", name, err)
		}
	}
}

func TestLocalPort(t *testing.T) {
	for _, test := range []struct {
		ready *Readiness
		want  uint16
	}{
		{&Readiness{}, 0},
		{&Readiness{Log: regexp.MustCompile("x")}, 0},
		{&Readiness{Address: "localhost:8080"}, 8080},
		{&Readiness{Address: "[::1]:8080"}, 8080},
		{&Readiness{Address: "192.0.2.1:8080"}, 0}, // another machine's: TEST-NET
		{&Readiness{URL: "http://127.0.0.1:8081/health"}, 8081},
		{&Readiness{URL: "http://127.0.0.1/health"}, 80},
		{&Readiness{URL: "https://[::1]/"}, 443},
		{&Readiness{URL: "https://192.0.2.1:8443/"}, 0},
		{&Readiness{URL: "http://127.0.0.1:8081/", Address: "localhost:8080"}, 8080},
	} {
		if got := test.ready.LocalPort(); got != test.want {
			t.Errorf("%q, %q: port %d, want %d", test.ready.Address, test.ready.URL, got, test.want)
		}
	}
}
