import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;

/**
 * Holds off-heap memory in every way that a reading must tell apart, says
 * "ready", and does nothing until its standard input ends.
 */
public final class Owners {
    static final List<ByteBuffer> KEPT = new ArrayList<>();
    static final Map<SocketChannel, ByteBuffer> BY_CHANNEL = new HashMap<>();
    static Selector selector;

    static final class Session {
        final List<ByteBuffer> pending = new ArrayList<>();
    }

    public static void main(String[] args) throws Exception {
        List<byte[]> ballast = new ArrayList<>();
        int megabytes = Integer.getInteger("megabytes", 8);
        for (int i = 0; i < megabytes * 1024; i++) {
            ballast.add(new byte[1000]);
        }
        for (int i = 0; i < 100; i++) {
            KEPT.add(ByteBuffer.allocateDirect(1000));
        }
        System.gc(); // some of it is old now
        for (int i = 0; i < 20; i++) {
            KEPT.add(ByteBuffer.allocateDirect(1000));
        }

        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        selector = Selector.open();
        for (int i = 0; i < 10; i++) {
            SocketChannel client = SocketChannel.open(server.getLocalAddress());
            SocketChannel accepted = server.accept();
            Session session = new Session();
            for (int n = 0; n < 5; n++) {
                session.pending.add(ByteBuffer.allocateDirect(5000));
            }
            accepted.configureBlocking(false);
            accepted.register(selector, SelectionKey.OP_READ, session);
            if (i < 3) {
                BY_CHANNEL.put(client, ByteBuffer.allocateDirect(7000));
                client.close();
            } else {
                client.configureBlocking(false);
                client.register(selector, 0);
            }
        }

        Thread holder = new Thread(() -> {
            ByteBuffer local = ByteBuffer.allocateDirect(3000);
            while (true) {
                LockSupport.park();
                local.put(0, (byte) 1);
            }
        }, "holder");
        holder.setDaemon(true);
        holder.start();

        Thread writer = new Thread(() -> {
            try (FileChannel out = FileChannel.open(Paths.get("/dev/null"), StandardOpenOption.WRITE)) {
                out.write(ByteBuffer.wrap(new byte[9000]));
                LockSupport.park();
            } catch (java.io.IOException e) {
                throw new java.io.UncheckedIOException(e);
            }
        }, "writer");
        writer.setDaemon(true);
        writer.start();

        drop();
        Thread.sleep(300);
        System.out.println("ready");
        while (System.in.read() >= 0) {
            // until it ends
        }
        System.out.println(ballast.size() + server.toString());
    }

    static void drop() {
        for (int i = 0; i < 50; i++) {
            ByteBuffer.allocateDirect(2000);
        }
        clear(32);
    }

    /** Overwrites the part of the stack that drop used. */
    static long clear(int depth) {
        long a = depth, b = a * 3, c = b * 5, d = c * 7;
        return depth == 0 ? a : clear(depth - 1) + b + c + d;
    }
}
