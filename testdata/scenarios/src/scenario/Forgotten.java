package scenario;

import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.util.ReferenceCountUtil;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A server whose connections end properly, while the buffers made for them stay: in a static map by channel, in a
 * static map by id, or nowhere at all, because nobody released them.
 */
final class Forgotten implements Scenario {
    private static final int CONNECTIONS = 60;
    private static final int BUFFER_BYTES = 64 << 10;

    private static final Map<Channel, List<ByteBuf>> BY_CHANNEL = new ConcurrentHashMap<Channel, List<ByteBuf>>();
    private static final Map<String, List<ByteBuf>> BY_ID = new ConcurrentHashMap<String, List<ByteBuf>>();

    private final String name;
    private final Ledger ledger = new Ledger(true);
    private final Progress requests = new Progress();
    private final Progress ended = new Progress();
    private final Peer peer = Peer.start(SocketPeer.class);
    private final NettyServer server;

    Forgotten(String name) throws Exception {
        this.name = name;
        server = new NettyServer(ledger, false, new NettyServer.Handlers() {
            @Override
            public ChannelHandler create(Conn conn, int order) {
                return new Session(conn, 1 + order % 4);
            }
        });
    }

    private final class Session extends ChannelInboundHandlerAdapter {
        private final Conn conn;
        private final int parts;

        Session(Conn conn, int parts) {
            this.conn = conn;
            this.parts = parts;
        }

        @Override
        public void channelRead(ChannelHandlerContext ctx, Object message) {
            ReferenceCountUtil.release(message);
            if (name.equals("lost")) {
                for (int i = 0; i < parts; i++) {
                    ledger.lose(ctx.alloc().directBuffer(BUFFER_BYTES).writeZero(BUFFER_BYTES));
                }
            } else {
                List<ByteBuf> kept = new ArrayList<ByteBuf>();
                boolean byChannel = name.equals("closed-by-channel");
                for (int i = 0; i < parts; i++) {
                    ByteBuf buffer = ctx.alloc().directBuffer(BUFFER_BYTES);
                    ledger.own(buffer, byChannel ? conn : Ledger.APPLICATION);
                    kept.add(buffer.writeZero(BUFFER_BYTES));
                }
                if (byChannel) {
                    BY_CHANNEL.put(ctx.channel(), kept);
                } else {
                    BY_ID.put(ctx.channel().id().asLongText(), kept);
                }
            }
            requests.step();
        }

        @Override
        public void channelUnregistered(ChannelHandlerContext ctx) {
            conn.state = "closed";
            ended.step();
        }
    }

    @Override
    public void phase(int number) throws Exception {
        int first = peer.tell("connect", server.port, CONNECTIONS, 100, 0);
        requests.await(first + CONNECTIONS);
        peer.tell("close", first, first + CONNECTIONS);
        ended.await(first + CONNECTIONS);
        Kernel.await(server.conns(), Kernel.GONE, "gone");
        ledger.awaitQuiet();
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = true;
        truth.verdict = name.equals("closed-by-id") ? "growing" : "leak";
        ledger.tell(truth);
    }
}
