import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A server whose old objects change all the time: it makes new ones, which are promoted, and drops as many, which are
 * reclaimed. What it holds off the heap stays the same, but the objects that hold it lie among the others and move with
 * them. Classes are loaded and unloaded on the way. Some of it two things hold: a table of the application, and something beside a connection, which a few clients
 * close and open anew, to 127.0.0.2. Arguments: megabytes of old objects, megabytes a second of new ones, megabytes a
 * second that die young, milliseconds between two new connections (0: none), and of how many pieces of 64 KiB one has an
 * object of a class of its own.
 */
public final class Churner {
    static final class Session {
        final List<ByteBuffer> pending = new ArrayList<ByteBuffer>();
    }

    public static final class Stranger {
        long number = 0x5eed;
        Object self = this;
    }

    static final class Client {
        SocketChannel channel;
        final ByteBuffer buffer;

        Client(ByteBuffer buffer) {
            this.buffer = buffer;
        }
    }

    static final class Node {
        final Node next;
        final Object payload;
        long number;

        Node(Node next, Object payload, long number) {
            this.next = next;
            this.payload = payload;
            this.number = number;
        }
    }

    static final int CHUNK = 64 << 10;
    static final Map<String, ByteBuffer> KEPT = new HashMap<String, ByteBuffer>();
    static final Map<SocketChannel, ByteBuffer> BY_CHANNEL = new HashMap<SocketChannel, ByteBuffer>();
    static final List<Object> REGISTER = new ArrayList<Object>();
    static final Client[] CLIENTS = new Client[10];
    static ServerSocketChannel other;
    static Node[] ring;
    static Selector selector;
    static int strange;
    static long random = 42;
    static long number;
    static volatile Object young;

    static int next(int bound) {
        random = random * 6364136223846793005L + 1442695040888963407L;
        return (int) ((random >>> 33) % bound);
    }

    /** An object of a class of its own, which is unloaded some time after the object is dropped. */
    static Object stranger() {
        try {
            URL[] here = {new File(System.getProperty("java.class.path")).toURI().toURL()};
            return new URLClassLoader(here, null).loadClass("Churner$Stranger").getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException | MalformedURLException e) {
            throw new IllegalStateException(e);
        }
    }

    /** About as many bytes as CHUNK, of all that a scan looks for and that is no allocation, and of what it does not. */
    static Node chunk(ByteBuffer of) {
        Node last = next(strange) == 0 ? new Node(null, stranger(), number) : null;
        for (int size = 0; size < CHUNK; ) {
            Object payload;
            int kind = next(1024);
            if (kind == 0) {
                payload = of.duplicate();
                size += 64;
            } else if (kind == 1) {
                payload = new AtomicLong(number);
                size += 24;
            } else if (kind == 2) {
                payload = new InetSocketAddress("localhost".length() + next(1000));
                size += 64;
            } else {
                byte[] bytes = new byte[next(200)];
                for (int i = 0; i < bytes.length; i += 8) {
                    bytes[i] = (byte) next(256);
                }
                payload = bytes;
                size += 16 + bytes.length;
            }
            last = new Node(last, payload, number++);
            size += 32;
        }
        return last;
    }

    public static void main(String[] args) throws Exception {
        strange = Integer.parseInt(args[4]);
        ring = new Node[(Integer.parseInt(args[0]) << 20) / CHUNK];
        long perSecond = Long.parseLong(args[1]) << 20;
        long dying = Long.parseLong(args[2]) << 20;
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 200);
        selector = Selector.open();
        ByteBuffer shared = ByteBuffer.allocateDirect(12_345);
        KEPT.put("shared", shared);
        SocketChannel[] clients = new SocketChannel[100];
        // What is held is made while the ring is filled, and lies all over it.
        for (int i = 0; i < ring.length; i++) {
            ring[i] = chunk(shared);
            if (i % 16 == 0) {
                KEPT.put("kept " + i, ByteBuffer.allocateDirect(1000 + i % 997));
            }
            int step = Math.max(ring.length / clients.length, 1);
            if (i % step == 0 && i / step < clients.length) {
                SocketChannel client = SocketChannel.open(server.getLocalAddress());
                SocketChannel accepted = server.accept();
                accepted.configureBlocking(false);
                Session session = new Session();
                for (int n = 0; n < 4; n++) {
                    session.pending.add(ByteBuffer.allocateDirect(2000 + i % 991));
                    ring[next(i + 1)] = chunk(shared);
                }
                accepted.register(selector, SelectionKey.OP_READ, session);
                clients[i / step] = client;
                Client holder = new Client(ByteBuffer.allocateDirect(6000 + i % 991));
                holder.channel = client;
                REGISTER.add(holder);
                KEPT.put("client " + i, holder.buffer);
                if (i / step % 10 == 0) {
                    BY_CHANNEL.put(client, ByteBuffer.allocateDirect(7000));
                    client.close();
                }
            }
        }
        other = ServerSocketChannel.open();
        other.bind(new InetSocketAddress("127.0.0.2", 0), 200);
        for (int i = 0; i < CLIENTS.length; i++) {
            CLIENTS[i] = new Client(ByteBuffer.allocateDirect(5000 + i));
            KEPT.put("reconnecting " + i, CLIENTS[i].buffer);
            connect(CLIENTS[i]);
        }
        final long pause = Long.parseLong(args[3]);
        Thread reconnect = new Thread("reconnect") {
            @Override
            public void run() {
                try {
                    for (int i = 0; pause > 0; i = (i + 1) % CLIENTS.length) {
                        connect(CLIENTS[i]);
                        Thread.sleep(pause);
                    }
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            }
        };
        reconnect.setDaemon(true);
        reconnect.start();
        Thread churn = new Thread("churn") {
            @Override
            public void run() {
                churn(perSecond, dying, KEPT.get("shared"));
            }
        };
        churn.setDaemon(true);
        churn.start();
        Thread.sleep(1000);
        System.out.println("READY");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        System.out.println(selector.keys().size() + clients.length); // still there
    }

    static void connect(Client client) throws Exception {
        SocketChannel before = client.channel;
        client.channel = SocketChannel.open(other.getLocalAddress());
        other.accept().close();
        if (before != null) {
            before.close();
        }
    }

    static void churn(long perSecond, long dying, ByteBuffer shared) {
        long start = System.nanoTime();
        long made = 0;
        long died = 0;
        for (;;) {
            double seconds = (System.nanoTime() - start) / 1e9;
            boolean idle = true;
            if (made < perSecond * seconds) {
                ring[next(ring.length)] = chunk(shared);
                made += CHUNK;
                idle = false;
                Node touched = ring[next(ring.length)]; // and some old ones are written to
                touched.number++;
            }
            for (int i = 0; i < 16 && died < dying * seconds; i++) {
                young = new byte[4000];
                died += 4016;
                idle = false;
            }
            if (idle) {
                try {
                    Thread.sleep(1);
                } catch (InterruptedException e) {
                    return;
                }
            }
        }
    }
}
