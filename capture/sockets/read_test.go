package sockets

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

func TestReadSeesEveryState(t *testing.T) {
	for name, own := range map[string]bool{"in our namespace": false, "in a namespace of its own": true} {
		t.Run(name, func(t *testing.T) {
			p := startTarget(t, own)
			all := p.ask(t)
			r := request(p.pid, all)
			settled(t, r, all, Read)

			before := p.ask(t)
			o := Read(t.Context(), r)
			after := p.ask(t)
			if o.Status != snapshot.StatusOK || o.Reason != "" {
				t.Fatalf("status %s: %s", o.Status, o.Reason)
			}
			if o.Detail["method"] != methodDiag {
				t.Errorf("method %q, want %q", o.Detail["method"], methodDiag)
			}
			checkOwned(t, o, all)
			checkInfo(t, o, before, after)
			checkShapes(t, o, all)

			fallback := settled(t, r, all, readWithoutDiag)
			if fallback.Status != snapshot.StatusPartial || !strings.Contains(fallback.Reason, "without ages") {
				t.Errorf("fallback: status %s, reason %q", fallback.Status, fallback.Reason)
			}
			if fallback.Detail["method"] != methodProc {
				t.Errorf("fallback: method %q", fallback.Detail["method"])
			}
			checkOwned(t, fallback, all)
			if diff := cmp.Diff(common(o.Sockets), common(fallback.Sockets), addresses); diff != "" {
				t.Errorf("sock_diag (-) and /proc (+) differ:\n%s", diff)
			}
			for _, s := range fallback.Sockets {
				if s.LastSendSeconds.IsKnown() || s.Shutdown.IsKnown() || s.KernelSendBytes.IsKnown() || s.Cookie != 0 {
					t.Errorf("the fallback claims to know what /proc does not tell: %+v", s)
				}
			}
		})
	}
}

// checkOwned checks that each socket of the target has exactly one row, with
// its descriptor and state, and that rows without a descriptor are those of
// its listeners.
func checkOwned(t *testing.T, o Outcome, all []made) {
	t.Helper()
	rows := map[uint64]int{}
	for i, s := range o.Sockets {
		if s.Inode == 0 {
			if len(s.FDs) != 0 {
				t.Errorf("row without an inode has descriptors: %+v", s)
			}
			continue
		}
		if _, twice := rows[s.Inode]; twice {
			t.Errorf("inode %d twice", s.Inode)
		}
		rows[s.Inode] = i
	}
	for _, want := range all {
		i, ok := rows[want.Inode]
		if !ok {
			t.Errorf("%s: no row with inode %d", want.Name, want.Inode)
			continue
		}
		if got := o.Sockets[i]; got.State != want.State || !slices.Equal(got.FDs, []int{want.FD}) {
			t.Errorf("%s: state %s, descriptors %v; want %s, [%d]", want.Name, got.State, got.FDs, want.State, want.FD)
		}
		delete(rows, want.Inode)
	}
	for inode := range rows {
		t.Errorf("row with inode %d, which the target does not own", inode)
	}
	if !slices.IsSortedFunc(o.Sockets, func(a, b snapshot.Socket) int {
		return strings.Compare(string(a.Protocol), string(b.Protocol))
	}) {
		t.Error("rows are not sorted by protocol")
	}
}

// checkInfo compares rows to what getsockopt(TCP_INFO) told before and after.
func checkInfo(t *testing.T, o Outcome, before, after []made) {
	t.Helper()
	for i := range before {
		was, is := before[i].Info, after[i].Info
		if was == nil || before[i].State == snapshot.Listen || before[i].State == snapshot.SynSent {
			continue
		}
		s := rowOf(t, o, before[i].Inode)
		between := func(what string, got snapshot.Optional[float64], low, high uint32) {
			v, ok := got.Get()
			if !ok || v < float64(low)/1e3 || v > float64(high)/1e3 {
				t.Errorf("%s: %s %v (known %v), want %d to %d ms", before[i].Name, what, v, ok, low, high)
			}
		}
		// Probes of a closed window are answered: then the age begins again.
		if before[i].Name != "persist" && before[i].Name != "full receive queue" {
			between("last send", s.LastSendSeconds, was.Last_data_sent, is.Last_data_sent)
			between("last receive", s.LastReceiveSeconds, was.Last_data_recv, is.Last_data_recv)
			between("last ack", s.LastAckSeconds, was.Last_ack_recv, is.Last_ack_recv)
		}
		for _, c := range []struct {
			what string
			got  snapshot.Optional[int64]
			want uint64
		}{
			{"bytes acked", s.BytesAcked, was.Bytes_acked},
			{"bytes received", s.BytesReceived, was.Bytes_received},
			{"not sent", s.NotSentBytes, uint64(was.Notsent_bytes)},
			{"peer window", s.PeerWindowBytes, uint64(was.Snd_wnd)},
			{"retransmits", s.Retransmits, uint64(was.Retransmits)},
		} {
			if v, ok := c.got.Get(); !ok || uint64(v) != c.want {
				t.Errorf("%s: %s %d (known %v), TCP_INFO says %d", before[i].Name, c.what, v, ok, c.want)
			}
		}
		if us := float64(was.Rtt); us > 0 && was.Rtt == is.Rtt && s.RTTSeconds.Or(-1) != us/1e6 {
			t.Errorf("%s: rtt %v, TCP_INFO says %v µs", before[i].Name, s.RTTSeconds, us)
		}
	}
}

func rowOf(t *testing.T, o Outcome, inode uint64) snapshot.Socket {
	t.Helper()
	i := slices.IndexFunc(o.Sockets, func(s snapshot.Socket) bool { return s.Inode == inode })
	if i < 0 {
		t.Fatalf("no row with inode %d", inode)
	}
	return o.Sockets[i]
}

// checkShapes checks what tells the states apart.
func checkShapes(t *testing.T, o Outcome, all []made) {
	t.Helper()
	row := func(name string) snapshot.Socket { return rowOf(t, o, find(all, name).Inode) }
	is := func(name, what string, ok bool) {
		if !ok {
			t.Errorf("%s: %s: %+v", name, what, row(name))
		}
	}
	name := "established server, 1000 bytes unread"
	is(name, "receive queue is 1000", row(name).ReceiveQueueBytes.Or(-1) == 1000)
	is(name, "kernel memory is at least that", row(name).KernelReceiveBytes.Or(0) >= 1000)
	is(name, "no timer", row(name).Timer == snapshot.TimerNone && !row(name).TimerSeconds.IsKnown())
	is(name, "not shut down", row(name).Shutdown.Or(-1) == 0)

	name = "keepalive client"
	is(name, "keepalive timer of up to 2 hours", row(name).Timer == snapshot.TimerKeepalive && row(name).TimerSeconds.Or(0) > 7000)

	name = "close-wait, unread"
	is(name, "receive queue is 100 and the FIN", row(name).ReceiveQueueBytes.Or(-1) == 101)
	is(name, "receive side is shut down", row(name).Shutdown.Or(-1)&1 == 1)

	name = "close-wait, EOF read"
	is(name, "receive queue is at most the FIN", row(name).ReceiveQueueBytes.Or(-1) <= 1)

	name = "fin-wait-2 with descriptor"
	is(name, "send side is shut down", row(name).Shutdown.Or(-1) == 2)

	name = "persist"
	is(name, "much is queued", row(name).SendQueueBytes.Or(0) > 64<<10 && row(name).NotSentBytes.Or(0) > 0)
	is(name, "kernel memory is at least that", row(name).KernelSendBytes.Or(0) >= row(name).SendQueueBytes.Or(0))
	is(name, "the peer answers", row(name).Probes.Or(9) < 4)

	name = "syn-sent"
	is(name, "retransmit timer, no ages", row(name).Timer == snapshot.TimerRetransmit && !row(name).LastSendSeconds.IsKnown())

	name = "listener with a full queue"
	is(name, "one waits, none more may", row(name).ReceiveQueueBytes.Or(-1) == 1 && row(name).SendQueueBytes.Or(-1) == 0)
	is(name, "no remote", !row(name).Remote.IsValid())

	queued := slices.IndexFunc(o.Sockets, func(s snapshot.Socket) bool {
		return s.Inode == 0 && s.State == snapshot.Established && s.Local == row(name).Local
	})
	if queued < 0 {
		t.Error("the connection in the accept queue has no row")
	} else if client := row("client in the queue"); o.Sockets[queued].Remote != client.Local {
		t.Errorf("accept queue: remote %v, want %v", o.Sockets[queued].Remote, client.Local)
	}
	ended := slices.IndexFunc(o.Sockets, func(s snapshot.Socket) bool { return s.State == snapshot.TimeWait })
	if ended < 0 || o.Sockets[ended].Local != row("listener").Local || o.Sockets[ended].Timer != snapshot.TimerTimeWait {
		t.Errorf("TIME_WAIT on the listener's port: row %d of %+v", ended, o.Sockets)
	}
	// The client that sent 100 bytes and closed: nobody's port.
	if o.Detail["rows_without_owner"] == "" {
		t.Error("the closed client is not counted as a row without an owner")
	}

	mapped, client := row("v4-mapped server"), row("v4 client of a v6 listener")
	if mapped.Protocol != snapshot.TCP6 || client.Protocol != snapshot.TCP4 ||
		mapped.Local != client.Remote || mapped.Remote != client.Local || !mapped.Local.Addr().Is4() {
		t.Errorf("v4-mapped: %v %v-%v against %v %v-%v", mapped.Protocol, mapped.Local, mapped.Remote, client.Protocol, client.Local, client.Remote)
	}
	six, other := row("v6 server"), row("v6 client")
	if six.Local != other.Remote || six.Local.Addr() != netip.IPv6Loopback() {
		t.Errorf("v6: %v-%v against %v-%v", six.Local, six.Remote, other.Local, other.Remote)
	}

	is("unix receiver", "300 bytes to read", row("unix receiver").ReceiveQueueBytes.Or(-1) == 300)
	is("unix sender", "memory is held", row("unix sender").SendQueueBytes.Or(0) > 0 && row("unix sender").KernelSendBytes.IsKnown())
	is("unix listener", "one waits", row("unix listener").ReceiveQueueBytes.Or(-1) == 1)
}

// common keeps what both methods tell and what does not move.
func common(all []snapshot.Socket) []snapshot.Socket {
	out := []snapshot.Socket{}
	for _, s := range all {
		c := snapshot.Socket{
			Protocol: s.Protocol, State: s.State, Local: s.Local, Remote: s.Remote, Inode: s.Inode, FDs: s.FDs,
			Timer: s.Timer, ReceiveQueueBytes: s.ReceiveQueueBytes, SendQueueBytes: s.SendQueueBytes,
		}
		if s.Protocol == snapshot.Unix {
			c.ReceiveQueueBytes, c.SendQueueBytes = snapshot.Optional[int64]{}, snapshot.Optional[int64]{}
		}
		if s.State == snapshot.Listen {
			c.SendQueueBytes = snapshot.Optional[int64]{}
		}
		out = append(out, c)
	}
	return out
}

func TestReadWithoutDescriptorsKeepsTheUser(t *testing.T) {
	p := startTarget(t, true)
	all := p.ask(t)
	r := request(p.pid, all)
	settled(t, r, all, Read)
	r.FDs = nil
	o := Read(t.Context(), r)
	if o.Status != snapshot.StatusPartial || !strings.Contains(o.Reason, "all sockets of uid") || o.Hint == "" {
		t.Errorf("status %s, reason %q, hint %q", o.Status, o.Reason, o.Hint)
	}
	// Nobody else is in that namespace, so the user's sockets are the target's.
	for _, want := range all {
		if s := rowOf(t, o, want.Inode); len(s.FDs) != 0 || s.State != want.State {
			t.Errorf("%s: %+v", want.Name, s)
		}
	}
	r.UID = snapshot.Known(os.Geteuid() + 4711)
	if o := Read(t.Context(), r); len(o.Sockets) != 0 || o.Sockets == nil {
		t.Errorf("rows of another uid: %+v", o.Sockets)
	}
}

func TestReadWithoutRights(t *testing.T) {
	t.Run("our namespace", func(t *testing.T) {
		p := startTarget(t, false)
		r := request(p.pid, p.ask(t))
		r.FDs = nil
		// The namespace file is denied; the tables show that it is the same one.
		o := readAsNobody(t, r)
		if o.Status != snapshot.StatusPartial || o.Detail["method"] != methodDiag {
			t.Errorf("status %s, method %q, reason %q", o.Status, o.Detail["method"], o.Reason)
		}
	})
	t.Run("another namespace", func(t *testing.T) {
		p := startTarget(t, true)
		all := p.ask(t)
		r := request(p.pid, all)
		r.FDs = nil
		o := readAsNobody(t, r)
		if o.Status != snapshot.StatusPartial || o.Detail["method"] != methodProc || !strings.Contains(o.Reason, "permission denied") || o.Hint == "" {
			t.Errorf("status %s, method %q, reason %q, hint %q", o.Status, o.Detail["method"], o.Reason, o.Hint)
		}
		if s := rowOf(t, o, find(all, "established client").Inode); s.State != snapshot.Established {
			t.Errorf("row through /proc: %+v", s)
		}
	})
}

func TestReadOfAProcessThatIsGone(t *testing.T) {
	const beyond = 1 << 30
	o := Read(t.Context(), Request{PID: beyond, FDs: []snapshot.FD{}})
	if o.Status != snapshot.StatusAbsent || o.Sockets != nil || o.Reason == "" {
		t.Errorf("%+v", o)
	}
}

func TestReadCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := Read(ctx, Request{PID: os.Getpid(), FDs: []snapshot.FD{}})
	if o.Status != snapshot.StatusPartial || !strings.Contains(o.Reason, "canceled") {
		t.Errorf("%+v", o)
	}
}

// TestReadWithoutUnix has the kernel refuse one table: the record says which
// are whole.
func TestReadWithoutUnix(t *testing.T) {
	refused := map[string]func(family byte) bool{
		"tcp4 tcp6": func(family byte) bool { return family == unix.AF_UNIX },
		"tcp6 unix": func(family byte) bool { return family == unix.AF_INET },
		"":          func(byte) bool { return true },
	}
	for whole, refuses := range refused {
		conn := nltest.Dial(func(requests []netlink.Message) ([]netlink.Message, error) {
			if refuses(requests[0].Data[0]) {
				return nil, unix.ENOENT
			}
			return nil, io.EOF // no rows
		})
		r := Request{PID: os.Getpid(), FDs: []snapshot.FD{}}
		o := read(t.Context(), r, func(context.Context, string, int) (*netlink.Conn, error) { return conn, nil })
		if o.Status != snapshot.StatusPartial || o.Detail[snapshot.DetailWholeTables] != whole {
			t.Errorf("status %s, whole %q, want %q: %s", o.Status, o.Detail[snapshot.DetailWholeTables], whole, o.Reason)
		}
		conn = nltest.Dial(func([]netlink.Message) ([]netlink.Message, error) { return nil, io.EOF })
		r.FDs = nil // whose the rows are is then a guess
		if o := read(t.Context(), r, func(context.Context, string, int) (*netlink.Conn, error) { return conn, nil }); o.Detail[snapshot.DetailWholeTables] != "" {
			t.Errorf("without descriptors %q are whole", o.Detail[snapshot.DetailWholeTables])
		}
	}
}

func TestReadTree(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "7/net/tcp"), procTCP)
	write(t, filepath.Join(root, "7/net/unix"), procUnix)
	o := Read(t.Context(), Request{PID: 7, Proc: root, FDs: []snapshot.FD{
		{Number: 4, Kind: "socket", Inode: 100},
		{Number: 9, Kind: "socket", Inode: 100},
		{Number: 5, Kind: "socket", Inode: 101},
		{Number: 6, Kind: "file", Inode: 102},
	}})
	if o.Status != snapshot.StatusPartial || o.Detail["method"] != methodProc {
		t.Errorf("status %s, detail %v", o.Status, o.Detail)
	}
	if got := len(o.Sockets); got != 4 { // listener, its connection, its queue, its TIME_WAIT
		t.Fatalf("%d rows: %+v", got, o.Sockets)
	}
	if s := rowOf(t, o, 100); !slices.Equal(s.FDs, []int{4, 9}) {
		t.Errorf("descriptors %v", s.FDs)
	}
	if o.Detail["rows_without_owner"] != "1" {
		t.Errorf("detail %v", o.Detail)
	}
	if again := Read(t.Context(), Request{PID: 7, Proc: root, FDs: []snapshot.FD{}}); len(again.Sockets) != 0 || again.Sockets == nil {
		t.Errorf("a process without sockets has %+v", again.Sockets)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The thread that entered a namespace must have come back: everything read
// afterwards is of our own.
func TestNamespaceIsLeftAgain(t *testing.T) {
	p := startTarget(t, true)
	r := request(p.pid, p.ask(t))
	var want unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &want); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if o := Read(t.Context(), r); o.Status != snapshot.StatusOK {
			t.Fatalf("%s: %s", o.Status, o.Reason)
		}
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, task := range tasks {
		var got unix.Stat_t
		if err := unix.Stat(task, &got); err == nil && got.Ino != want.Ino {
			t.Errorf("%s is in another namespace", task)
		}
	}
}
