package scenario

import (
	"testing"
	"time"
)

// TestLoad holds that a load is one, that it ends, and that the meter sees a
// process that stands still.
func TestLoad(t *testing.T) {
	p := Start(t, "session-open", Required(t), Options{})
	p.Load(t, 50, 20)
	p.Hiccups(t)
	time.Sleep(500 * time.Millisecond)
	if r := p.Load(t, 0, 0); r.AllocatedBytes < 1<<20 || r.Collections < 1 || r.Seconds < 0.5 {
		t.Errorf("under load: %+v", r)
	}
	if h := p.Hiccups(t); h.Samples < 10 || h.MaxMicros < h.P99Micros || h.P99Micros < h.P50Micros {
		t.Errorf("%+v", h)
	}
	time.Sleep(100 * time.Millisecond)
	p.Load(t, 0, 0) // the batch that was under way
	time.Sleep(100 * time.Millisecond)
	if r := p.Load(t, 0, 0); r.AllocatedBytes != 0 || r.Collections != 0 {
		t.Errorf("without load: %+v", r)
	}
	p.Next(t) // the scenario goes on
}
