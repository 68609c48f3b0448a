package demo

import (
	"os"
	"testing"

	"github.com/leakscope/leakscope/capture/hotspot"
)

func TestMain(m *testing.M) {
	if hotspot.Watchdog() { // a test's heap dump starts this binary as its watchdog
		return
	}
	if os.Getenv(holdEnv) != "" {
		hold()
	}
	os.Exit(m.Run())
}
