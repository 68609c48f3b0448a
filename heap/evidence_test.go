package heap

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEvidence reads the fields that prove a cause from the classes of Netty
// and grpc-java as they are in their own jars and relocated into others, and
// keeps them with the connection that they belong to.
func TestEvidence(t *testing.T) {
	for _, test := range []struct{ name, netty, grpc string }{
		{"plain", "", ""},
		{"grpc-netty-shaded", "io.grpc.netty.shaded.", "io.grpc.netty.shaded."},
		{"relocated by an application", "com.example.thirdparty.", "com.example.thirdparty."},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilder()
			for _, dialect := range []struct {
				port   uint64
				credit uint64
			}{{7, 0}, {8, 65535}} {
				b.grpcConnection(test.netty, test.grpc, dialect.port, dialect.credit)
			}
			r := b.read(t)
			if len(r.Connections) != 2 {
				t.Fatalf("%d connections: %+v", len(r.Connections), r.Connections)
			}
			for i, credit := range []int64{0, 65535} {
				want := map[string]int64{
					"ChannelOutboundBuffer.totalPendingSize":            4096,
					"ChannelOutboundBuffer.unwritable":                  1,
					"DefaultChannelConfig.autoRead":                     0,
					"WriteBufferWaterMark.high":                         65536,
					"WriteBufferWaterMark.low":                          32768,
					"IdleStateHandler.readerIdleTimeNanos":              5e9,
					"FlowState.pendingBytes":                            300, // of both streams
					"FlowState.window":                                  credit,
					"DefaultHttp2RemoteFlowController.connectionWindow": 99,
					"DefaultHttp2Connection.streams":                    2,
					"DefaultHttp2Connection.halfClosedLocal":            1,
					"DefaultHttp2Connection.halfClosedRemote":           0,
					"StreamBufferingEncoder.maxConcurrentStreams":       128,
					"StreamBufferingEncoder.pendingStreams":             1,
					"TransportState.numSentBytesQueued":                 1 << 20,
					"KeepAliveManager":                                  0,
					"SelectionKeyImpl.interestOps":                      0,
				}
				got := r.Connections[i].Evidence
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("connection %d: %s", i, diff)
				}
				labels := map[string]string{
					"netty.handlers":              "IdleStateHandler, NettyClientHandler",
					"SelectionKeyImpl.attachment": test.netty + "io.netty.channel.socket.nio.NioSocketChannel",
				}
				if diff := cmp.Diff(labels, r.Connections[i].Labels); diff != "" {
					t.Errorf("connection %d: %s", i, diff)
				}
			}
		})
	}
}

// grpcConnection adds a client's channel that has two streams, one of them with
// credit bytes of window left.
func (b *builder) grpcConnection(netty, grpc string, fd, credit uint64) {
	channel, http2, timeout := netty+"io.netty.channel.", netty+"io.netty.handler.codec.http2.", netty+"io.netty.handler.timeout."
	flow, handlers := http2+"DefaultHttp2RemoteFlowController", grpc+"io.grpc.netty."
	if _, there := b.byName[channel+"ChannelOutboundBuffer"]; !there {
		b.class(channel+"ChannelOutboundBuffer", "java.lang.Object", "totalPendingSize:11", "unwritable:10")
		b.class(channel+"WriteBufferWaterMark", "java.lang.Object", "low:10", "high:10")
		b.class(channel+"DefaultChannelConfig", "java.lang.Object", "autoRead:10", "writeBufferWaterMark")
		b.class(channel+"ChannelHandlerAdapter", "java.lang.Object", "added:4")
		b.class(timeout+"IdleStateHandler", channel+"ChannelHandlerAdapter", "readerIdleTimeNanos:11")
		b.class(http2+"StreamBufferingEncoder", "java.lang.Object", "maxConcurrentStreams:10", "pendingStreams")
		b.class(http2+"StreamBufferingEncoder$PendingStream", "java.lang.Object")
		b.class(flow, "java.lang.Object", "connectionState")
		b.class(flow+"$FlowState", "java.lang.Object", "window:10", "pendingBytes:11")
		b.class(http2+"Http2Stream$State", "java.lang.Object", "ordinal:10")
		b.class(http2+"DefaultHttp2Connection$DefaultStream", "java.lang.Object", "state", "flowState")
		b.class("io.grpc.internal.AbstractStream$TransportState", "java.lang.Object", "numSentBytesQueued:10")
		b.class(handlers+"NettyClientHandler", channel+"ChannelHandlerAdapter", "keepAliveManager", "transport", "encoder", "flow", "streams")
		b.class(channel+"nio.AbstractNioChannel", "java.lang.Object", "ch", "closeInitiated:4", "config", "outbound", "handler", "idle")
		b.class(channel+"socket.nio.NioSocketChannel", channel+"nio.AbstractNioChannel")
	}
	stream := func(state, window, pending uint64) uint64 {
		return b.object(http2+"DefaultHttp2Connection$DefaultStream", map[string]uint64{
			"state":     b.object(http2+"Http2Stream$State", map[string]uint64{"ordinal": state}),
			"flowState": b.object(flow+"$FlowState", map[string]uint64{"window": window, "pendingBytes": pending}),
		})
	}
	handler := b.object(handlers+"NettyClientHandler", map[string]uint64{
		"transport": b.object("io.grpc.internal.AbstractStream$TransportState", map[string]uint64{"numSentBytesQueued": 1 << 20}),
		"encoder": b.object(http2+"StreamBufferingEncoder", map[string]uint64{
			"maxConcurrentStreams": 128,
			"pendingStreams":       b.array(b.object(http2+"StreamBufferingEncoder$PendingStream", nil)),
		}),
		"flow": b.object(flow, map[string]uint64{
			"connectionState": b.object(flow+"$FlowState", map[string]uint64{"window": 99}),
		}),
		"streams": b.array(stream(3, 70000, 200), stream(halfClosedLocal, credit, 100)),
	})
	config := b.object(channel+"DefaultChannelConfig", map[string]uint64{
		"writeBufferWaterMark": b.object(channel+"WriteBufferWaterMark", map[string]uint64{"low": 32768, "high": 65536}),
	})
	jdk := b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"fdVal": fd, "state": 2})
	outer := b.object(channel+"socket.nio.NioSocketChannel", map[string]uint64{
		"ch": jdk, "config": config, "handler": handler,
		"outbound": b.object(channel+"ChannelOutboundBuffer", map[string]uint64{"totalPendingSize": 4096, "unwritable": 1}),
		"idle":     b.object(timeout+"IdleStateHandler", map[string]uint64{"readerIdleTimeNanos": 5e9}),
	})
	b.root(b.object("sun.nio.ch.SelectionKeyImpl", map[string]uint64{"channel": jdk, "attachment": outer}), 0x01)
}

// TestUnknownFramework holds that a framework that is in no table gets its
// buffers attributed: tables add evidence, not ownership.
func TestUnknownFramework(t *testing.T) {
	b := newBuilder()
	b.class("com.unheard.net.Reactor", "java.lang.Object", "links")
	b.class("com.unheard.net.Link", "java.lang.Object", "wire", "outbox", "next")
	b.class("com.unheard.net.Outbox", "java.lang.Object", "frame")
	var next uint64
	for i := range uint64(3) {
		next = b.object("com.unheard.net.Link", map[string]uint64{
			"wire":   b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"fdVal": 7 + i, "state": 2}),
			"outbox": b.object("com.unheard.net.Outbox", map[string]uint64{"frame": b.buffer(0x1000000+i<<20, int(100+i))}),
			"next":   next,
		})
	}
	b.root(b.object("com.unheard.net.Reactor", map[string]uint64{"links": next}), 0x01)
	r := b.read(t)
	for _, a := range r.Allocations {
		if a.Fate != FateConnection || a.Connection < 0 {
			t.Errorf("%d bytes: fate %s", a.Bytes, a.Fate)
			continue
		}
		if fd := *r.Connections[a.Connection].FD; int64(fd-7) != a.Bytes-100 {
			t.Errorf("%d bytes belong to descriptor %d", a.Bytes, fd)
		}
	}
	if len(r.Allocations) != 3 {
		t.Errorf("%d allocations", len(r.Allocations))
	}
}

// TestKeptText holds what text of a target is kept: names of gRPC methods whole
// or not at all, and of threads what a terminal shows as it is.
func TestKeptText(t *testing.T) {
	for text, want := range map[string]bool{
		"v1.Profiler/Stream":              true,
		"com.example.Agent$Inner/Do-It_2": true,
		"":                                false,
		"/x":                              false,
		"Profiler/":                       false,
		"Profiler":                        false,
		"a/b/c":                           false,
		"https://user:secret@host/path":   false,
		"a.B/c\n":                         false,
		"a.B/\x1b[31m":                    false,
		"Bearer eyJhbGciOi/J9":            false,
		strings.Repeat("a", 151) + "/b":   false,
		"a/" + strings.Repeat("b", 101):   false,
		strings.Repeat("a.", 75) + "/b":   true,
	} {
		if methodName.MatchString(text) != want {
			t.Errorf("%q: kept %v, want %v", text, !want, want)
		}
	}
	for name, want := range map[string]string{
		"nio-1":                  "nio-1",
		"a\x1b]0;owned\x07":      "a?]0;owned?",
		"fäden":                  "f?den",
		strings.Repeat("x", 300): strings.Repeat("x", maxThreadName),
	} {
		if got := printable(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// TestAdaptiveBuffers reads the buffers of Netty's adaptive allocator, with the
// fields of its first versions and of later ones.
func TestAdaptiveBuffers(t *testing.T) {
	for _, test := range []struct{ name, prefix, place, capacity string }{
		{"first", "", "adjustment", ""},
		{"later", "", "startIndex", "maxFastCapacity:10"},
		{"later, relocated", "com.example.thirdparty.", "startIndex", "maxFastCapacity:10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilder()
			in := test.prefix + "io.netty.buffer."
			b.class(in+"UnpooledDirectByteBuf", "java.lang.Object", "buffer")
			b.class(in+"AdaptivePoolingAllocator$Chunk", "java.lang.Object", "delegate", "capacity:10", "allocatedBytes:10")
			fields := []string{"chunk", test.place + ":10", "length:10"}
			if test.capacity != "" {
				fields = append(fields, test.capacity)
			}
			b.class(in+"AdaptivePoolingAllocator$AdaptiveByteBuf", "java.lang.Object", fields...)
			const address, size = 0x1000000, 1 << 20
			chunk := b.object(in+"AdaptivePoolingAllocator$Chunk", map[string]uint64{
				"delegate": b.object(in+"UnpooledDirectByteBuf", map[string]uint64{"buffer": b.buffer(address, size)}),
				"capacity": size, "allocatedBytes": 6144,
			})
			b.static("app.Registry", "allocator", chunk)
			for i, place := range []uint64{0, 2048} {
				b.root(b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{
					"fdVal": uint64(7 + i), "state": 2,
					"extra": b.object(in+"AdaptivePoolingAllocator$AdaptiveByteBuf", map[string]uint64{
						"chunk": chunk, test.place: place, "length": 1024, "maxFastCapacity": 2048,
					}),
				}), 0x01)
			}
			each := int64(1024)
			if test.capacity != "" {
				each = 2048
			}
			total, held := int64(0), map[uint64]int64{}
			for _, a := range b.read(t).Allocations {
				total += a.Bytes
				if a.Fate == FateConnection {
					held[a.Address] = a.Bytes
				}
			}
			if diff := cmp.Diff(map[uint64]int64{address: each, address + 2048: each}, held); diff != "" {
				t.Error(diff)
			}
			if total != size {
				t.Errorf("the rows of a chunk of %d bytes sum to %d", size, total)
			}
		})
	}
}
