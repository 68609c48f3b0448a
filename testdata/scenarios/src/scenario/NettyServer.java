package scenario;

import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;

/** A Netty server on a free port that writes down each connection it accepts. */
final class NettyServer {
    /** Makes the handler of one connection; order counts connections from 0. */
    interface Handlers {
        ChannelHandler create(Conn conn, int order);
    }

    final int port;
    private final List<Conn> conns = new ArrayList<Conn>();

    NettyServer(Ledger ledger, final boolean halfClosure, final Handlers handlers) throws Exception {
        Channel server = new ServerBootstrap()
                .group(new NioEventLoopGroup(1), new NioEventLoopGroup(2))
                .channel(NioServerSocketChannel.class)
                .option(ChannelOption.SO_BACKLOG, 512)
                .childOption(ChannelOption.ALLOCATOR, ledger.allocator())
                .childOption(ChannelOption.ALLOW_HALF_CLOSURE, halfClosure)
                .childOption(ChannelOption.SO_SNDBUF, 64 << 10)
                .childHandler(new ChannelInitializer<SocketChannel>() {
                    @Override
                    protected void initChannel(SocketChannel channel) {
                        Conn conn = new Conn(channel.localAddress(), channel.remoteAddress(), "active");
                        int order;
                        synchronized (conns) {
                            order = conns.size();
                            conns.add(conn);
                        }
                        channel.pipeline().addLast(handlers.create(conn, order));
                    }
                })
                .bind(Peer.host(), 0).sync().channel();
        port = ((InetSocketAddress) server.localAddress()).getPort();
    }

    /** The connections accepted so far. */
    List<Conn> conns() {
        synchronized (conns) {
            return new ArrayList<Conn>(conns);
        }
    }
}
