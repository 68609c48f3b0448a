package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

// The evidence fields that findings are decided by: primitive fields of heap
// objects, named "SimpleClass.field" as heap attribution gives them. Where a
// connection has several objects of a class, sums are of sizes and counts, and
// the least is kept of a window.
const (
	evidenceUnwritable     = "ChannelOutboundBuffer.unwritable"
	evidenceOutbound       = "ChannelOutboundBuffer.totalPendingSize"
	evidenceHighWaterMark  = "WriteBufferWaterMark.high"
	evidenceAutoRead       = "DefaultChannelConfig.autoRead"
	evidenceInterestOps    = "SelectionKeyImpl.interestOps"
	evidencePendingBytes   = "FlowState.pendingBytes"
	evidenceWindow         = "FlowState.window"
	evidenceSentQueued     = "TransportState.numSentBytesQueued"
	evidenceStreams        = "DefaultHttp2Connection.streams"
	evidencePendingStreams = "StreamBufferingEncoder.pendingStreams"
	evidenceStreamLimit    = "StreamBufferingEncoder.maxConcurrentStreams"
	evidenceCompleted      = "FlowControlledBase.endOfStream"
	evidenceKeepAlive      = "KeepAliveManager"
	evidenceNoDeadline     = "ClientCallImpl.withoutDeadline"
	evidenceInputClosed    = "SocketChannelImpl.isInputClosed"
	labelMethod            = "grpc.method"
	labelHandlers          = "netty.handlers"
)

// idleLimits are the limits that Netty's handlers of idle connections have, in
// nanoseconds; 0 is none.
var idleLimits = []string{
	"IdleStateHandler.readerIdleTimeNanos", "IdleStateHandler.writerIdleTimeNanos",
	"IdleStateHandler.allIdleTimeNanos", "WriteTimeoutHandler.timeoutNanos",
}

// inboundQueues are the fields that keep what a peer has sent until the
// application takes it, by the end of their names.
var inboundQueues = []string{
	"io.grpc.internal.MessageDeframer.unprocessed",
	"io.netty.handler.codec.ByteToMessageDecoder.cumulation",
	"io.netty.handler.flow.FlowControlHandler.queue",
	"reactor.netty.channel.FluxReceive.receiverQueue",
}

const (
	// readyLimit is gRPC's: isReady() turns false at that many queued bytes.
	readyLimit = 32 << 10
	// defaultHighWaterMark is Netty's.
	defaultHighWaterMark = 64 << 10
	// ignoredFactor is how far beyond its limit a queue must be before it
	// proves that nobody asks: one large message can overshoot a little.
	ignoredFactor = 16
)

// creditExhausted reports bytes queued in the heap that the peer's flow control
// does not let go, although the kernel's queues may be empty.
func creditExhausted(h *snapshot.HeapConnection) (string, bool) {
	if pending := h.Evidence[evidencePendingBytes]; pending > 0 {
		if window, ok := h.Evidence[evidenceWindow]; ok && window <= 0 {
			return fmt.Sprintf("%d bytes queued in the heap behind an exhausted HTTP/2 window", pending), true
		}
	}
	if pending := h.Evidence[evidencePendingStreams]; pending > 0 {
		return fmt.Sprintf("%d streams wait for the peer's stream limit", pending), true
	}
	return "", false
}

// withoutIdleLimit reports a Netty channel none of whose handlers ends it when
// nothing moves; ok is false where the handlers are not known.
func withoutIdleLimit(s *subject) (none, ok bool) {
	if s.conn.Heap == nil || s.conn.Heap.Labels[labelHandlers] == "" {
		return false, false
	}
	for _, name := range idleLimits {
		if s.conn.Heap.Evidence[name] > 0 {
			return false, true
		}
	}
	return true, true
}

// queuesInbound reports that most of what a connection keeps was received and
// waits for the application.
func queuesInbound(s *subject) bool {
	return slices.ContainsFunc(s.path, func(step string) bool {
		return slices.ContainsFunc(inboundQueues, func(q string) bool {
			rest, ok := strings.CutSuffix(step, q)
			return ok && (rest == "" || strings.HasSuffix(rest, "."))
		})
	})
}

// ignoresReady reports a sender that goes on although it was told to wait.
func ignoresReady(h *snapshot.HeapConnection) (text string, ok bool) {
	if queued := h.Evidence[evidenceSentQueued]; queued > ignoredFactor*readyLimit {
		return fmt.Sprintf("%s queued on a gRPC stream; isReady() turns false at %s", units.Bytes(queued), units.Bytes(readyLimit)), true
	}
	high := highWaterMark(h)
	if pending := h.Evidence[evidenceOutbound]; h.Evidence[evidenceUnwritable] != 0 && pending > ignoredFactor*high {
		return fmt.Sprintf("%s queued in ChannelOutboundBuffer; isWritable() turns false at %s", units.Bytes(pending), units.Bytes(high)), true
	}
	return "", false
}

func highWaterMark(h *snapshot.HeapConnection) int64 {
	if high := h.Evidence[evidenceHighWaterMark]; high > 0 {
		return high
	}
	return defaultHighWaterMark
}

// withinLimit reports a sender that waits: all that its connection keeps is a
// Netty queue no longer than its limit and one write beyond it. Such a queue
// goes up and down between two snapshots, and that is no growth.
func withinLimit(s *subject) bool {
	if s.conn.Heap == nil {
		return false
	}
	pending, known := s.conn.Heap.Evidence[evidenceOutbound]
	limit := 2 * highWaterMark(s.conn.Heap)
	return known && pending <= limit && s.bytes.bytes.head <= limit
}
