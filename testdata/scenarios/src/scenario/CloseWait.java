package scenario;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import java.util.ArrayList;
import java.util.List;

/**
 * A server that stops reading once it has a request, to answer it first, and never answers: its clients give up and
 * close, the FIN stays unseen, and the request and the half-made response stay in the handler.
 */
final class CloseWait implements Scenario {
    private static final int CONNECTIONS = 40;
    private static final int BUFFER_BYTES = 64 << 10;

    private final Ledger ledger = new Ledger(true);
    private final Progress requests = new Progress();
    private final Peer peer = Peer.start(SocketPeer.class);
    private final NettyServer server;

    CloseWait(String name) throws Exception {
        server = new NettyServer(ledger, false, new NettyServer.Handlers() {
            @Override
            public ChannelHandler create(Conn conn, int order) {
                return new Answer(conn, 1 + order % 4);
            }
        });
    }

    private final class Answer extends ChannelInboundHandlerAdapter {
        private final Conn conn;
        private final int parts;
        private final List<ByteBuf> pending = new ArrayList<ByteBuf>();

        Answer(Conn conn, int parts) {
            this.conn = conn;
            this.parts = parts;
        }

        @Override
        public void channelRead(ChannelHandlerContext ctx, Object message) {
            ctx.channel().config().setAutoRead(false);
            keep((ByteBuf) message);
            for (int i = 0; i < parts; i++) {
                keep(ctx.alloc().directBuffer(BUFFER_BYTES).writeZero(BUFFER_BYTES));
            }
            requests.step();
        }

        private void keep(ByteBuf buffer) {
            ledger.own(buffer, conn);
            pending.add(buffer);
        }
    }

    @Override
    public void phase(int number) throws Exception {
        int first = peer.tell("connect", server.port, CONNECTIONS, 100, 0);
        requests.await(first + CONNECTIONS);
        peer.tell("close", first, first + CONNECTIONS);
        List<Conn> conns = server.conns();
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
