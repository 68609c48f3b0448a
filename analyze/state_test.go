package analyze

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

func known[T any](v T) snapshot.Optional[T] { return snapshot.Known(v) }

// established is a healthy socket on which a byte moved a moment ago.
func established(change func(*snapshot.Socket)) snapshot.Socket {
	s := snapshot.Socket{
		Protocol: snapshot.TCP4, State: snapshot.Established, Inode: 100, FDs: []int{10},
		Local: netip.MustParseAddrPort("127.0.0.1:9000"), Remote: netip.MustParseAddrPort("127.0.0.1:40000"),
		ReceiveQueueBytes: known[int64](0), SendQueueBytes: known[int64](0), NotSentBytes: known[int64](0),
		Timer: snapshot.TimerNone, Retransmits: known[int64](0), Probes: known[int64](0),
		LastSendSeconds: known(0.1), LastReceiveSeconds: known(0.1), LastAckSeconds: known(0.1),
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestLifecycleState(t *testing.T) {
	queued := func(evidence map[string]int64) *snapshot.HeapConnection {
		return &snapshot.HeapConnection{Evidence: evidence}
	}
	tests := []struct {
		name   string
		socket snapshot.Socket
		heap   *snapshot.HeapConnection
		want   State
		reason string // part of it
	}{
		{name: "listening", socket: established(func(s *snapshot.Socket) { s.State = snapshot.Listen }), want: StateListening},
		{name: "connecting", socket: established(func(s *snapshot.Socket) { s.State = snapshot.SynSent }), want: StateOpening},
		{name: "accept queue", socket: established(func(s *snapshot.Socket) { s.Inode = 0 }), want: StateOpening, reason: "accept queue"},
		{name: "active", socket: established(nil), want: StateActive},
		{name: "idle", socket: established(func(s *snapshot.Socket) {
			s.LastSendSeconds, s.LastReceiveSeconds = known(29.0), known(30.0)
		}), want: StateIdle, reason: "no keepalive timer"},
		{name: "idle with keepalive", socket: established(func(s *snapshot.Socket) {
			s.LastSendSeconds, s.LastReceiveSeconds, s.Timer = known(29.0), known(30.0), snapshot.TimerKeepalive
		}), want: StateIdle, reason: "nothing received for 30 s"},
		{name: "receives only", socket: established(func(s *snapshot.Socket) {
			s.LastSendSeconds = known(500.0)
		}), want: StateActive},
		{name: "full send queue that drains", socket: established(func(s *snapshot.Socket) {
			s.SendQueueBytes, s.NotSentBytes = known[int64](3<<20), known[int64](1<<20)
		}), want: StateActive},
		{name: "full send queue that stands", socket: established(func(s *snapshot.Socket) {
			s.SendQueueBytes, s.NotSentBytes, s.LastSendSeconds = known[int64](3<<20), known[int64](1<<20), known(5.0)
		}), want: StateStalled},
		{name: "closed window", socket: established(func(s *snapshot.Socket) {
			s.Timer, s.SendQueueBytes, s.Retransmits = snapshot.TimerPersist, known[int64](3900000), known[int64](0)
		}), want: StateStalled, reason: "persist"},
		{name: "exhausted stream window, empty kernel queues", socket: established(func(s *snapshot.Socket) {
			s.LastSendSeconds, s.LastReceiveSeconds = known(60.0), known(60.0)
		}), heap: queued(map[string]int64{"FlowState.pendingBytes": 1 << 20, "FlowState.window": 0}), want: StateStalled, reason: "HTTP/2 window"},
		{name: "pending bytes with window left", socket: established(nil), heap: queued(map[string]int64{"FlowState.pendingBytes": 1 << 20, "FlowState.window": 65535}), want: StateActive},
		{name: "stream limit", socket: established(nil), heap: queued(map[string]int64{"StreamBufferingEncoder.pendingStreams": 7}), want: StateStalled, reason: "7 streams"},
		{name: "vanished peer, retransmits", socket: established(func(s *snapshot.Socket) {
			s.Timer, s.Retransmits, s.LastAckSeconds, s.SendQueueBytes = snapshot.TimerRetransmit, known[int64](6), known(20.0), known[int64](25000)
		}), want: StateUnreachable, reason: "6 retries"},
		{name: "vanished peer, window probes", socket: established(func(s *snapshot.Socket) {
			s.Timer, s.Probes, s.LastAckSeconds, s.SendQueueBytes = snapshot.TimerPersist, known[int64](5), known(20.0), known[int64](25000)
		}), want: StateUnreachable},
		{name: "a burst of loss", socket: established(func(s *snapshot.Socket) {
			s.Timer, s.Retransmits, s.LastAckSeconds = snapshot.TimerRetransmit, known[int64](4), known(0.4)
		}), want: StateActive},
		{name: "unanswered keepalive", socket: established(func(s *snapshot.Socket) {
			s.Timer, s.Probes = snapshot.TimerKeepalive, known[int64](3)
		}), want: StateUnreachable, reason: "keepalive"},
		{name: "close-wait, EOF unread", socket: established(func(s *snapshot.Socket) {
			s.State, s.ReceiveQueueBytes = snapshot.CloseWait, known[int64](4097)
		}), want: StatePeerClosed, reason: "EOF unread, 4097 bytes"},
		{name: "close-wait, the FIN alone", socket: established(func(s *snapshot.Socket) {
			s.State, s.ReceiveQueueBytes = snapshot.CloseWait, known[int64](1)
		}), want: StatePeerClosed, reason: "EOF read, never closed"},
		{name: "close-wait with unsent data", socket: established(func(s *snapshot.Socket) {
			s.State, s.SendQueueBytes, s.Timer = snapshot.CloseWait, known[int64](3900000), snapshot.TimerPersist
		}), want: StatePeerClosed, reason: "3900000 bytes unsent"},
		{name: "fin-wait", socket: established(func(s *snapshot.Socket) { s.State = snapshot.FinWait2 }), want: StateClosing},
		{name: "time-wait", socket: established(func(s *snapshot.Socket) { s.State = snapshot.TimeWait }), want: StateClosing},
		{name: "no ages", socket: established(func(s *snapshot.Socket) {
			s.LastSendSeconds, s.LastReceiveSeconds = Float{}, Float{}
		}), want: StateUnknown, reason: "ages"},
		{name: "a state of a later kernel", socket: established(func(s *snapshot.Socket) { s.State = "BOUND_INACTIVE" }), want: StateUnknown, reason: "BOUND_INACTIVE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := judgeSocket(&test.socket, test.heap, 10)
			if got.state != test.want || !strings.Contains(got.reason, test.reason) {
				t.Errorf("state %s (%s), want %s (…%s…)", got.state, got.reason, test.want, test.reason)
			}
		})
	}
}

func TestLifecycleStateWithoutSocket(t *testing.T) {
	remote := netip.MustParseAddrPort("10.0.0.1:1")
	all, noUnix, none := tables{tcp: true, unix: true}, tables{tcp: true, why: "unix_diag failed"}, tables{why: "denied"}
	tests := []struct {
		name  string
		heap  snapshot.HeapConnection
		known tables
		want  State
	}{
		{"says closed", snapshot.HeapConnection{Closed: known(true), Remote: remote}, all, StateClosed},
		{"says closed, table not read", snapshot.HeapConnection{Closed: known(true), Remote: remote}, none, StateClosed},
		{"says open, no such socket", snapshot.HeapConnection{Closed: known(false), Remote: remote}, all, StateClosed},
		{"says open, only unix not read", snapshot.HeapConnection{Closed: known(false), Remote: remote}, noUnix, StateClosed},
		{"says open, table not read", snapshot.HeapConnection{Closed: known(false), Remote: remote}, none, StateUnknown},
		{"never connected", snapshot.HeapConnection{Closed: known(false)}, all, StateOpening},
		{"no address, may be a unix socket", snapshot.HeapConnection{Closed: known(false)}, noUnix, StateUnknown},
		{"bound, only unix not read", snapshot.HeapConnection{Closed: known(false), Local: remote}, noUnix, StateOpening},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := judgeHeapOnly(&test.heap, test.known)
			if got.state != test.want || got.state == StateUnknown && got.reason != test.known.why {
				t.Errorf("state %s (%s), want %s", got.state, got.reason, test.want)
			}
		})
	}
}

func TestTablesOf(t *testing.T) {
	source := func(name string, status snapshot.Status, whole string) snapshot.Source {
		return snapshot.Source{Name: name, Status: status, Reason: "why", Detail: map[string]string{snapshot.DetailWholeTables: whole}}
	}
	ok := source(snapshot.SourceFDs, snapshot.StatusOK, "")
	for name, test := range map[string]struct {
		sources   []snapshot.Source
		tcp, unix bool
	}{
		"whole":            {[]snapshot.Source{ok, source(snapshot.SourceSockets, snapshot.StatusOK, "")}, true, true},
		"no unix":          {[]snapshot.Source{ok, source(snapshot.SourceSockets, snapshot.StatusPartial, "tcp4 tcp6")}, true, false},
		"no tcp6":          {[]snapshot.Source{ok, source(snapshot.SourceSockets, snapshot.StatusPartial, "tcp4 unix")}, false, true},
		"part, of what?":   {[]snapshot.Source{ok, source(snapshot.SourceSockets, snapshot.StatusPartial, "")}, false, false},
		"denied":           {[]snapshot.Source{ok, source(snapshot.SourceSockets, snapshot.StatusDenied, "tcp4 tcp6")}, false, false},
		"part of the fds":  {[]snapshot.Source{source(snapshot.SourceFDs, snapshot.StatusPartial, ""), source(snapshot.SourceSockets, snapshot.StatusOK, "")}, false, false},
		"no fds":           {[]snapshot.Source{source(snapshot.SourceSockets, snapshot.StatusOK, "")}, false, false},
		"nothing captured": {nil, false, false},
	} {
		s := &snapshot.Snapshot{Manifest: snapshot.Manifest{Sources: test.sources}, Sockets: []snapshot.Socket{}, FDs: []snapshot.FD{}}
		got := tablesOf(s)
		if got.tcp != test.tcp || got.unix != test.unix || (got.why == "") != (test.tcp && test.unix) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestSourcesAreBorneOut: a source that says ok and is not in the snapshot has
// delivered nothing.
func TestSourcesAreBorneOut(t *testing.T) {
	whole := map[string]string{snapshot.DetailWholeTables: "tcp4 tcp6"}
	s := &snapshot.Snapshot{}
	for name, test := range map[string]struct{ source, want snapshot.Source }{
		"ok":        {snapshot.Source{Name: snapshot.SourceSockets, Status: snapshot.StatusOK}, snapshot.Source{Status: snapshot.StatusAbsent}},
		"tcp whole": {snapshot.Source{Name: snapshot.SourceSockets, Status: snapshot.StatusPartial, Detail: whole}, snapshot.Source{Status: snapshot.StatusAbsent}},
		"heap":      {snapshot.Source{Name: snapshot.SourceHeapDump, Status: snapshot.StatusOK}, snapshot.Source{Status: snapshot.StatusAbsent}},
		"partial":   {snapshot.Source{Name: snapshot.SourceFDs, Status: snapshot.StatusPartial, Reason: "interrupted"}, snapshot.Source{Status: snapshot.StatusPartial, Reason: "interrupted"}},
		"denied":    {snapshot.Source{Name: snapshot.SourceMappings, Status: snapshot.StatusDenied, Reason: "no"}, snapshot.Source{Status: snapshot.StatusDenied, Reason: "no"}},
		"no rows":   {snapshot.Source{Name: snapshot.SourceProc, Status: snapshot.StatusOK}, snapshot.Source{Status: snapshot.StatusOK}},
	} {
		got := believed(s, test.source)
		if got.Status != test.want.Status || test.want.Reason != "" && got.Reason != test.want.Reason || got.Status == snapshot.StatusAbsent && got.Reason == "" {
			t.Errorf("%s: %s (%s)", name, got.Status, got.Reason)
		}
	}
	s.Sockets = []snapshot.Socket{}
	if got := believed(s, snapshot.Source{Name: snapshot.SourceSockets, Status: snapshot.StatusOK}); got.Status != snapshot.StatusOK {
		t.Errorf("an empty table is a table: %s", got.Reason)
	}
}
