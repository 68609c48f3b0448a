package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/capture/hotspot"
)

func TestMain(m *testing.M) {
	if hotspot.Watchdog() || freeze.Holder() { // a test starts this binary as one
		return
	}
	testscript.Main(m, map[string]func(){"leakscope": main})
}
