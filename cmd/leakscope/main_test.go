package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leakscope/leakscope/capture/hotspot"
)

func TestMain(m *testing.M) {
	if hotspot.Watchdog() { // a test's heap dump starts this binary as its watchdog
		return
	}
	testscript.Main(m, map[string]func(){"leakscope": main})
}
