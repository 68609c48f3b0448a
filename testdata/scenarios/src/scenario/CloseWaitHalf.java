package scenario;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.util.ReferenceCountUtil;
import java.util.List;

/**
 * A server that allows half-closure: its clients send a request, end their direction and read nothing, and the
 * response stays in the outbound buffer of a connection in CLOSE_WAIT.
 */
final class CloseWaitHalf implements Scenario {
    private static final int CONNECTIONS = 4;
    private static final int BUFFER_BYTES = 32 << 10;
    private static final int BUFFERS = 24;

    private final Ledger ledger = new Ledger(true);
    private final Progress responses = new Progress();
    private final Peer peer = Peer.start(SocketPeer.class);
    private final NettyServer server;

    CloseWaitHalf(String name) throws Exception {
        server = new NettyServer(ledger, true, new NettyServer.Handlers() {
            @Override
            public ChannelHandler create(Conn conn, int order) {
                return new Response(conn, BUFFERS * (1 + order % 3));
            }
        });
    }

    private final class Response extends ChannelInboundHandlerAdapter {
        private final Conn conn;
        private final int buffers;

        Response(Conn conn, int buffers) {
            this.conn = conn;
            this.buffers = buffers;
        }

        @Override
        public void channelRead(ChannelHandlerContext ctx, Object message) {
            ReferenceCountUtil.release(message);
        }

        @Override
        public void userEventTriggered(ChannelHandlerContext ctx, Object event) {
            if (event != ChannelInputShutdownEvent.INSTANCE) {
                return;
            }
            for (int i = 0; i < buffers; i++) {
                ByteBuf buffer = ctx.alloc().directBuffer(BUFFER_BYTES);
                ledger.own(buffer, conn);
                ctx.write(buffer.writeZero(BUFFER_BYTES));
            }
            ctx.flush();
            responses.step();
        }
    }

    @Override
    public void phase(int number) throws Exception {
        int first = peer.tell("connect", server.port, CONNECTIONS, 100, 32 << 10);
        peer.tell("fin", first, first + CONNECTIONS);
        responses.await(first + CONNECTIONS);
        List<Conn> conns = server.conns();
        ledger.awaitQuiet();
        Kernel.await(conns, Kernel.STUCK, "stuck");
        Kernel.await(conns, Kernel.inState(Kernel.CLOSE_WAIT), "in CLOSE_WAIT");
        for (Conn conn : conns) {
            conn.state = "peer-closed";
        }
        ledger.awaitQuiet();
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = true;
        truth.verdict = "leak";
        ledger.tell(truth);
    }
}
