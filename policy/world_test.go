package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// world builds snapshots of an imaginary server, so that results come from the
// real analysis.
type world struct {
	s    *snapshot.Snapshot
	next snapshot.Address
}

func known[T any](v T) snapshot.Optional[T] { return snapshot.Known(v) }

func at(seconds float64) *world {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
	w := &world{next: 0x7f0000000000, s: &snapshot.Snapshot{
		Manifest: snapshot.Manifest{
			Target: snapshot.Target{PID: 42, StartTimeTicks: 7, BootID: "boot", Name: "Collector", Runtime: snapshot.RuntimeHotSpot},
			Clock:  snapshot.Clock{Started: started, Finished: started, UptimeSeconds: known(1000 + seconds)},
		},
		Memory:  &snapshot.Memory{RSSBytes: known[int64](500 << 20)},
		Sockets: []snapshot.Socket{}, FDs: []snapshot.FD{},
		Heap: &snapshot.Heap{Complete: true, Method: "heap-dump"},
	}}
	for _, name := range []string{snapshot.SourceProc, snapshot.SourceFDs, snapshot.SourceSockets, snapshot.SourceAttach, snapshot.SourceHeapDump, snapshot.SourceMemory} {
		w.s.Manifest.Sources = append(w.s.Manifest.Sources, snapshot.Source{Name: name, Status: snapshot.StatusOK, PauseSeconds: known(0.0)})
	}
	w.s.Manifest.Sources[4].PauseSeconds = known(1.5)
	return w
}

// withhold takes a source's evidence away, as a denied capture would.
func (w *world) withhold(source string, status snapshot.Status) *world {
	i := slices.IndexFunc(w.s.Manifest.Sources, func(s snapshot.Source) bool { return s.Name == source })
	w.s.Manifest.Sources[i].Status, w.s.Manifest.Sources[i].Reason = status, "withheld"
	switch source {
	case snapshot.SourceMemory:
		w.s.Memory = nil
	case snapshot.SourceFDs:
		w.s.FDs = nil
	case snapshot.SourceSockets:
		w.s.Sockets = nil
	case snapshot.SourceHeapDump:
		w.s.Heap = nil
	}
	return w
}

func port(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(n))
}

// connections adds n channels from a first peer's port on, each with one
// buffer, in the kernel's state; snapshot.Close stands for a closed channel.
func (w *world) connections(first, n int, state snapshot.TCPState, bytes int64) *world {
	holder := w.holder("sun.nio.ch.SelectionKeyImpl.attachment", "Session.buffers")
	for peer := first; peer < first+n; peer++ {
		closed := state == snapshot.Close
		w.s.Heap.Connections = append(w.s.Heap.Connections, snapshot.HeapConnection{
			Class: "sun.nio.ch.SocketChannelImpl", Local: port(9000), Remote: port(peer),
			FD: known(peer), Closed: known(closed), Reachable: known(true), Object: snapshot.Address(peer),
		})
		if !closed {
			w.s.Sockets = append(w.s.Sockets, snapshot.Socket{
				Protocol: snapshot.TCP4, State: state, Local: port(9000), Remote: port(peer), Inode: uint64(peer), FDs: []int{peer},
				SendQueueBytes: known[int64](0), ReceiveQueueBytes: known[int64](0), Timer: snapshot.TimerNone,
				LastSendSeconds: known(0.5), LastReceiveSeconds: known(30.0), LastAckSeconds: known(0.5),
			})
			w.s.FDs = append(w.s.FDs, snapshot.FD{Number: peer, Kind: "socket", Inode: uint64(peer)})
		}
		w.buffer(bytes, snapshot.FateConnection, holder, len(w.s.Heap.Connections)-1)
	}
	return w
}

func (w *world) holder(path ...string) int {
	w.s.Heap.Holders = append(w.s.Heap.Holders, snapshot.Holder{Path: path, Root: "connection"})
	return len(w.s.Heap.Holders) - 1
}

func (w *world) buffer(bytes int64, fate snapshot.Fate, holder, connection int) *world {
	w.s.Heap.Allocations = append(w.s.Heap.Allocations, snapshot.Allocation{
		Address: w.next, Bytes: bytes, Kind: snapshot.KindDirect, Fate: fate, Holder: int32(holder), Connection: int32(connection),
	})
	w.next += 1 << 20
	return w
}

// cached adds memory that the application holds.
func (w *world) cached(bytes int64) *world {
	return w.buffer(bytes, snapshot.FateApplication, w.holder("com.example.Cache.entries"), -1)
}

func diff(t testing.TB, worlds ...*world) *analyze.Result {
	t.Helper()
	var in []analyze.Named
	for i, w := range worlds {
		in = append(in, analyze.Named{Name: fmt.Sprintf("%c.lscope", 'a'+i), Snapshot: w.s})
	}
	if len(in) == 1 {
		return analyze.Report(in[0], analyze.Options{})
	}
	r, err := analyze.Diff(in, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const kib, mib = 1 << 10, 1 << 20

// leaky is a pair in which ten peers left and their sessions stayed: 10 MiB.
func leaky(t testing.TB) *analyze.Result {
	t.Helper()
	return diff(t, leakyBase(), leakyHead())
}

func leakyBase() *world {
	return at(0).connections(40000, 20, snapshot.Established, mib).cached(2 * mib)
}

func leakyHead() *world {
	return at(60).connections(40000, 10, snapshot.CloseWait, mib).
		connections(40010, 10, snapshot.Established, mib).connections(40020, 5, snapshot.CloseWait, mib).cached(2 * mib)
}

// healthy is a pair in which nothing grows.
func healthy(t testing.TB) *analyze.Result {
	t.Helper()
	return diff(t, healthyWorld(0), healthyWorld(60))
}

func healthyWorld(seconds float64) *world {
	return at(seconds).connections(40000, 20, snapshot.Established, mib).cached(2 * mib)
}
