package scenario;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.io.ArrayByteBufferPool;
import org.eclipse.jetty.io.EndPoint;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnection;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

/**
 * A Jetty server with direct buffers. Its idle connections have been answered and wait for a next request; its slow
 * readers do not read the response, and the connection keeps what waits to be written.
 */
final class JettyServer implements Scenario {
    private static final int CONNECTIONS = 8;
    private static final int OUTPUT_BUFFER_BYTES = 64 << 10;
    private static final int RESPONSE_BYTES = 2 << 20;

    private final boolean slow;
    private final Books books = new Books();
    private final Peer peer = Peer.start(SocketPeer.class);
    private final Progress answered = new Progress();
    private final Map<Integer, Conn> conns = new LinkedHashMap<Integer, Conn>();
    private final int port;

    /** Jetty's pool, which writes down who has which direct buffer. */
    private final class Books extends ArrayByteBufferPool {
        private final Map<ByteBuffer, Integer> out = new IdentityHashMap<ByteBuffer, Integer>();
        private long made;
        private long bytes;

        @Override
        public ByteBuffer newByteBuffer(int capacity, boolean direct) {
            if (direct) {
                synchronized (out) {
                    made++;
                    bytes += capacity;
                }
            }
            return super.newByteBuffer(capacity, direct);
        }

        @Override
        public ByteBuffer acquire(int size, boolean direct) {
            ByteBuffer buffer = super.acquire(size, direct);
            if (buffer.isDirect()) {
                EndPoint end = HttpConnection.getCurrentConnection().getEndPoint();
                synchronized (out) {
                    out.put(buffer, end.getRemoteAddress().getPort());
                }
            }
            return buffer;
        }

        @Override
        public void release(ByteBuffer buffer) {
            synchronized (out) {
                out.remove(buffer);
            }
            super.release(buffer);
        }

        void tell(Truth truth) {
            synchronized (out) {
                long free = bytes;
                for (Map.Entry<ByteBuffer, Integer> entry : out.entrySet()) {
                    int capacity = entry.getKey().capacity();
                    truth.add(conns.get(entry.getValue()), 1, capacity);
                    free -= capacity;
                }
                if (made > out.size()) {
                    truth.add("application", made - out.size(), free);
                }
            }
        }
    }

    private final class Answer extends AbstractHandler {
        @Override
        public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response)
                throws IOException {
            synchronized (conns) {
                if (!conns.containsKey(request.getRemotePort())) {
                    conns.put(request.getRemotePort(),
                            new Conn(request.getLocalPort(), request.getRemotePort(), slow ? "stalled" : "active"));
                }
            }
            base.setHandled(true);
            answered.step();
            byte[] block = new byte[4 << 10]; // small writes are gathered in the connection's direct buffer
            OutputStream out = response.getOutputStream();
            int length = slow ? RESPONSE_BYTES : block.length;
            response.setContentLength(length);
            for (int written = 0; written < length; written += block.length) {
                out.write(block);
            }
        }
    }

    JettyServer(String name) throws Exception {
        slow = name.equals("jetty-slow-readers");
        QueuedThreadPool threads = new QueuedThreadPool(40);
        Server server = new Server(threads);
        HttpConfiguration configuration = new HttpConfiguration();
        configuration.setOutputBufferSize(OUTPUT_BUFFER_BYTES);
        ServerConnector connector = new ServerConnector(server, null, null, books, 1, 1, new HttpConnectionFactory(configuration));
        connector.setHost(Peer.host());
        connector.setIdleTimeout(10 * 60 * 1000);
        connector.setAcceptedSendBufferSize(64 << 10);
        server.addConnector(connector);
        server.setHandler(new Answer());
        server.start();
        port = connector.getLocalPort();
    }

    @Override
    public void phase(int number) throws Exception {
        int first = 0;
        if (number == 1 || slow) {
            first = peer.tell("connect", port, CONNECTIONS, 0, 32 << 10);
        }
        peer.tell("get", first, first + CONNECTIONS, slow ? 0 : 1);
        answered.await(number * CONNECTIONS);
        if (slow) {
            List<Conn> all;
            synchronized (conns) {
                all = new ArrayList<Conn>(conns.values());
            }
            Kernel.await(all, Kernel.STUCK, "stuck");
        }
        Quiet.await(new Quiet.Figure() {
            @Override
            public long value() {
                synchronized (books.out) {
                    return books.bytes + books.out.size();
                }
            }
        });
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = slow;
        truth.complete = false; // worker threads have temporary buffers of the JDK's beside
        truth.verdict = slow ? "growing" : "steady";
        synchronized (conns) {
            for (Conn conn : conns.values()) {
                truth.add(conn, 0, 0);
            }
        }
        books.tell(truth);
    }
}
