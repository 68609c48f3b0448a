package capture_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/leakscope/leakscope/capture/hotspot"
	"github.com/leakscope/leakscope/capture/vmstructs"
	"github.com/leakscope/leakscope/heap"
	"github.com/leakscope/leakscope/internal/scenario"
)

// classesLast gives all of the main stream but its start behind the objects: which
// part of the classes waits in the JVM's buffer depends on how much comes before.
func classesLast(s hotspot.DumpStream) (hotspot.DumpStream, error) {
	head := make([]byte, 4096)
	if _, err := io.ReadFull(s.Main, head); err != nil {
		return s, err
	}
	rest, ended := make(chan []byte, 1), make(chan struct{})
	go func(main io.Reader) {
		b, _ := io.ReadAll(main) // what is missing makes the dump incomplete
		rest <- b
	}(s.Main)
	s.Main = io.MultiReader(bytes.NewReader(head), &late{ended: ended, rest: rest})
	s.Segments = []io.Reader{&ending{r: s.Segments[0], ended: ended}}
	return s, nil
}

// ending says when a reader has ended.
type ending struct {
	r     io.Reader
	ended chan struct{}
	once  sync.Once
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil {
		e.once.Do(func() { close(e.ended) })
	}
	return n, err
}

// late is a reader of what comes when another has ended.
type late struct {
	ended <-chan struct{}
	rest  <-chan []byte
	r     *bytes.Reader
}

func (l *late) Read(p []byte) (int, error) {
	if l.r == nil {
		<-l.ended
		l.r = bytes.NewReader(<-l.rest)
	}
	return l.r.Read(p)
}

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
				s, err := classesLast(s)
				if err != nil {
					return err
				}
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
