package main

import (
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/leakscope/leakscope/internal/term"
)

// progress shows the bytes of a heap dump, their rate and the time left on
// stderr where that is a terminal; elsewhere it shows nothing.
type progress struct {
	app *app
	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

func (a *app) progress() *progress { return &progress{app: a} }

// report is safe to call from any goroutine.
func (p *progress) report(done, expected int64) {
	if !term.IsTerminal(p.app.stderr) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if expected <= 0 {
		expected = -1 // a spinner
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(expected,
			progressbar.OptionSetWriter(p.app.stderr),
			progressbar.OptionSetDescription("leakscope: heap"),
			progressbar.OptionShowBytes(true),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(24),
		)
	}
	if expected > 0 && done > expected { // the estimate was too low
		p.bar.ChangeMax64(done + done/20)
	}
	_ = p.bar.Set64(done)
}

// finish takes the bar off the screen.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
