package capture

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/leakscope/leakscope/capture/freeze"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/snapshot"
)

// stops has a target stand still while its heap is copied from outside, and
// keeps account of it.
type stops struct {
	r              *recorder
	source         *snapshot.Source
	count          int
	total, longest time.Duration
}

// maxStops bounds the stops of one capture: a copy can be refused too, when the
// target was stopped in the middle of a collection or of making an object. All
// together they take no longer than the limit of one, but for the last.
const maxStops = 20

var errStops = errors.New("no reading was accepted")

// hold is a vmstructs.Hold.
func (p *stops) hold(ctx context.Context, bytes int64) (context.Context, func() error, error) {
	limit := p.r.options.MaxPause
	if p.count == maxStops || p.total >= limit {
		return nil, nil, fmt.Errorf("%w in %d stops", errStops, p.count)
	}
	if p.count == 0 {
		estimate := vmstructs.CopySeconds(bytes)
		p.source.EstimateSeconds = snapshot.Known(estimate)
		if announce := p.r.options.Announce; announce != nil {
			announce(Estimate{PauseSeconds: estimate, HeapBytes: bytes, Method: "stop", MaxPause: limit})
		}
	}
	p.count++
	stopped, err := freeze.Stop(ctx, p.r.options.PID, limit)
	if err != nil {
		var late *freeze.LimitError
		if errors.As(err, &late) { // some threads stood all the time
			p.add(limit)
		}
		return nil, nil, err
	}
	return stopped.Context(), func() error {
		pause, err := stopped.Release()
		p.add(pause)
		return err
	}, nil
}

func (p *stops) add(pause time.Duration) {
	p.total += pause
	p.longest = max(p.longest, pause)
}

// describe notes what the stops took.
func (p *stops) describe() {
	if p.count == 0 {
		return
	}
	p.source.PauseSeconds = snapshot.Known(p.total.Seconds())
	p.source.Detail["stops"] = strconv.Itoa(p.count)
	p.source.Detail["longest_stop_seconds"] = strconv.FormatFloat(p.longest.Seconds(), 'f', 6, 64)
	p.source.Detail["pause_source"] = "time from the first thread's stop to the last one's release"
}
