package heap

import "slices"

// evidence is one row of the table of fields that prove a cause: which field of
// which objects is read, and how the values of several objects that belong to
// one connection become one. A row names its class as a row of wantedClasses
// does, and holds for its subclasses too. Adding one needs no other code.
type evidence struct {
	class string
	field string // "": the objects themselves are counted
	name  string // as it stands in Connection.Evidence
	how   combine
}

// combine says how several values become one.
type combine uint8

const (
	sum combine = iota
	least
	most
	present // of a reference: 1 when there is one, else 0
)

const (
	flowState   = "io.netty.handler.codec.http2.DefaultHttp2RemoteFlowController$FlowState"
	windowField = "window"
	queuedField = "pendingBytes"
)

var evidenceTable = []evidence{
	// Netty: what waits to be written, and whether the channel is read.
	{"io.netty.channel.ChannelOutboundBuffer", "totalPendingSize", "ChannelOutboundBuffer.totalPendingSize", sum},
	{"io.netty.channel.ChannelOutboundBuffer", "unwritable", "ChannelOutboundBuffer.unwritable", most},
	{"io.netty.channel.WriteBufferWaterMark", "high", "WriteBufferWaterMark.high", most},
	{"io.netty.channel.DefaultChannelConfig", "autoRead", "DefaultChannelConfig.autoRead", least},
	// HTTP/2: credit that is used up, streams that are open or wait.
	{flowState, queuedField, "FlowState.pendingBytes", sum},
	{flowState, windowField, "FlowState.window", least},
	{"io.netty.handler.codec.http2.DefaultHttp2ConnectionEncoder$FlowControlledBase", "endOfStream", "FlowControlledBase.endOfStream", sum},
	{"io.netty.handler.codec.http2.DefaultHttp2Connection$DefaultStream", "", "DefaultHttp2Connection.streams", sum},
	{"io.netty.handler.codec.http2.StreamBufferingEncoder", "maxConcurrentStreams", "StreamBufferingEncoder.maxConcurrentStreams", most},
	{"io.netty.handler.codec.http2.StreamBufferingEncoder$PendingStream", "", "StreamBufferingEncoder.pendingStreams", sum},
	// gRPC: bytes that the application has sent and isReady() counts; keepalive.
	{"io.grpc.internal.AbstractStream$TransportState", "numSentBytesQueued", "TransportState.numSentBytesQueued", most},
	{"io.grpc.netty.NettyClientHandler", "keepAliveManager", "KeepAliveManager", present},
	{"io.grpc.netty.NettyServerHandler", "keepAliveManager", "KeepAliveManager", present},
	// JDK: 0 means that nobody listens.
	{"sun.nio.ch.SelectionKeyImpl", "interestOps", "SelectionKeyImpl.interestOps", least},
}

// The classes of evidence are looked for like any other.
func init() {
	for _, e := range evidenceTable {
		at := slices.IndexFunc(wantedClasses, func(w wanted) bool { return w.class == e.class })
		if at < 0 {
			wantedClasses = append(wantedClasses, wanted{class: e.class, role: roleEvidence})
			at = len(wantedClasses) - 1
		}
		if w := &wantedClasses[at]; e.field != "" && !slices.Contains(w.fields, e.field) {
			w.fields = append(w.fields, e.field)
		}
	}
}

// readEvidence reads, for each connection, whether it is reachable, and the few
// fields that prove a cause, from the objects that belong to it alone.
func (w *walk) readEvidence() error {
	for i := range w.connections {
		c := &w.connections[i]
		for _, n := range w.connNodes[i] {
			if yes, known := w.reachable(n); known {
				if c.Reachable == nil {
					c.Reachable = new(bool)
				}
				*c.Reachable = *c.Reachable || yes
			}
		}
	}
	nodes := slices.Concat(w.objects[roleEvidence], w.objects[roleKey])
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
	return nil
}

// gather adds one row of the table to the connections of objects of one class.
func (w *walk) gather(e evidence, nodes []Node) error {
	if e.field == "" {
		for _, n := range nodes {
			w.note(e, n, 1)
		}
		return nil
	}
	fields := []string{e.field}
	if e.field == windowField {
		fields = append(fields, queuedField) // only the window of a stream that has something to send counts
	}
	values, ok, err := w.columns(nodes, fields...)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		at := i * len(fields)
		if e.how == present {
			if w.fieldNumber(w.g.Class(n), e.field) < 0 {
				continue // another version of the class
			}
			value := int64(0)
			if w.refers(n, e.field, values[at], ok[at]) {
				value = 1
			}
			w.note(e, n, value)
			continue
		}
		if !ok[at] || (len(fields) > 1 && ok[at+1] && int64(values[at+1]) <= 0) {
			continue
		}
		w.note(e, n, int64(values[at]))
	}
	return nil
}

// note combines a value with what its connection has. An object that several
// connections share says nothing of one of them.
func (w *walk) note(e evidence, n Node, value int64) {
	at, isConnection := w.connAt[n]
	if !isConnection {
		if int(n) >= len(w.owners.of) || w.owners.of[n] < 0 || int(w.owners.of[n]) >= w.owners.n {
			return
		}
		at = w.owners.of[n]
	}
	c := &w.connections[at]
	if c.Evidence == nil {
		c.Evidence = map[string]int64{}
	}
	before, had := c.Evidence[e.name]
	switch {
	case !had:
	case e.how == sum:
		value += before
	case e.how == least:
		value = min(value, before)
	default:
		value = max(value, before)
	}
	c.Evidence[e.name] = value
}
