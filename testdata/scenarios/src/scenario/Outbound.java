package scenario;

import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.WriteBufferWaterMark;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.util.internal.PlatformDependent;
import java.util.ArrayList;
import java.util.List;

/**
 * A sender whose peer accepts its connections and reads nothing. The flood writes all the same, and everything ends
 * up in the channels' outbound buffers; the bounded sender asks {@code isWritable()} first. The flood also stands for
 * the same leak under Netty's other allocators.
 */
final class Outbound implements Scenario {
    private static final int CONNECTIONS = 4;
    private static final int BUFFER_BYTES = 32 << 10;
    /** On each connection for each phase: connection i sends (i + 1) times as many. */
    private static final int BUFFERS = 40;
    private static final int SOCKET_BUFFER_BYTES = 64 << 10;

    private final boolean bounded;
    private final Ledger ledger;
    private final Peer peer;
    private final List<Channel> channels = new ArrayList<Channel>();
    private final List<Conn> conns = new ArrayList<Conn>();

    Outbound(String name) throws Exception {
        bounded = name.equals("outbound-bounded");
        ledger = new Ledger(!name.equals("unpooled"));
        if (name.equals("no-unsafe") && PlatformDependent.hasUnsafe()) {
            throw new IllegalStateException("start with -Dio.netty.noUnsafe=true");
        }
        if (name.equals("no-cleaner") && PlatformDependent.usedDirectMemory() < 0) {
            throw new IllegalStateException("Netty uses cleaners: start with -Dio.netty.tryReflectionSetAccessible=true"
                    + " --add-opens=java.base/java.nio=ALL-UNNAMED, on Java 20 or older");
        }
        peer = Peer.start(SocketPeer.class);
    }

    /** Fills a channel up to its high water mark, and again whenever the peer has taken something. */
    private final class Filler extends ChannelInboundHandlerAdapter {
        @Override
        public void channelWritabilityChanged(ChannelHandlerContext ctx) {
            fill(ctx.channel());
        }

        void fill(Channel channel) {
            while (channel.isWritable()) {
                write(channel, 8 << 10);
            }
        }
    }

    @Override
    public void phase(int number) throws Exception {
        if (number == 1) {
            connect();
        }
        if (bounded) {
            if (number > 1) {
                peer.tell("read", 0, CONNECTIONS, 512 << 10); // the slow peer takes some; the sender fills up again
            }
        } else {
            for (int i = 0; i < CONNECTIONS; i++) {
                for (int n = 0; n < BUFFERS * (i + 1); n++) {
                    write(channels.get(i), BUFFER_BYTES);
                }
            }
        }
        ledger.awaitQuiet();
        Kernel.await(conns, Kernel.STUCK, "stuck");
        ledger.awaitQuiet();
    }

    private void connect() throws Exception {
        int port = peer.tell("listen", SOCKET_BUFFER_BYTES);
        Bootstrap bootstrap = new Bootstrap()
                .group(new NioEventLoopGroup(2))
                .channel(NioSocketChannel.class)
                .option(ChannelOption.ALLOCATOR, ledger.allocator())
                .option(ChannelOption.SO_SNDBUF, SOCKET_BUFFER_BYTES)
                .option(ChannelOption.WRITE_BUFFER_WATER_MARK, new WriteBufferWaterMark(32 << 10, 64 << 10))
                .handler(new ChannelInitializer<SocketChannel>() {
                    @Override
                    protected void initChannel(SocketChannel channel) {
                        if (bounded) {
                            channel.pipeline().addLast(new Filler());
                        }
                    }
                });
        for (int i = 0; i < CONNECTIONS; i++) {
            final Channel channel = bootstrap.connect(Peer.host(), port).sync().channel();
            channels.add(channel);
            conns.add(new Conn(channel.localAddress(), channel.remoteAddress(), "stalled"));
        }
        peer.tell("accepted", CONNECTIONS);
        if (bounded) {
            for (final Channel channel : channels) {
                channel.eventLoop().submit(new Runnable() {
                    @Override
                    public void run() {
                        channel.pipeline().get(Filler.class).fill(channel);
                    }
                }).sync();
            }
        }
    }

    private void write(Channel channel, int bytes) {
        ByteBuf buffer = channel.alloc().directBuffer(bytes);
        ledger.own(buffer, conns.get(channels.indexOf(channel)));
        buffer.writeZero(bytes);
        channel.writeAndFlush(buffer);
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = !bounded;
        truth.verdict = bounded ? "steady" : "leak";
        for (Conn conn : conns) {
            truth.add(conn, 0, 0);
        }
        ledger.tell(truth);
    }
}
