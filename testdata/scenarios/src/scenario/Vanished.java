package scenario;

import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import java.util.ArrayList;
import java.util.List;

/**
 * A server whose clients vanish without a word: the link to them is cut. The half-open form goes on writing and is
 * never answered; the idle form waits for a next request, without keepalive and without a timeout. Needs a network
 * namespace for each side, and the commands that cut and mend the link between them.
 */
final class Vanished implements Scenario {
    private static final int CONNECTIONS = 4;
    private static final int BUFFER_BYTES = 32 << 10;
    private static final int BUFFERS = 24;
    /** Unanswered retransmissions that prove a dead peer, and some seconds with the usual timer. */
    private static final int RETRANSMITS = 5;
    /** How long nothing must have moved before a connection counts as idle, and a second more. */
    private static final long IDLE_MILLIS = 11_000;

    private final boolean writes;
    private final Ledger ledger = new Ledger(true);
    private final Progress requests = new Progress();
    private final List<Request> open = new ArrayList<Request>();
    private final Peer peer = Peer.start(SocketPeer.class, "-Dscenario.host=" + Peer.host());
    private final NettyServer server;

    Vanished(String name) throws Exception {
        writes = name.equals("half-open");
        server = new NettyServer(ledger, false, new NettyServer.Handlers() {
            @Override
            public ChannelHandler create(Conn conn, int order) {
                return new Request(conn, BUFFERS * (1 + order % 4));
            }
        });
    }

    /** Keeps what belongs to a request until the next one comes. */
    private final class Request extends ChannelInboundHandlerAdapter {
        private final Conn conn;
        private final int buffers;
        private final List<ByteBuf> kept = new ArrayList<ByteBuf>();
        private Channel channel;

        Request(Conn conn, int buffers) {
            this.conn = conn;
            this.buffers = buffers;
        }

        @Override
        public void channelRead(ChannelHandlerContext ctx, Object message) {
            channel = ctx.channel();
            if (writes) {
                ((ByteBuf) message).release();
            } else {
                keep((ByteBuf) message);
                for (int i = 0; i < buffers; i++) {
                    keep(ctx.alloc().directBuffer(BUFFER_BYTES).writeZero(BUFFER_BYTES));
                }
            }
            synchronized (open) {
                open.add(this);
            }
            requests.step();
        }

        private void keep(ByteBuf buffer) {
            ledger.own(buffer, conn);
            kept.add(buffer);
        }

        void write() {
            for (int i = 0; i < buffers; i++) {
                ByteBuf buffer = channel.alloc().directBuffer(BUFFER_BYTES);
                ledger.own(buffer, conn);
                channel.writeAndFlush(buffer.writeZero(BUFFER_BYTES));
            }
        }
    }

    @Override
    public void phase(int number) throws Exception {
        if (number == 1 || !writes) {
            if (number > 1) {
                Link.mend();
            }
            int first = peer.tell("connect", server.port, CONNECTIONS, 100, 0);
            requests.await(first + CONNECTIONS);
            Link.cut();
        }
        long cut = System.nanoTime();
        List<Conn> conns = server.conns();
        if (writes) {
            for (Request request : open) {
                request.write();
            }
            Kernel.await(conns, new Kernel.Wish() {
                @Override
                public boolean fulfilled(Kernel.Row row) {
                    return row != null && row.sendQueue > 0 && row.retransmits >= RETRANSMITS;
                }
            }, "unreachable");
        } else {
            Thread.sleep(Math.max(0, IDLE_MILLIS - (System.nanoTime() - cut) / 1_000_000));
            Kernel.await(conns, Kernel.inState(Kernel.ESTABLISHED), "established");
        }
        for (Conn conn : conns) {
            conn.state = writes ? "unreachable" : "idle";
        }
        ledger.awaitQuiet();
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = true;
        truth.verdict = writes ? "leak" : "growing";
        ledger.tell(truth);
    }
}
