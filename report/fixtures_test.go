package report

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/snapshot"
)

// hold is memory kept through one path: by conns connections that hold equal
// parts of it, or by none. The rows of a result are summed up from holds, so
// that they agree as those of analyze do.
type hold struct {
	path        []string
	root        string
	fate        snapshot.Fate
	class       string
	from, state analyze.State // of its connections in base and head; "": not there
	conns       int
	base, head  int64 // buffers, of one connection or in all
	size        int64 // of a buffer
	local       string
	remote      string // with %d for the number of the connection
	reason      string
	queue       int64 // unsent in the kernel, of one connection at the head
	labels      map[string]string
}

func deltaOf(base, head, size int64, diff bool) analyze.Delta {
	if !diff {
		return analyze.Delta{Head: snapshot.Known(head * size)}
	}
	kept := min(base, head)
	return analyze.Delta{
		Base: snapshot.Known(base * size), Head: snapshot.Known(head * size), Retained: snapshot.Known(kept * size),
		New: snapshot.Known((head - kept) * size), Freed: snapshot.Known((base - kept) * size),
	}
}

// side is a delta's part that belongs to the row of the base or of the head,
// when those are different rows.
func sideOf(d analyze.Delta, head bool) analyze.Delta {
	none := snapshot.Known[int64](0)
	if head {
		return analyze.Delta{Base: none, Head: d.Head, Retained: d.Retained, New: d.New, Freed: none}
	}
	return analyze.Delta{Base: d.Base, Head: none, Retained: none, New: none, Freed: d.Freed}
}

func known(n int64) analyze.Int { return snapshot.Known(n) }

var start = time.Date(2026, 3, 14, 3, 15, 9, 0, time.UTC)

func target() snapshot.Target {
	started := start.Add(-26 * time.Hour)
	return snapshot.Target{
		PID: 4242, NamespacePID: 4242, StartTimeTicks: 9_345_678, StartedAt: &started, BootID: "6f0a2f4e-1d1b-4a53-9c3e-55f0f0f0aa11",
		UID: snapshot.Known(1000), GID: snapshot.Known(1000), Name: "com.example.petshop.Server", Executable: "java",
		CommandLine: []string{"java", "-jar", "…"}, Redacted: true, Kernel: "6.12.0", Runtime: snapshot.RuntimeHotSpot,
	}
}

func inputs(n int) []analyze.Input {
	names := []string{"first.lscope", "second.lscope", "third.lscope", "fourth.lscope", "fifth.lscope"}
	all := make([]analyze.Input, n)
	for i := range all {
		role := "between"
		switch i {
		case n - 1:
			role = "head"
		case 0:
			role = "base"
		}
		all[i] = analyze.Input{
			Name: names[i], Role: role, Target: target(), Started: start.Add(time.Duration(i) * time.Minute),
			ElapsedSeconds: snapshot.Known(60 * float64(i)),
		}
	}
	return all
}

func okSources(in []analyze.Input) []analyze.SourceRow {
	var all []analyze.SourceRow
	for _, i := range in {
		for _, name := range []string{snapshot.SourceProc, snapshot.SourceFDs, snapshot.SourceSockets, snapshot.SourceAttach, snapshot.SourceHeapDump} {
			s := snapshot.Source{Name: name, Status: snapshot.StatusOK, DurationSeconds: 0.004, PauseSeconds: snapshot.Known(0.0)}
			if name == snapshot.SourceHeapDump {
				s.DurationSeconds, s.PauseSeconds, s.EstimateSeconds = 1.9, snapshot.Known(1.74), snapshot.Known(1.5)
				s.BytesRead, s.Detail = known(1_073_741_824), map[string]string{"method": "fifo"}
			}
			all = append(all, analyze.SourceRow{Input: i.Name, Source: s})
		}
	}
	return all
}

// resultOf sums up holds. idle lists connections without memory by state.
func resultOf(n int, holds []hold, idle map[analyze.State]int64) *analyze.Result {
	diff := n > 1
	r := &analyze.Result{
		Schema: analyze.Schema, FormatVersion: analyze.FormatVersion,
		Tool:   snapshot.Tool{Name: "leakscope", Version: "1.0.0"},
		Inputs: inputs(n),
	}
	r.Sources = okSources(r.Inputs)
	begin := zero()
	if !diff {
		begin = analyze.Delta{Head: known(0)}
	}
	states, fates := map[analyze.State]*analyze.StateRow{}, map[snapshot.Fate]*analyze.FateRow{}
	pair := func() analyze.Pair { return analyze.Pair{Base: begin.Base, Head: begin.Head} }
	for _, s := range analyze.States() {
		states[s] = &analyze.StateRow{State: s, Connections: pair(), Allocations: begin, Bytes: begin, Confidence: analyze.Exact, KernelSendQueueBytes: pair()}
	}
	for _, f := range snapshot.Fates() {
		fates[f] = &analyze.FateRow{Fate: f, Allocations: begin, Bytes: begin}
	}
	s := &r.Summary
	s.Confidence = analyze.Exact
	s.Bytes, s.Allocations, s.RetainedBytes, s.Connections = begin, begin, begin, pair()
	var holders []analyze.HolderRow
	transitions := map[[2]analyze.State]*analyze.Transition{}
	for k := range holds {
		h := &holds[k]
		many := int64(max(h.conns, 1))
		bytes, count := deltaOf(h.base*many, h.head*many, h.size, diff), deltaOf(h.base*many, h.head*many, 1, diff)
		f := fates[h.fate]
		f.Bytes, f.Allocations = sum(f.Bytes, bytes, diff), sum(f.Allocations, count, diff)
		if h.fate != snapshot.FateRuntime {
			s.Bytes, s.Allocations = sum(s.Bytes, bytes, diff), sum(s.Allocations, count, diff)
		}
		switch h.fate {
		case snapshot.FateConnection, snapshot.FateApplication, snapshot.FateLost, snapshot.FateUnattributed:
			s.RetainedBytes = sum(s.RetainedBytes, bytes, diff)
		}
		row := analyze.HolderRow{Path: h.path, Root: h.root, Fate: h.fate, States: []analyze.State{}, Connections: pair(), Allocations: count, Bytes: bytes}
		if h.conns > 0 {
			addConnections(r, h, states, transitions, &row, diff)
		}
		if len(h.path) > 0 {
			holders = append(holders, row)
		}
	}
	for state, n := range idle {
		row := states[state]
		row.Connections.Head = plus(row.Connections.Head, known(n))
		if diff {
			row.Connections.Base = plus(row.Connections.Base, known(n))
			transitionOf(transitions, state, state).Connections += n
		}
	}
	for _, state := range analyze.States() {
		r.States = append(r.States, *states[state])
		s.Connections.Head = plus(s.Connections.Head, states[state].Connections.Head)
		s.Connections.Base = plus(s.Connections.Base, states[state].Connections.Base)
		for _, to := range append(analyze.States(), "") {
			if t := transitions[[2]analyze.State{state, to}]; t != nil {
				r.Transitions = append(r.Transitions, *t)
			}
		}
	}
	for _, to := range analyze.States() {
		if t := transitions[[2]analyze.State{"", to}]; t != nil {
			r.Transitions = append(r.Transitions, *t)
		}
	}
	for _, fate := range snapshot.Fates() {
		r.Fates = append(r.Fates, *fates[fate])
	}
	r.Holders = holders
	for i := range r.Inputs {
		r.Inputs[i].TotalBytes = s.Bytes.Head
	}
	if diff {
		r.Inputs[0].TotalBytes = s.Bytes.Base
		s.ElapsedSeconds = r.Inputs[n-1].ElapsedSeconds
		s.GrowthBytesPerSecond = snapshot.Known(float64(change(s.RetainedBytes.Base, s.RetainedBytes.Head).Or(0)) / (60 * float64(n-1)))
		s.ClosedConnections = known(0)
	}
	r.Reconciliation = []analyze.Reconciliation{{
		Counter: "allocations", Base: s.Bytes.Base, Head: s.Bytes.Head, DifferenceBytes: known(0),
		Covers: "every allocation found, attributed or not", Source: "heap walk",
	}}
	return r
}

func sum(a, b analyze.Delta, diff bool) analyze.Delta {
	if !diff {
		return analyze.Delta{Head: plus(a.Head, b.Head)}
	}
	return plusDelta(a, b)
}

func transitionOf(all map[[2]analyze.State]*analyze.Transition, from, to analyze.State) *analyze.Transition {
	k := [2]analyze.State{from, to}
	if all[k] == nil {
		all[k] = &analyze.Transition{From: from, To: to, BaseBytes: known(0), HeadBytes: known(0), RetainedBytes: known(0)}
	}
	return all[k]
}

func addConnections(r *analyze.Result, h *hold, states map[analyze.State]*analyze.StateRow, transitions map[[2]analyze.State]*analyze.Transition, row *analyze.HolderRow, diff bool) {
	one, oneCount := deltaOf(h.base, h.head, h.size, diff), deltaOf(h.base, h.head, 1, diff)
	if h.state != "" {
		row.States = []analyze.State{h.state}
	}
	for i := range h.conns {
		remote := netip.MustParseAddrPort(fmt.Sprintf(h.remote, 40000+i))
		c := analyze.ConnectionRow{
			ID: h.local + "->" + remote.String(), Class: h.class, Local: netip.MustParseAddrPort(h.local), Remote: remote,
			FD: known(int64(30 + i)), Inode: uint64(700 + i), BaseState: h.from, State: h.state, Reason: h.reason,
			Confidence: analyze.Exact, Allocations: oneCount, Bytes: one, Labels: h.labels,
		}
		r.Connections = append(r.Connections, c)
		if h.from != "" && diff {
			s := states[h.from]
			s.Connections.Base = plus(s.Connections.Base, known(1))
			s.Bytes, s.Allocations = plusDelta(s.Bytes, sideOf(one, false)), plusDelta(s.Allocations, sideOf(oneCount, false))
			row.Connections.Base = plus(row.Connections.Base, known(1))
		}
		if h.state != "" {
			s := states[h.state]
			s.Connections.Head = plus(s.Connections.Head, known(1))
			s.KernelSendQueueBytes.Head = plus(s.KernelSendQueueBytes.Head, known(h.queue))
			row.Connections.Head = plus(row.Connections.Head, known(1))
			if diff {
				s.Bytes, s.Allocations = plusDelta(s.Bytes, sideOf(one, true)), plusDelta(s.Allocations, sideOf(oneCount, true))
			} else {
				s.Bytes, s.Allocations = sum(s.Bytes, one, false), sum(s.Allocations, oneCount, false)
			}
		}
		if diff {
			t := transitionOf(transitions, h.from, h.state)
			t.Connections++
			t.BaseBytes, t.HeadBytes, t.RetainedBytes = plus(t.BaseBytes, one.Base), plus(t.HeadBytes, one.Head), plus(t.RetainedBytes, one.Retained)
		}
	}
}

var (
	outboundPath = []string{
		"io.netty.channel.socket.nio.NioSocketChannel.unsafe", "io.netty.channel.nio.AbstractNioByteChannel$NioByteUnsafe.outboundBuffer",
		"io.netty.channel.ChannelOutboundBuffer.flushedEntry", "io.netty.channel.ChannelOutboundBuffer$Entry.next…",
		"io.netty.channel.ChannelOutboundBuffer$Entry.msg", "io.netty.buffer.PooledUnsafeDirectByteBuf.memory",
	}
	sessionPath = []string{
		"sun.nio.ch.SocketChannelImpl.keys[]", "sun.nio.ch.SelectionKeyImpl.attachment", "com.example.petshop.Session.replies",
		"java.util.ArrayDeque.elements[]", "java.nio.DirectByteBuffer.cleaner",
	}
	registryPath = []string{"com.example.petshop.Registry.byId", "java.util.concurrent.ConcurrentHashMap$Node.val", "com.example.petshop.Session.replies"}
	threadPath   = []string{"java.lang.Thread.threadLocals", "java.lang.ThreadLocal$ThreadLocalMap$Entry.value", "sun.nio.ch.Util$BufferCache.buffers[]"}
)

const mib = 1 << 20

// shapes are results of every kind, by the name of their golden files.
func shapes() map[string]*analyze.Result {
	return map[string]*analyze.Result{
		"structure": structure(), "growing": growing(), "trend": trend(), "steady": steady(), "single": single(),
		"no-heap": noHeap(), "denied": denied(), "empty": empty(), "ipv6": ipv6(), "long-names": longNames(),
		"dump-file": dumpFile(), "half-known": halfKnown(), "blank": {},
	}
}

// structure is a leak that two snapshots prove.
func structure() *analyze.Result {
	r := resultOf(2, []hold{
		{
			path: sessionPath, root: "connection", fate: snapshot.FateConnection, class: "sun.nio.ch.SocketChannelImpl", from: analyze.StatePeerClosed, state: analyze.StatePeerClosed, conns: 16,
			base: 8, head: 16, size: 128 << 10, local: "10.20.0.7:8080", remote: "10.20.1.33:%d", reason: "CLOSE_WAIT, 3 bytes unread: EOF unread",
		},
		{
			path: sessionPath, root: "connection", fate: snapshot.FateConnection, class: "sun.nio.ch.SocketChannelImpl", from: analyze.StateActive, state: analyze.StatePeerClosed, conns: 4,
			base: 1, head: 2, size: 128 << 10, local: "10.20.0.7:8080", remote: "10.20.1.34:%d", reason: "CLOSE_WAIT, 1 byte unread: EOF unread",
		},
		{
			path: outboundPath, root: "connection", fate: snapshot.FateConnection, class: "io.netty.channel.socket.nio.NioSocketChannel", from: analyze.StateActive, state: analyze.StateStalled, conns: 2,
			base: 3, head: 67, size: 16 << 10, local: "10.20.0.7:9090", remote: "10.20.1.35:%d", reason: "persist timer, 3.9 MiB unsent: the peer takes nothing", queue: 4_089_446,
			labels: map[string]string{"grpc.method": "petshop.Orders/Watch"},
		},
		{
			path: outboundPath, root: "connection", fate: snapshot.FateConnection, class: "io.netty.channel.socket.nio.NioSocketChannel", from: analyze.StateActive, conns: 1,
			base: 2, head: 0, size: 16 << 10, local: "10.20.0.7:9090", remote: "10.20.1.36:%d", reason: "gone; it was active (ESTABLISHED, last receive 12 ms ago)",
		},
		{path: registryPath, root: "static", fate: snapshot.FateApplication, base: 5, head: 6, size: 64 << 10},
		{fate: snapshot.FateUnreachable, base: 3, head: 1, size: 4096},
		{fate: snapshot.FatePoolFree, base: 1, head: 1, size: 3 * mib},
		{path: []string{"jdk.internal.jimage.ImageReader.imageBuffer"}, root: "static", fate: snapshot.FateRuntime, base: 1, head: 1, size: 128 * mib},
	}, map[analyze.State]int64{analyze.StateListening: 2, analyze.StateActive: 30})
	s := &r.Summary
	s.Verdict = analyze.Leak
	s.Reasons = []string{
		"17.0 MiB more are held by connections whose peer has closed and that nobody closes: 16.0 MiB, then 33.0 MiB (60 s)",
		"2.0 MiB more are queued on 2 connections whose peer takes nothing: 96.0 KiB, then 2.1 MiB (60 s)",
		"most of the growth (17.0 MiB) is held through Session.replies",
	}
	s.ClosedConnections, s.GrowthBytesPerClosedConnection = known(5), snapshot.Known(3_850_000.0)
	r.Findings = []analyze.Finding{{
		ID: "no-termination/socket/SocketChannelImpl/DirectByteBuffer.cleaner", Cause: "no-termination", Form: "socket",
		Title: "20 connections whose peer has closed are never closed", Severity: analyze.SeverityError, Confidence: analyze.Exact,
		States: []analyze.State{analyze.StatePeerClosed}, Connections: analyze.Pair{Base: known(16), Head: known(20)}, Bytes: r.Holders[0].Bytes,
		Evidence: []analyze.Evidence{
			{Text: "16 are in CLOSE_WAIT for longer than 60 s", Source: "sockets"},
			{Text: "nothing reads from them: interestOps is 0", Source: "heap: SelectionKeyImpl.interestOps"},
		},
		Disproof: "the connections are closed soon after the second snapshot",
		Remedy:   "read() that returns -1 means: close the channel, cancel its key, drop its session; keep OP_READ in the interest set, or the end is never seen",
		Verify:   "state peer-closed is empty after the clients have left",
	}, {
		ID: "no-backpressure/queue/NioSocketChannel/PooledUnsafeDirectByteBuf.memory", Cause: "no-backpressure", Form: "queue",
		Title: "2 connections go on writing to a peer that takes nothing", Severity: analyze.SeverityWarning, Confidence: analyze.Exact,
		States: []analyze.State{analyze.StateStalled}, Connections: analyze.Pair{Base: known(0), Head: known(2)}, Bytes: r.Holders[2].Bytes,
		Evidence: []analyze.Evidence{{Text: "1.0 MiB queued in ChannelOutboundBuffer; isWritable() turns false at 64.0 KiB", Source: "heap: ChannelOutboundBuffer.totalPendingSize"}},
		Remedy:   "write only while channel.isWritable() and go on in channelWritabilityChanged",
		Verify:   "with a peer that does not read, totalPendingSize stays near the high water mark",
	}}
	r.Reconciliation = append(r.Reconciliation, analyze.Reconciliation{
		Counter: "java.nio.Bits.RESERVED_MEMORY", Base: known(22_413_312), Head: known(41_287_680), DifferenceBytes: known(0),
		Covers: "direct buffers that a Cleaner frees", Source: "static field in the heap",
	}, analyze.Reconciliation{
		Counter: "io.netty.util.internal.PlatformDependent.DIRECT_MEMORY_COUNTER", Base: known(4_194_304), Head: known(8_388_608), DifferenceBytes: known(3_145_728),
		Covers: "direct memory that Netty allocates without a Cleaner, whole chunks included", Explanation: "chunks that Netty has the JDK clean, or no-cleaner buffers that are not Netty's", Source: "static field in the heap",
	}, analyze.Reconciliation{
		Counter: "rss", Base: known(412 * mib), Head: known(436 * mib), DifferenceBytes: known(436*mib - 41_287_680),
		Covers: "all resident memory of the process", Explanation: "Java heap, metaspace, code, stacks, malloc and files; an allocation counts in full although untouched pages are not resident", Source: "/proc/PID/status VmRSS",
	})
	r.Residency = []analyze.Residency{
		{Part: "java heap", BaseBytes: known(256 * mib), HeadBytes: known(258 * mib), Source: "smaps"},
		{Part: "direct: connection", BaseBytes: known(18 * mib), HeadBytes: known(35 * mib), Source: "heap walk, bounded by smaps"},
		{Part: "files and libraries", BaseBytes: known(40 * mib), HeadBytes: known(40 * mib), Source: "smaps"},
		{Part: "malloc and fragmentation", BaseBytes: known(97 * mib), HeadBytes: known(104 * mib), Source: "smaps"},
		{Part: "unexplained", BaseBytes: known(1 * mib), HeadBytes: known(-1 * mib), Source: "rest"},
	}
	r.Sources[3] = analyze.SourceRow{Input: "first.lscope", Source: snapshot.Source{
		Name: snapshot.SourceNMT, Status: snapshot.StatusAbsent, Reason: "native memory tracking is off", Hint: "start the JVM with -XX:NativeMemoryTracking=summary",
	}}
	return r
}

// growing is growth that two snapshots do not decide.
func growing() *analyze.Result {
	r := resultOf(2, []hold{
		{path: registryPath, root: "static", fate: snapshot.FateApplication, base: 160, head: 400, size: 64 << 10},
		{path: threadPath, root: "thread", fate: snapshot.FateThreadCache, base: 16, head: 16, size: 4 * mib},
	}, map[analyze.State]int64{analyze.StateActive: 8})
	s := &r.Summary
	s.Verdict = analyze.Growing
	s.Reasons = []string{
		"retained off-heap memory grew by 15.0 MiB, from 10.0 MiB to 25.0 MiB (60 s)",
		"2 snapshots cannot tell a leak from warm-up; 2 more, 60 s apart would decide",
	}
	s.NextSteps = []string{"leakscope capture --count 4 --interval D PID, then leakscope diff over all of them"}
	return r
}

// trend is a leak that the slope over five snapshots proves.
func trend() *analyze.Result {
	r := resultOf(5, []hold{{path: registryPath, root: "static", fate: snapshot.FateApplication, base: 160, head: 800, size: 64 << 10}},
		map[analyze.State]int64{analyze.StateActive: 8})
	s := &r.Summary
	s.Verdict = analyze.Leak
	s.Reasons = []string{"retained off-heap memory rises by 171 KiB/s (90 % interval 169 KiB/s to 174 KiB/s) over 5 snapshots and does not level off"}
	values := []analyze.Int{known(10 * mib), known(20 * mib), known(30 * mib), known(40 * mib), known(50 * mib)}
	for i := range r.Inputs {
		r.Inputs[i].TotalBytes = values[i]
	}
	r.Trends = []analyze.Trend{
		{Of: "total", Key: "retained", Per: "second", Samples: 5, Shape: analyze.Rising, Slope: snapshot.Known(174762.7), Low: snapshot.Known(173015.0), High: snapshot.Known(178257.9), Values: values},
		{Of: "total", Key: "retained", Per: "closed-connection", Samples: 5, Shape: analyze.Rising, Slope: snapshot.Known(65536.0), Low: snapshot.Known(65000.0), High: snapshot.Known(66000.0), Values: values},
		{Of: "holder", Key: strings.Join(registryPath, " → "), Per: "second", Samples: 5, Shape: analyze.Rising, Slope: snapshot.Known(174762.7), Low: snapshot.Known(173015.0), High: snapshot.Known(178257.9), Values: values},
		{Of: "state", Key: "peer-closed", Per: "second", Samples: 3, Shape: analyze.Undecided, Slope: snapshot.Known(-12.0), Values: []analyze.Int{known(3), {}, known(2), {}, known(1)}},
	}
	r.Inputs[2].Partial = true
	r.Warnings = []string{"third.lscope: the heap was read in part: the dump ends inside a record; its figures are lower bounds"}
	return r
}

func steady() *analyze.Result {
	r := resultOf(2, []hold{
		{
			path: outboundPath, root: "connection", fate: snapshot.FateConnection, class: "io.netty.channel.socket.nio.NioSocketChannel", from: analyze.StateActive, state: analyze.StateActive, conns: 3,
			base: 1, head: 1, size: 8 << 10, local: "127.0.0.1:8080", remote: "127.0.0.1:%d", reason: "ESTABLISHED, last receive 12 ms ago",
		},
		{fate: snapshot.FatePoolFree, base: 2, head: 2, size: 16 * mib},
	}, map[analyze.State]int64{analyze.StateIdle: 5, analyze.StateListening: 1})
	s := &r.Summary
	s.Verdict = analyze.Steady
	s.Reasons = []string{"retained off-heap memory is steady: 24.0 KiB, then 24.0 KiB (60 s)"}
	return r
}

func single() *analyze.Result {
	r := resultOf(1, []hold{
		{
			path: sessionPath, root: "connection", fate: snapshot.FateConnection, class: "sun.nio.ch.SocketChannelImpl", state: analyze.StatePeerClosed, conns: 2,
			head: 16, size: 128 << 10, local: "10.20.0.7:8080", remote: "10.20.1.33:%d", reason: "CLOSE_WAIT, 3 bytes unread: EOF unread",
		},
		{fate: snapshot.FateLost, head: 7, size: 64 << 10},
	}, map[analyze.State]int64{analyze.StateActive: 1})
	s := &r.Summary
	s.Verdict = analyze.Inconclusive
	s.Reasons = []string{
		"one snapshot: 4.4 MiB of off-heap memory are in use; growth takes a second snapshot to see",
		"448 KiB are lost: used in a pool, but their buffer objects are garbage (a missing release)",
	}
	s.NextSteps = []string{"capture again later and run: leakscope diff FIRST SECOND"}
	return r
}

// withoutHeap takes what a heap walk tells out of a result.
func withoutHeap(r *analyze.Result, base, head bool) {
	forget := func(d *analyze.Delta) {
		if base {
			d.Base = analyze.Int{}
		}
		if head {
			d.Head = analyze.Int{}
		}
		d.Retained, d.New, d.Freed = analyze.Int{}, analyze.Int{}, analyze.Int{}
	}
	s := &r.Summary
	s.Confidence = analyze.Inferred
	s.GrowthBytesPerSecond = analyze.Float{}
	for _, d := range []*analyze.Delta{&s.Bytes, &s.Allocations, &s.RetainedBytes} {
		forget(d)
	}
	for i := range r.States {
		forget(&r.States[i].Bytes)
		forget(&r.States[i].Allocations)
		r.States[i].Confidence = analyze.Inferred
	}
	for i := range r.Fates {
		forget(&r.Fates[i].Bytes)
		forget(&r.Fates[i].Allocations)
	}
	for i := range r.Holders {
		forget(&r.Holders[i].Bytes)
		forget(&r.Holders[i].Allocations)
	}
	for i := range r.Connections {
		forget(&r.Connections[i].Bytes)
		forget(&r.Connections[i].Allocations)
		r.Connections[i].Confidence = analyze.Inferred
	}
	for i := range r.Transitions {
		t := &r.Transitions[i]
		t.RetainedBytes = analyze.Int{}
		if base {
			t.BaseBytes = analyze.Int{}
		}
		if head {
			t.HeadBytes = analyze.Int{}
		}
	}
	if base {
		r.Inputs[0].TotalBytes = analyze.Int{}
	}
	if head {
		r.Inputs[len(r.Inputs)-1].TotalBytes = analyze.Int{}
	}
}

func noHeap() *analyze.Result {
	r := resultOf(2, []hold{
		{
			fate: snapshot.FateConnection, from: analyze.StateActive, state: analyze.StateActive, conns: 12,
			local: "10.20.0.7:8080", remote: "10.20.1.33:%d", reason: "ESTABLISHED, last receive 12 ms ago",
		},
		{
			fate: snapshot.FateConnection, from: analyze.StateIdle, state: analyze.StateUnreachable, conns: 1,
			local: "10.20.0.7:8080", remote: "10.20.9.9:%d", reason: "retransmit timer, backoff 6, last ack 29 s ago", queue: 25 << 10,
		},
	}, nil)
	withoutHeap(r, true, true)
	r.Holders = nil
	s := &r.Summary
	s.Verdict = analyze.Growing
	s.Reasons = []string{"nmt.Other grew by 12.0 MiB, from 80.0 MiB to 92.0 MiB (60 s)", "without heap evidence no memory can be attributed to a connection"}
	s.NextSteps = []string{"capture with --heap to see which connection holds which memory"}
	r.Reconciliation = []analyze.Reconciliation{{
		Counter: "nmt.Other", Base: known(80 * mib), Head: known(92 * mib), Covers: "all memory from Unsafe: direct buffers, Netty no-cleaner, foreign segments", Source: "native memory tracking",
	}}
	for i := range r.Sources {
		if r.Sources[i].Name == snapshot.SourceHeapDump {
			r.Sources[i].Source = snapshot.Source{Name: snapshot.SourceHeapDump, Status: snapshot.StatusAbsent, Reason: "not asked for", Hint: "capture with --heap"}
		}
	}
	return r
}

// denied is what is left when nearly everything is refused.
func denied() *analyze.Result {
	r := resultOf(2, nil, nil)
	withoutHeap(r, true, true)
	s := &r.Summary
	s.Connections, s.ClosedConnections = analyze.Pair{}, analyze.Int{}
	for i := range r.States {
		r.States[i].Connections, r.States[i].KernelSendQueueBytes, r.States[i].Confidence = analyze.Pair{}, analyze.Pair{}, analyze.NoneKnown
	}
	s.Verdict, s.Confidence = analyze.Inconclusive, analyze.NoneKnown
	s.Reasons = []string{"no counter of off-heap memory was readable in both snapshots", "without heap evidence no memory can be attributed to a connection"}
	s.NextSteps = []string{"capture with --heap to see which connection holds which memory"}
	r.Reconciliation, r.Transitions = nil, nil
	for i := range r.Sources {
		source := snapshot.Source{
			Name: r.Sources[i].Name, Status: snapshot.StatusDenied,
			Reason: "/proc/4242/fd: permission denied", Hint: "run as the user of the target (uid 1000), or as root with CAP_SYS_PTRACE",
		}
		switch source.Name {
		case snapshot.SourceProc:
			source = r.Sources[i].Source
		case snapshot.SourceHeapDump:
			source.Status, source.Reason = snapshot.StatusUnsupported, "not a HotSpot JVM"
		}
		r.Sources[i].Source = source
	}
	r.Warnings = []string{"second.lscope: the capture was interrupted; what was captured is used"}
	r.Inputs[1].Partial = true
	return r
}

// empty is a healthy process without connections or off-heap memory.
func empty() *analyze.Result {
	r := resultOf(2, nil, nil)
	r.Summary.Verdict = analyze.Steady
	r.Summary.Reasons = []string{"retained off-heap memory is steady: 0 B, then 0 B (60 s)"}
	return r
}

// ipv6 has the widest addresses and the largest figures.
func ipv6() *analyze.Result {
	r := resultOf(2, []hold{
		{
			path: outboundPath, root: "connection", fate: snapshot.FateConnection, class: "io.netty.channel.epoll.EpollSocketChannel", from: analyze.StateStalled, state: analyze.StateStalled, conns: 3,
			base: 1_234_567, head: 9_876_543, size: 1 << 20, local: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", remote: "[fe80::aaaa:bbbb:cccc:dddd%%ethernet0]:%d", reason: "persist timer: the peer takes nothing", queue: 10_000_000_000,
		},
		{path: threadPath, root: "thread", fate: snapshot.FateThreadCache, base: 64, head: 64, size: 4 * mib},
		{fate: snapshot.FateLost, base: 10, head: 10_000, size: 1_000_000_000},
		{fate: snapshot.FateUnattributed, base: 1, head: 2, size: 10_000_000},
	}, map[analyze.State]int64{analyze.StateActive: 1_999_999, analyze.StateListening: 2})
	r.Summary.Verdict = analyze.Leak
	r.Summary.Reasons = []string{"9.1 TiB more are lost: used in a pool, but their buffer objects are garbage (a missing release): 9.3 GiB, then 9.1 TiB (60 s)"}
	return r
}

// longNames has names that no line holds, names that differ by their package
// alone, and text that must not reach a terminal as it is.
func longNames() *analyze.Result {
	long := "com.example." + strings.Repeat("verylongpackagename.", 6) + "AbstractSingletonProxyFactoryBeanWithAnExtraordinarilyLongNameThatGoesOnAndOnAndNeverEndsBeforeTheLineDoes$1$Inner.pendingDirectBuffers"
	r := resultOf(2, []hold{
		{path: []string{`java.lang.Thread "工作线程-1 é ü".threadLocals`, long, "java.nio.DirectByteBuffer.att"}, root: "thread", fate: snapshot.FateApplication, base: 1, head: 2, size: 4 * mib},
		{path: []string{"io.grpc.netty.shaded.io.netty.buffer.PoolArena.chunks", "io.netty.buffer.PoolArena.chunks", "\x1b[31mred\x1b[0m.field", "a\u202eb.c"}, root: "static", fate: snapshot.FateApplication, base: 1, head: 1, size: mib},
		{path: []string{}, fate: snapshot.FateUnattributed, base: 1, head: 1, size: 5},
	}, nil)
	r.Summary.Verdict = analyze.Growing
	r.Summary.Reasons = []string{"retained off-heap memory grew by 4.0 MiB | see <b>the</b> *rest*", "a reason with a\nline end, a % sign and \x1b]0;title\x07 an escape"}
	r.Inputs[0].Name = "наблюдение-с-очень-длинным-именем-файла-которое-не-помещается-в-строку.lscope"
	return r
}

func dumpFile() *analyze.Result {
	r := resultOf(1, []hold{{path: registryPath, root: "static", fate: snapshot.FateApplication, head: 160, size: 64 << 10}}, nil)
	r.Inputs[0].Target = snapshot.Target{Name: "", HeapDumpFile: "java_pid1.hprof.gz", Runtime: snapshot.RuntimeHotSpot}
	r.Inputs[0].Started = time.Time{}
	r.Summary.Verdict = analyze.Inconclusive
	r.Summary.Reasons = []string{"one snapshot: 10.0 MiB of off-heap memory are in use; growth takes a second snapshot to see"}
	r.Sources = []analyze.SourceRow{
		{Input: "first.lscope", Source: snapshot.Source{Name: snapshot.SourceSockets, Status: snapshot.StatusAbsent, Reason: "made from a heap dump file: there is no process to ask"}},
		{Input: "first.lscope", Source: snapshot.Source{Name: snapshot.SourceHeapDump, Status: snapshot.StatusOK, DurationSeconds: 1.2}},
	}
	return r
}

// halfKnown has heap evidence in the base alone.
func halfKnown() *analyze.Result {
	r := steady()
	withoutHeap(r, false, true)
	r.Summary.Verdict = analyze.Inconclusive
	r.Summary.Reasons = []string{"no counter of off-heap memory was readable in both snapshots"}
	for i := range r.Sources {
		if s := &r.Sources[i]; s.Name == snapshot.SourceHeapDump && s.Input == "second.lscope" {
			s.Source = snapshot.Source{Name: snapshot.SourceHeapDump, Status: snapshot.StatusPartial, Reason: "the target ended during the dump"}
		}
	}
	return r
}

// gates are outcomes of every kind, by the name of their golden files.
func gates() map[string]*policy.Outcome {
	leak := policy.RuleOutcome{
		ID: "no-leak", Description: "the evidence excludes a leak", Level: policy.LevelError, Status: policy.StatusFail,
		Expr: `summary.verdict != "leak"`, Reasons: []string{`summary.verdict is "leak": summary.verdict != "leak" does not hold`},
		Metrics: []policy.MetricValue{{
			Metric: "summary.verdict", Unit: policy.UnitWord, Word: "leak", Known: true, Missing: []string{}, From: "summary.verdict",
			Evidence: []string{"second.lscope: heap-dump"}, Confidence: analyze.Exact, Samples: 2,
		}},
		Origin: "ci/leak policy.yaml", Line: 7, Column: 5,
	}
	peerClosed := policy.RuleOutcome{
		ID: "peer-closed", Level: policy.LevelWarning, Status: policy.StatusFail, Expr: `delta.retained_bytes{state="peer-closed"} <= 8MiB`,
		Reasons: []string{`delta.retained_bytes{state="peer-closed"} is 17.0 MiB: it is over 8.0 MiB, 100% more|worse, from 10.20.1.33:40000`}, Metrics: []policy.MetricValue{},
		Origin: "ci/leak policy.yaml", Line: 12, Column: 5,
	}
	held := policy.RuleOutcome{
		ID: "rate", Level: policy.LevelError, Status: policy.StatusPass, Expr: "growth.bytes_per_second <= 1MiB/s",
		Reasons: []string{"growth.bytes_per_second is 331 KiB/s: growth.bytes_per_second <= 1MiB/s holds"}, Metrics: []policy.MetricValue{}, Origin: "ci/leak policy.yaml", Line: 17, Column: 5,
	}
	waived := policy.RuleOutcome{
		ID: "findings", Level: policy.LevelError, Status: policy.StatusWaived, Expr: "findings == 0", Reasons: []string{"findings is 2: findings == 0 does not hold"},
		Metrics: []policy.MetricValue{}, Waiver: "until 2026-06-01T00:00:00Z: the fix is in review", Origin: "ci/leak policy.yaml", Line: 20, Column: 5,
	}
	skipped := policy.RuleOutcome{
		ID: "nmt", Level: policy.LevelNote, Status: policy.StatusSkipped, Expr: `delta.counter_bytes{counter="nmt.Other"} <= 8MiB`,
		Reasons: []string{"delta.counter_bytes is not known: native memory tracking is off"}, Metrics: []policy.MetricValue{}, Origin: "ci/leak policy.yaml", Line: 24, Column: 5,
	}
	unjudged := policy.RuleOutcome{
		ID: "fail-on-1", Level: policy.LevelError, Status: policy.StatusUnjudged, FailsWhen: true, Expr: "growth.bytes_per_second > 1MiB/s",
		Reasons: []string{"growth.bytes_per_second is not known: no heap evidence in second.lscope"}, Metrics: []policy.MetricValue{}, Origin: policy.FailOn,
	}
	return map[string]*policy.Outcome{
		"failed": {
			Gate: policy.Failed, Policy: "ci/leak policy.yaml", Reasons: []string{"1 rule failed: no-leak"},
			Rules: []policy.RuleOutcome{leak, peerClosed, held, waived, skipped},
			Waivers: []policy.WaiverOutcome{
				{Rule: "findings", Until: start.AddDate(0, 2, 18), Reason: "the fix is in review", State: policy.WaiverUsed, Line: 30, Column: 3},
				{Rule: "no-leak", Until: start.AddDate(0, -2, 0), Reason: "known since the release", State: policy.WaiverExpired, Line: 33, Column: 3},
			},
		},
		"unjudged": {
			Gate: policy.Unjudged, Policy: policy.FailOn, Reasons: []string{"1 rule could not be judged: fail-on-1"},
			Rules: []policy.RuleOutcome{unjudged}, Waivers: []policy.WaiverOutcome{},
		},
		"passed": {
			Gate: policy.Passed, Policy: "policy.yaml", Reasons: []string{}, Rules: []policy.RuleOutcome{held}, Waivers: []policy.WaiverOutcome{},
		},
	}
}
