// Command leakscope finds off-heap memory leaks in running processes: which
// memory is kept, by which connection, in which lifecycle state.
package main

import (
	"os"
	"runtime/debug"

	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/capture/hotspot"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	if hotspot.Watchdog() || freeze.Holder() { // this process only guards what another does to a target
		return
	}
	ownProcess = true
	if os.Getenv("GOGC") == "" {
		// The tables of a heap are large and hold no pointers: collecting often
		// costs little, and leaves more of a small container to the target.
		debug.SetGCPercent(20)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
