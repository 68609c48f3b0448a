import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Buffers that two things hold: a register of the application, which knows all of them, and something that refers to a
 * connection beside, a session or an entry of a map. Others only the register holds. Arguments: how many of each, and
 * whether the sessions also have buffers that the register does not know.
 */
public final class Twofold {
    static final class Session {
        SocketChannel channel;
        final List<ByteBuffer> pending = new ArrayList<ByteBuffer>();
    }

    static final List<ByteBuffer> REGISTER = new ArrayList<ByteBuffer>();
    static final Map<String, Session> SESSIONS = new HashMap<String, Session>();
    static final Map<SocketChannel, ByteBuffer> BY_CHANNEL = new HashMap<SocketChannel, ByteBuffer>();

    static ByteBuffer registered(int bytes) {
        ByteBuffer b = ByteBuffer.allocateDirect(bytes);
        REGISTER.add(b);
        return b;
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        boolean alone = Boolean.parseBoolean(args[1]);
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 2 * count);
        for (int i = 0; i < count; i++) {
            Session session = new Session();
            session.channel = SocketChannel.open(server.getLocalAddress());
            session.pending.add(registered(1000 + i));
            if (alone) {
                session.pending.add(ByteBuffer.allocateDirect(2000 + i));
            }
            SESSIONS.put("session " + i, session);
            BY_CHANNEL.put(server.accept(), registered(3000 + i));
            registered(4000 + i);
        }
        System.out.println("READY");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        System.out.println(REGISTER.size() + SESSIONS.size() + BY_CHANNEL.size());
    }
}
