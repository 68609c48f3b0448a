import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.LockSupport;

/**
 * Connections that hand direct buffers to each other all the time. A buffer is given to its next holder before the
 * last one lets go of it, so that at every moment each is held by one connection or by two. Nothing is allocated for
 * that. Arguments: connections, buffers, nanoseconds between two moves, and who the holders are: connection; beside,
 * something that refers to a connection, and the application knows all buffers too; application, large tables that no
 * connection refers to.
 */
public final class Movers {
    static final class Session {
        final AtomicReferenceArray<ByteBuffer> held;
        SocketChannel channel;

        Session(int places) {
            held = new AtomicReferenceArray<ByteBuffer>(places);
        }
    }

    static Session[] tables;
    static final List<ByteBuffer> REGISTER = new ArrayList<ByteBuffer>();

    public static void main(String[] args) throws Exception {
        int connections = Integer.parseInt(args[0]);
        int buffers = Integer.parseInt(args[1]);
        final long rest = Long.parseLong(args[2]);
        boolean application = args[3].equals("application");
        boolean beside = args[3].equals("beside");
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), connections);
        Selector selector = Selector.open();
        Session[] sessions = new Session[connections];
        SocketChannel[] clients = new SocketChannel[connections];
        for (int i = 0; i < connections; i++) {
            clients[i] = SocketChannel.open(server.getLocalAddress());
            SocketChannel channel = server.accept();
            channel.configureBlocking(false);
            sessions[i] = new Session(application ? 10_000 : buffers);
            channel.register(selector, SelectionKey.OP_READ, application || beside ? null : sessions[i]);
            sessions[i].channel = beside ? channel : null;
        }
        if (application || beside) {
            tables = sessions;
        }
        final int[] holder = new int[buffers];
        for (int i = 0; i < buffers; i++) {
            holder[i] = i % connections;
            sessions[holder[i]].held.set(i, ByteBuffer.allocateDirect(4096));
            if (beside) {
                REGISTER.add(sessions[holder[i]].held.get(i));
            }
        }
        final Session[] all = sessions;
        sessions = null;
        Thread mover = new Thread("mover") {
            @Override
            public void run() {
                move(all, holder, rest);
            }
        };
        mover.setDaemon(true);
        mover.start();
        System.out.println("READY");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        System.out.println(selector.keys().size() + clients.length); // still there
    }

    static void move(Session[] sessions, int[] holder, long rest) {
        int random = 1;
        for (;;) {
            random = random * 1_103_515_245 + 12_345;
            int i = (random >>> 8) % holder.length;
            int from = holder[i];
            int to = (random >>> 16) % sessions.length;
            if (from == to) {
                continue;
            }
            sessions[to].held.set(i, sessions[from].held.get(i));
            sessions[from].held.set(i, null);
            holder[i] = to;
            if (rest > 0) {
                LockSupport.parkNanos(rest);
            }
        }
    }
}
