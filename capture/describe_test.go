package capture_test

import (
	"context"
	"errors"
	"testing"

	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/heap"
	"github.com/leakscope/leakscope/internal/scenario"
)

// TestDescribe streams a dump with the classes read from outside: on every JDK
// whose stream has them last, the dump's own descriptions are the same in the end,
// which makes the result complete.
func TestDescribe(t *testing.T) {
	for _, jdk := range scenario.JDKs(t) {
		if jdk.Feature < 22 {
			continue // describes its classes first, and its fields in another order
		}
		t.Run(jdk.String(), func(t *testing.T) {
			p := scenario.Start(t, "session-open", jdk, scenario.Options{})
			target, err := vmstructs.Open("", p.PID)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			classes, err := target.Describe()
			if err != nil {
				t.Fatal(err)
			}
			j, err := hotspot.Open(p.PID)
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			told := 0
			_, err = j.DumpHeap(t.Context(), hotspot.DumpOptions{Feature: jdk.Feature}, func(ctx context.Context, s hotspot.DumpStream) error {
				r, err := heap.ReadStream(ctx, s.Main, heap.Options{Segments: s.Segments, Describe: func() []heap.KnownClass {
					all, err := classes.Classes()
					if err != nil {
						t.Error(err)
					}
					told = len(all)
					return all
				}})
				switch {
				case err != nil:
					return err
				case !r.Complete:
					return errors.New(r.Reason)
				case len(r.Connections) == 0 || len(r.Allocations) == 0:
					return errors.New("nothing was found")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if told < 300 {
				t.Errorf("%d classes were told", told)
			}
		})
	}
}
