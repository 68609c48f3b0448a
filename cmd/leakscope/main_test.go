package main

import (
	"net/http"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/capture/hotspot"
)

func TestMain(m *testing.M) {
	if hotspot.Watchdog() || freeze.Holder() { // a test starts this binary as one
		return
	}
	testscript.Main(m, map[string]func(){"leakscope": main, "serve": serve})
}

// serve is a program for the scripts: "serve PORT" answers HTTP on loopback.
func serve() {
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], http.NotFoundHandler()); err != nil {
		os.Exit(1)
	}
}
