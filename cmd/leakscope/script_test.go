package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs every scenario under testdata/script. $SNAPSHOTS is the
// directory of recorded snapshots, $PORT a port that was free just before, and
// $TAKEN one that we listen on; "exits CODE COMMAND" runs leakscope and wants
// that exit code, "serve PORT" answers HTTP.
func TestScripts(t *testing.T) {
	snapshots, err := filepath.Abs("../../testdata/snapshots")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SNAPSHOTS", snapshots)
			e.Setenv("SELF", strconv.Itoa(os.Getpid()))
			e.Setenv("NO_COLOR", "1")
			for _, name := range []string{"PORT", "TAKEN"} {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				e.Setenv(name, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
				if name == "TAKEN" {
					e.Defer(func() { _ = listener.Close() })
				} else if err := listener.Close(); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("leakscope", args[1:]...)
	got := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
