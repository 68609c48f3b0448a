package scenario;

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/**
 * A Tomcat server with direct socket buffers, a pair for each connection. Its idle connections have been answered and
 * wait for a next request; its slow readers do not read the response.
 */
final class TomcatServer implements Scenario {
    private static final int CONNECTIONS = 10;
    private static final int READ_BUFFER_BYTES = 8 << 10;
    private static final int WRITE_BUFFER_BYTES = 128 << 10;
    private static final int RESPONSE_BYTES = 2 << 20;

    private final boolean slow;
    private final Peer peer = Peer.start(SocketPeer.class);
    private final Progress answered = new Progress();
    private final Map<Integer, Conn> conns = new LinkedHashMap<>();
    private final int port;

    private final class Answer extends HttpServlet {
        private static final long serialVersionUID = 1;

        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws ServletException, IOException {
            synchronized (conns) {
                conns.computeIfAbsent(request.getRemotePort(),
                        remote -> new Conn(request.getLocalPort(), remote, slow ? "stalled" : "active"));
            }
            answered.step();
            byte[] block = new byte[4 << 10];
            int length = slow ? RESPONSE_BYTES : block.length;
            response.setContentLength(length);
            OutputStream out = response.getOutputStream();
            for (int written = 0; written < length; written += block.length) {
                out.write(block);
            }
        }
    }

    TomcatServer(String name) throws Exception {
        slow = name.equals("tomcat-slow-readers");
        Tomcat tomcat = new Tomcat();
        // Nothing is written there, but Tomcat wants a folder.
        tomcat.setBaseDir(System.getProperty("java.io.tmpdir"));
        Connector connector = new Connector("org.apache.coyote.http11.Http11NioProtocol");
        connector.setPort(0);
        connector.setProperty("address", Peer.host());
        connector.setProperty("keepAliveTimeout", "600000");
        connector.setProperty("connectionTimeout", "600000");
        connector.setProperty("maxKeepAliveRequests", "-1");
        connector.setProperty("socket.directBuffer", "true");
        connector.setProperty("socket.appReadBufSize", String.valueOf(READ_BUFFER_BYTES));
        connector.setProperty("socket.appWriteBufSize", String.valueOf(WRITE_BUFFER_BYTES));
        connector.setProperty("socket.txBufSize", String.valueOf(64 << 10));
        tomcat.setConnector(connector);
        Context context = tomcat.addContext("", new File(System.getProperty("java.io.tmpdir")).getAbsolutePath());
        Tomcat.addServlet(context, "answer", new Answer());
        context.addServletMappingDecoded("/", "answer");
        tomcat.start();
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
                all = new ArrayList<>(conns.values());
            }
            Kernel.await(all, Kernel.STUCK, "stuck");
        }
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = slow;
        truth.complete = false; // worker threads have temporary buffers of the JDK's beside
        truth.verdict = slow ? "growing" : "steady";
        synchronized (conns) {
            for (Conn conn : conns.values()) {
                truth.add(conn, 2, READ_BUFFER_BYTES + WRITE_BUFFER_BYTES);
            }
        }
    }
}
