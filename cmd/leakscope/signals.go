package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// withSignals returns a context that SIGINT and SIGTERM end, with the signal as
// its cause. A second signal has its default effect, so that nobody is held.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(&signalError{signal: s})
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// secondSignal closes hurry at the first signal after the one that ended ctx,
// which would otherwise end leakscope with the command still running. A third
// one has its default effect.
func secondSignal(ctx context.Context, hurry chan struct{}) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(signals)
		select {
		case <-signals:
			close(hurry)
		case <-done:
		}
	})
	return func() {
		cancel()
		close(done)
	}
}
