package scenario;

import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;

/** A healthy echo server: its pool is warm, and nothing of it is in use between requests. */
final class Echo implements Scenario {
    private static final int CONNECTIONS = 20;
    private static final int BYTES = 64 << 10;

    private final Ledger ledger = new Ledger(true);
    private final Peer peer = Peer.start(SocketPeer.class);
    private final NettyServer server;

    Echo(String name) throws Exception {
        server = new NettyServer(ledger, false, new NettyServer.Handlers() {
            @Override
            public ChannelHandler create(Conn conn, int order) {
                return new ChannelInboundHandlerAdapter() {
                    @Override
                    public void channelRead(ChannelHandlerContext ctx, Object message) {
                        ctx.writeAndFlush(message);
                    }
                };
            }
        });
    }

    @Override
    public void phase(int number) throws Exception {
        if (number == 1) {
            peer.tell("connect", server.port, CONNECTIONS, 0, 0);
        }
        for (int round = 0; round < 20; round++) {
            peer.tell("send", 0, CONNECTIONS, BYTES);
            peer.tell("read", 0, CONNECTIONS, BYTES);
        }
        ledger.awaitQuiet();
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = false;
        truth.verdict = "steady";
        for (Conn conn : server.conns()) {
            truth.add(conn, 0, 0);
        }
        ledger.tell(truth);
    }
}
