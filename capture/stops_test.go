package capture_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/snapshot"
)

// TestMaxPause gives a stop no time: the target goes on, nothing is accepted,
// and the source says what to do.
func TestMaxPause(t *testing.T) {
	p := scenario.Start(t, "session-open", scenario.Required(t), scenario.Options{})
	p.Hiccups(t)
	var announced []capture.Estimate
	s := run(t, capture.Options{PID: p.PID, MaxPause: time.Microsecond, Announce: func(e capture.Estimate) { announced = append(announced, e) }})
	source := sourceOf(t, s, snapshot.SourceVMStructs)
	if s.Heap != nil || source.Status != snapshot.StatusUnstable || !strings.Contains(source.Hint, "--max-pause") {
		t.Errorf("%+v", source)
	}
	if len(announced) != 1 || announced[0].PauseSeconds <= 0 || announced[0].MaxPause != time.Microsecond || announced[0].HeapBytes <= 0 {
		t.Errorf("announced %+v", announced)
	}
	if pause := source.PauseSeconds.Or(0); pause <= 0 {
		t.Errorf("paused for %v", pause)
	}
	p.Hiccups(t)
	time.Sleep(100 * time.Millisecond)
	if h := p.Hiccups(t); h.Samples == 0 {
		t.Error("the target does not go on")
	}
	p.Next(t)
}
