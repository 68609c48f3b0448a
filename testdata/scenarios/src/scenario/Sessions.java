package scenario;

import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/**
 * A plain NIO server with direct buffers in session objects that are attached to selection keys. The open form reads
 * the end of a connection and only stops listening to it; the closed form closes it, and keeps the session in a list.
 */
final class Sessions implements Scenario {
    private static final int CONNECTIONS = 50;
    private static final List<Session> SESSIONS = new ArrayList<Session>();

    private final boolean closes;
    private final Peer peer = Peer.start(SocketPeer.class);
    private final Progress accepted = new Progress();
    private final Progress ended = new Progress();
    private final List<Conn> conns = new ArrayList<Conn>();
    private final List<Long> sizes = new ArrayList<Long>();
    private final int port;

    private static final class Session {
        final SelectionKey key;
        final ByteBuffer in;
        final ByteBuffer out;

        Session(SelectionKey key, int bytes) {
            this.key = key;
            in = ByteBuffer.allocateDirect(bytes);
            out = ByteBuffer.allocateDirect(bytes);
        }
    }

    Sessions(String name) throws Exception {
        closes = name.equals("session-closed");
        final ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(Peer.host(), 0), 512);
        port = ((InetSocketAddress) server.getLocalAddress()).getPort();
        server.configureBlocking(false);
        final Selector selector = Selector.open();
        server.register(selector, SelectionKey.OP_ACCEPT);
        Thread loop = new Thread("selector") {
            @Override
            public void run() {
                try {
                    for (;;) {
                        selector.select();
                        for (Iterator<SelectionKey> i = selector.selectedKeys().iterator(); i.hasNext();) {
                            SelectionKey key = i.next();
                            i.remove();
                            if (key.isAcceptable()) {
                                accept(server, selector);
                            } else if (key.isReadable()) {
                                read(key);
                            }
                        }
                    }
                } catch (Exception e) {
                    e.printStackTrace();
                }
            }
        };
        loop.setDaemon(true);
        loop.start();
    }

    private void accept(ServerSocketChannel server, Selector selector) throws Exception {
        SocketChannel channel = server.accept();
        if (channel == null) {
            return;
        }
        channel.configureBlocking(false);
        SelectionKey key = channel.register(selector, SelectionKey.OP_READ);
        int bytes;
        synchronized (conns) {
            bytes = (16 << 10) * (1 + conns.size() % 4);
            conns.add(new Conn(channel.getLocalAddress(), channel.getRemoteAddress(), "active"));
            sizes.add(2L * bytes);
        }
        Session session = new Session(key, bytes);
        key.attach(session);
        if (closes) {
            SESSIONS.add(session);
        }
        accepted.step();
    }

    private void read(SelectionKey key) throws Exception {
        Session session = (Session) key.attachment();
        session.in.clear();
        if (((SocketChannel) key.channel()).read(session.in) >= 0) {
            return;
        }
        if (closes) {
            key.channel().close(); // the next select takes the key out and closes the socket
        } else {
            key.interestOps(0);
        }
        ended.step();
    }

    @Override
    public void phase(int number) throws Exception {
        int first = peer.tell("connect", port, CONNECTIONS, 100, 0);
        accepted.await(first + CONNECTIONS);
        peer.tell("close", first, first + CONNECTIONS);
        ended.await(first + CONNECTIONS);
        synchronized (conns) {
            Kernel.await(conns, closes ? Kernel.GONE : Kernel.inState(Kernel.CLOSE_WAIT), closes ? "gone" : "in CLOSE_WAIT");
            for (Conn conn : conns) {
                conn.state = closes ? "closed" : "peer-closed";
            }
        }
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = true;
        truth.verdict = "leak";
        synchronized (conns) {
            for (int i = 0; i < conns.size(); i++) {
                truth.add(conns.get(i), 2, sizes.get(i));
            }
        }
    }
}
