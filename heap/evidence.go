package heap

import (
	"regexp"
	"slices"
	"strings"
)

// evidence is one row of the table of fields that prove a cause: which field of
// which objects is read, and how the values of several objects that belong to
// one connection become one. A row names its class as a row of wantedClasses
// does, and holds for its subclasses too. Adding one needs no other code.
type evidence struct {
	class string
	field string // "a.b": b of what a refers to; "": the objects themselves
	name  string // as it stands in Connection.Evidence, or in Connection.Labels
	how   combine
	only  int64 // with only: the value that counts as one
}

// combine says how several values become one.
type combine uint8

const (
	sum combine = iota
	least
	most
	present  // of a reference: 1 when there is one, else 0
	absent   // of a reference: how many objects have none
	only     // how many objects have the value evidence.only
	classes  // a label: the classes of the objects
	refClass // a label: the class of what the field refers to
	method   // a label: the name of a gRPC method, where the graph reads text
)

const (
	flowState   = "io.netty.handler.codec.http2.DefaultHttp2RemoteFlowController$FlowState"
	http2Stream = "io.netty.handler.codec.http2.DefaultHttp2Connection$DefaultStream"
	transport   = "io.grpc.internal.AbstractStream$TransportState"
	handler     = "io.netty.channel.ChannelHandlerAdapter"
	windowField = "window"
	queuedField = "pendingBytes"
)

// Ordinals of io.netty.handler.codec.http2.Http2Stream$State.
const (
	halfClosedLocal  = 4
	halfClosedRemote = 5
)

var evidenceTable = []evidence{
	// Netty: what waits to be written, whether the channel is read, and what
	// handles it.
	{class: "io.netty.channel.ChannelOutboundBuffer", field: "totalPendingSize", name: "ChannelOutboundBuffer.totalPendingSize", how: sum},
	{class: "io.netty.channel.ChannelOutboundBuffer", field: "unwritable", name: "ChannelOutboundBuffer.unwritable", how: most},
	{class: "io.netty.channel.WriteBufferWaterMark", field: "high", name: "WriteBufferWaterMark.high", how: most},
	{class: "io.netty.channel.WriteBufferWaterMark", field: "low", name: "WriteBufferWaterMark.low", how: most},
	{class: "io.netty.channel.DefaultChannelConfig", field: "autoRead", name: "DefaultChannelConfig.autoRead", how: least},
	{class: handler, name: "netty.handlers", how: classes},
	{class: handler, field: "readerIdleTimeNanos", name: "IdleStateHandler.readerIdleTimeNanos", how: most},
	{class: handler, field: "writerIdleTimeNanos", name: "IdleStateHandler.writerIdleTimeNanos", how: most},
	{class: handler, field: "allIdleTimeNanos", name: "IdleStateHandler.allIdleTimeNanos", how: most},
	{class: handler, field: "timeoutNanos", name: "WriteTimeoutHandler.timeoutNanos", how: most},
	// HTTP/2: credit that is used up, streams that are open, half closed, or wait.
	{class: flowState, field: queuedField, name: "FlowState.pendingBytes", how: sum},
	{class: flowState, field: windowField, name: "FlowState.window", how: least},
	{class: "io.netty.handler.codec.http2.DefaultHttp2RemoteFlowController", field: "connectionState." + windowField, name: "DefaultHttp2RemoteFlowController.connectionWindow", how: least},
	{class: "io.netty.handler.codec.http2.DefaultHttp2ConnectionEncoder$FlowControlledBase", field: "endOfStream", name: "FlowControlledBase.endOfStream", how: sum},
	{class: http2Stream, name: "DefaultHttp2Connection.streams", how: sum},
	{class: http2Stream, field: "state.ordinal", name: "DefaultHttp2Connection.halfClosedLocal", how: only, only: halfClosedLocal},
	{class: http2Stream, field: "state.ordinal", name: "DefaultHttp2Connection.halfClosedRemote", how: only, only: halfClosedRemote},
	{class: "io.netty.handler.codec.http2.StreamBufferingEncoder", field: "maxConcurrentStreams", name: "StreamBufferingEncoder.maxConcurrentStreams", how: most},
	{class: "io.netty.handler.codec.http2.StreamBufferingEncoder$PendingStream", name: "StreamBufferingEncoder.pendingStreams", how: sum},
	// gRPC: bytes that the application has sent and isReady() counts, calls
	// without a deadline, keepalive.
	{class: transport, field: "numSentBytesQueued", name: "TransportState.numSentBytesQueued", how: most},
	{class: transport, field: "methodName", name: "grpc.method", how: method},
	{class: "io.grpc.internal.ClientCallImpl", name: "ClientCallImpl.calls", how: sum},
	{class: "io.grpc.internal.ClientCallImpl", field: "deadlineCancellationFuture", name: "ClientCallImpl.withoutDeadline", how: absent},
	{class: "io.grpc.netty.NettyClientHandler", field: "keepAliveManager", name: "KeepAliveManager", how: present},
	{class: "io.grpc.netty.NettyServerHandler", field: "keepAliveManager", name: "KeepAliveManager", how: present},
	// JDK: 0 means that nobody listens; which half is closed.
	{class: "sun.nio.ch.SelectionKeyImpl", field: "interestOps", name: "SelectionKeyImpl.interestOps", how: least},
	{class: "sun.nio.ch.SelectionKeyImpl", field: "attachment", name: "SelectionKeyImpl.attachment", how: refClass},
	{class: "sun.nio.ch.SocketChannelImpl", field: "isInputClosed", name: "SocketChannelImpl.isInputClosed", how: most},
	{class: "sun.nio.ch.SocketChannelImpl", field: "isOutputClosed", name: "SocketChannelImpl.isOutputClosed", how: most},
	{class: "sun.nio.ch.NioSocketImpl", field: "isInputClosed", name: "NioSocketImpl.isInputClosed", how: most},
	{class: "sun.nio.ch.NioSocketImpl", field: "isOutputClosed", name: "NioSocketImpl.isOutputClosed", how: most},
}

// The classes of evidence are looked for like any other.
func init() {
	wantedClasses = append(wantedClasses, wanted{"io.netty.handler.codec.http2.Http2Stream$State", roleEvidence, []string{"ordinal"}})
	for _, e := range evidenceTable {
		at := slices.IndexFunc(wantedClasses, func(w wanted) bool { return w.class == e.class })
		if at < 0 {
			wantedClasses = append(wantedClasses, wanted{class: e.class, role: roleEvidence})
			at = len(wantedClasses) - 1
		}
		field, _, _ := strings.Cut(e.field, ".")
		if w := &wantedClasses[at]; field != "" && !slices.Contains(w.fields, field) {
			w.fields = append(w.fields, field)
		}
	}
}

// readEvidence reads, for each connection, whether it is reachable, and the few
// fields that prove a cause, from the objects that belong to it alone.
func (w *walk) readEvidence() error {
	for i := range w.connections {
		c := &w.connections[i]
		for _, n := range w.connNodes[i] {
			if yes, known := w.reachable(n); known && (yes || !w.framesMissing) {
				if c.Reachable == nil {
					c.Reachable = new(bool)
				}
				*c.Reachable = *c.Reachable || yes
			}
		}
	}
	nodes := slices.Concat(w.objects[roleEvidence], w.objects[roleKey], w.objects[roleSocket])
	slices.SortStableFunc(nodes, func(a, b Node) int { return int(w.g.Class(a)) - int(w.g.Class(b)) })
	for start := 0; start < len(nodes); {
		class := w.g.Class(nodes[start])
		end := start + 1
		for end < len(nodes) && w.g.Class(nodes[end]) == class {
			end++
		}
		for _, e := range evidenceTable {
			if w.isA(class, e.class) {
				if err := w.gather(e, nodes[start:end]); err != nil {
					return err
				}
			}
		}
		start = end
	}
	w.sortLabels()
	return nil
}

// gather adds one row of the table to the connections of objects of one class.
func (w *walk) gather(e evidence, nodes []Node) error {
	if e.field == "" {
		for _, n := range nodes {
			if e.how == classes {
				w.label(e, n, simpleName(w.className(n)))
			} else {
				w.note(e, n, 1)
			}
		}
		return nil
	}
	first, second, deep := strings.Cut(e.field, ".")
	if w.fieldNumber(w.g.Class(nodes[0]), first) < 0 {
		return nil // another version of the class, or another class below the same
	}
	fields := []string{first}
	if e.field == windowField {
		fields = append(fields, queuedField) // only the window of a stream that has something to send counts
	}
	values, ok, err := w.columns(nodes, fields...)
	if err != nil {
		return err
	}
	if deep {
		return w.gatherBelow(e, nodes, values, ok, second)
	}
	for i, n := range nodes {
		at := i * len(fields)
		there := w.refers(n, e.field, values[at], ok[at])
		switch {
		case e.how == present || e.how == absent:
			w.noteIf(e, n, there == (e.how == present))
		case e.how == refClass:
			if to := Node(values[at]); ok[at] && to != None {
				w.label(e, n, w.className(to))
			}
		case e.how == method:
			if to := Node(values[at]); ok[at] && to != None {
				if name, known := w.text(to); known && methodName.MatchString(name) {
					w.label(e, n, name)
				}
			}
		case !ok[at], len(fields) > 1 && ok[at+1] && int64(values[at+1]) <= 0:
		case e.how == only:
			w.noteIf(e, n, int64(values[at]) == e.only)
		default:
			w.note(e, n, int64(values[at]))
		}
	}
	return nil
}

// gatherBelow reads a field of the objects that others refer to.
func (w *walk) gatherBelow(e evidence, nodes []Node, values []uint64, ok []bool, field string) error {
	below := make([]Node, len(nodes))
	for i := range nodes {
		below[i] = None
		if ok[i] {
			below[i] = Node(values[i])
		}
	}
	v, known, err := w.columnsOf(below, field)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		switch {
		case !known[i]:
		case e.how == only:
			w.noteIf(e, n, int64(v[i]) == e.only)
		default:
			w.note(e, n, int64(v[i]))
		}
	}
	return nil
}

// methodName is what a gRPC method is called: a service and a method. No other
// text of the target is kept.
var methodName = regexp.MustCompile(`^[A-Za-z0-9_.$-]{1,150}/[A-Za-z0-9_$-]{1,100}$`)

// text reads a string where the graph can.
func (w *walk) text(n Node) (string, bool) {
	if g, ok := w.g.(interface {
		Text(n Node, limit int) (string, bool)
	}); ok {
		return g.Text(n, maxText)
	}
	return "", false
}

const maxText = 256 // characters of a name

func simpleName(class string) string { return class[strings.LastIndexByte(class, '.')+1:] }

// ownerOf returns the connection that an object belongs to alone.
func (w *walk) ownerOf(n Node) (int32, bool) {
	if at, ok := w.connAt[n]; ok {
		return at, true
	}
	if int(n) >= len(w.owners.of) || w.owners.of[n] < 0 || int(w.owners.of[n]) >= w.owners.n {
		return 0, false
	}
	return w.owners.of[n], true
}

// maxLabel bounds the names that one label joins.
const maxLabel = 24

// label adds a name to those that a label of a connection joins.
func (w *walk) label(e evidence, n Node, name string) {
	at, ok := w.ownerOf(n)
	if !ok || name == "" {
		return
	}
	c := &w.connections[at]
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	names := strings.Split(c.Labels[e.name], ", ")
	switch {
	case c.Labels[e.name] == "":
		c.Labels[e.name] = name
	case !slices.Contains(names, name) && len(names) < maxLabel:
		c.Labels[e.name] += ", " + name
	}
}

// sortLabels gives labels an order that does not depend on where objects lie.
func (w *walk) sortLabels() {
	for i := range w.connections {
		for key, joined := range w.connections[i].Labels {
			names := strings.Split(joined, ", ")
			slices.Sort(names)
			w.connections[i].Labels[key] = strings.Join(names, ", ")
		}
	}
}

func (w *walk) noteIf(e evidence, n Node, yes bool) {
	if yes {
		w.note(e, n, 1)
	} else {
		w.note(e, n, 0)
	}
}

// note combines a value with what its connection has. An object that several
// connections share says nothing of one of them.
func (w *walk) note(e evidence, n Node, value int64) {
	at, ok := w.ownerOf(n)
	if !ok {
		return
	}
	c := &w.connections[at]
	if c.Evidence == nil {
		c.Evidence = map[string]int64{}
	}
	before, had := c.Evidence[e.name]
	switch {
	case !had:
	case e.how == sum, e.how == absent, e.how == only:
		value += before
	case e.how == least:
		value = min(value, before)
	default:
		value = max(value, before)
	}
	c.Evidence[e.name] = value
}
