package analyze

import "strings"

// libraries tells the library of a connection by the class names on its side,
// most special first.
var libraries = []struct{ part, name string }{
	{"io.grpc.", "grpc"},
	{"NettyClientHandler", "grpc"},
	{"NettyServerHandler", "grpc"},
	{"org.apache.tomcat.", "tomcat"},
	{"org.apache.coyote.", "tomcat"},
	{"org.eclipse.jetty.", "jetty"},
	{"io.netty.", "netty"},
}

// libraryOf is the library that a group's connections belong to; plain NIO
// when none is recognised.
func libraryOf(g *group) string {
	for _, l := range libraries {
		for _, s := range g.subjects {
			if s.conn.Heap == nil {
				continue
			}
			if strings.Contains(s.conn.Heap.Class, l.part) || strings.Contains(s.holder, l.part) {
				return l.name
			}
			for _, label := range s.conn.Heap.Labels {
				if strings.Contains(label, l.part) {
					return l.name
				}
			}
		}
	}
	return "nio"
}

// advice is what to do about a cause in one library; library "" is the
// fallback of a form, form "" that of a cause.
type advice struct{ cause, form, library, remedy, verify string }

var adviceTable = []advice{
	{CauseNoBackpressure, "", "grpc", "send only while isReady() of the ClientCallStreamObserver (server: ServerCallStreamObserver) and go on in setOnReadyHandler; cancel() a stream that is not ready for too long: onCompleted() frees nothing", "with a peer that does not read, the bytes of state stalled stop growing"},
	{CauseNoBackpressure, "", "netty", "write only while channel.isWritable() and go on in channelWritabilityChanged; set ChannelOption.WRITE_BUFFER_WATER_MARK", "with a peer that does not read, ChannelOutboundBuffer.totalPendingSize stays near the high water mark"},
	{CauseNoBackpressure, "", "tomcat", "write only while ServletOutputStream.isReady(); for WebSocket await each send and set its timeout", "with a slow reader, the bytes of state stalled stop growing"},
	{CauseNoBackpressure, "", "jetty", "await the callback of each write; for WebSocket RemoteEndpoint.setMaxOutgoingFrames", "with a slow reader, the bytes of state stalled stop growing"},
	{CauseNoBackpressure, "", "", "stop producing for a channel while write() takes less than it is offered; bound each session's queue and close the session at the bound", "with a peer that does not read, the bytes of state stalled stop growing"},
	{CauseNoBackpressure, "receiver", "grpc", "call request(n) on the observer as long as messages are wanted, and end the stream (onError, or cancel) as soon as nobody wants them: what is not requested stays in MessageDeframer", "the bytes held through MessageDeframer.unprocessed stay near what is in work"},
	{CauseNoBackpressure, "receiver", "", "take what is received, or close the connection: a decoder that waits for the rest of a frame needs a limit on its length (maxFrameLength) and on the time it waits", "the bytes held by inbound queues stay near what is in work"},
	{CauseNoTimeout, "deadline", "", "withDeadlineAfter on each call; a stream that is to live for long is cancelled after a time without progress", "a stopped peer's calls are gone after the limit"},
	{CauseNoTermination, "stream", "", "end every stream: onCompleted(), or onError when messages may be stuck; set deadlines; on the server setOnCancelHandler, and end the stream when its viewer goes", "the number of open streams falls to that of the viewers"},
	{CauseNoTermination, "", "grpc", "let the transport read (call request()), so that it sees the end; shut the channel down when it is no longer needed", "state peer-closed holds no bytes after the clients have left"},
	{CauseNoTermination, "", "netty", "leave AUTO_READ on, or read() from time to time, and close in channelInactive; with ALLOW_HALF_CLOSURE close on ChannelInputShutdownEvent", "state peer-closed is empty after the clients have left"},
	{CauseNoTermination, "", "tomcat", "complete every AsyncContext, and handle its onError and onTimeout", "state peer-closed is empty after the clients have left"},
	{CauseNoTermination, "", "jetty", "complete every async request, and close WebSocket sessions in onWebSocketClose", "state peer-closed is empty after the clients have left"},
	{CauseNoTermination, "", "", "read() that returns -1 means: close the channel, cancel its key, drop its session; keep OP_READ in the interest set, or the end is never seen", "state peer-closed is empty after the clients have left"},
	{CauseNoKeepalive, "", "grpc", "client: keepAliveTime, keepAliveTimeout and keepAliveWithoutCalls(true) on the channel builder; server: the same and permitKeepAliveWithoutCalls(true)", "connections of a peer that vanished are gone after the keepalive timeout"},
	{CauseNoKeepalive, "", "netty", "ChannelOption.SO_KEEPALIVE with TCP_KEEPIDLE, or an IdleStateHandler that pings", "the socket shows a keepalive timer"},
	{CauseNoKeepalive, "", "tomcat", "socket.soKeepAlive and keepAliveTimeout on the connector", "the socket shows a keepalive timer"},
	{CauseNoKeepalive, "", "jetty", "ServerConnector.setIdleTimeout", "idle connections disappear after the limit"},
	{CauseNoKeepalive, "", "", "setOption(StandardSocketOptions.SO_KEEPALIVE, true) and ExtendedSocketOptions.TCP_KEEPIDLE", "the socket shows a keepalive timer"},
	{CauseNoTimeout, "", "grpc", "withDeadlineAfter on calls; for long streams cancel() after a time without progress; server: maxConnectionIdle, maxConnectionAge and maxConnectionAgeGrace", "a stopped peer's connection is gone after the limit"},
	{CauseNoTimeout, "", "netty", "IdleStateHandler and WriteTimeoutHandler, closing the channel on their events", "a stopped peer's connection is gone after the limit"},
	{CauseNoTimeout, "", "tomcat", "connectionTimeout, keepAliveTimeout and AsyncContext.setTimeout", "a stopped peer's connection is gone after the limit"},
	{CauseNoTimeout, "", "jetty", "setIdleTimeout on the connector and on sessions", "a stopped peer's connection is gone after the limit"},
	{CauseNoTimeout, "", "", "keep the time of last progress for each session and close those older than the limit in the selector loop; on Linux TCP_USER_TIMEOUT ends unacknowledged writes", "a stopped peer's connection is gone after the limit"},
	{CauseNoRelease, "lost", "", "release() in a finally block or SimpleChannelInboundHandler; -Dio.netty.leakDetection.level=paranoid in a test names the place of allocation", "fate lost holds no bytes under the same load"},
	{CauseNoRelease, "thread-local-cache", "", "-Djdk.nio.maxCachedBufferSize=262144, or write from direct buffers, or in smaller pieces", "the thread-local buffers stay below the number of threads times that size"},
	{CauseNoRelease, "application-map", "", "remove the entry when its owner ends, and bound the collection", "its bytes stay the same while owners come and go"},
	{CauseNoRelease, "", "netty", "remove the entry in channel.closeFuture().addListener, and release what it holds", "state closed holds no bytes"},
	{CauseNoRelease, "", "grpc", "drop stubs and observers with their channel; shutdownNow() the channel that is replaced", "state closed holds no bytes"},
	{CauseNoRelease, "", "", "drop the session, and with it its buffers, wherever the channel is closed", "state closed holds no bytes"},
	{CausePendingGC, "", "", "nothing where there is room; else set -XX:MaxDirectMemorySize, so that the JDK collects in time, and do not disable explicit collections", "leakscope capture --heap --live: the bytes are gone after a collection"},
	{CauseLimitTooLow, "", "", "raise the limit (-XX:MaxDirectMemorySize, -Dio.netty.maxDirectMemory, or the container's), or give the same load less: smaller pools (-Dio.netty.allocator.numDirectArenas, maxOrder), fewer connections, smaller buffers", "the same load uses less than four fifths of the limit"},
	{CauseNearLimit, "", "", "fix what grows (see the other findings), or raise the limit: -XX:MaxDirectMemorySize, -Dio.netty.maxDirectMemory, or the container's", "the head room stays under the same load"},
}

// remedy finds the most special advice.
func remedy(cause, form, library string) (remedy, verify string) {
	best := -1
	for _, a := range adviceTable {
		if a.cause != cause || (a.form != "" && a.form != form) || (a.library != "" && a.library != library) {
			continue
		}
		score := 0
		if a.form != "" {
			score += 2
		}
		if a.library != "" {
			score++
		}
		if score > best {
			best, remedy, verify = score, a.remedy, a.verify
		}
	}
	return remedy, verify
}
