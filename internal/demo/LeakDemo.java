import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.FutureTask;

/**
 * A small feed server that forgets what it owes to connections, in the three ways servers do. Its clients run in
 * another process, so that this one holds the memory of a server alone.
 *
 * <p>A client's first byte says what it wants, and is answered with one byte:
 *
 * <ul>
 *   <li>R, a replay: it is queued at once. When the client hangs up, the server stops listening to it and forgets to
 *       close it: the socket stays in CLOSE_WAIT and keeps the replay.
 *   <li>L, a last look: likewise, but the server closes the socket, and forgets the session in its directory.
 *   <li>F, the feed: messages are queued until the client acknowledges them, without a limit. Some never read.
 *   <li>W, wait: nothing but its input buffer.
 *   <li>E, echo: what comes in goes out, through the same buffer. This one is healthy.
 * </ul>
 *
 * <p>On standard input, "next" publishes to the feed, waits until every replay and last look has ended, and prints
 * what the sessions hold by state. The end of standard input ends the program.
 */
final class LeakDemo {
    private static final int BUFFER = 64 << 10;
    private static final int INPUT = 16 << 10;
    private static final int REPLAY = 8; // buffers
    private static final int LAST_LOOK = 4;
    private static final int PUBLISHED = 16;
    private static final int SEND_BUFFER = 32 << 10; // of the kernel: a client that does not read shows soon

    private static final class Session {
        final SelectionKey key;
        final SocketChannel channel;
        final ByteBuffer input = ByteBuffer.allocateDirect(INPUT);
        final Queue<ByteBuffer> unacknowledged = new ArrayDeque<>();
        int sent; // of the unacknowledged, whole ones
        char wants;
        boolean ended;

        Session(SelectionKey key, SocketChannel channel) {
            this.key = key;
            this.channel = channel;
        }

        void queue(int buffers) {
            for (int i = 0; i < buffers; i++) {
                ByteBuffer message = ByteBuffer.allocateDirect(BUFFER);
                while (message.remaining() >= Long.BYTES) {
                    message.putLong(message.position());
                }
                message.flip();
                unacknowledged.add(message);
            }
        }

        void send() throws Exception {
            int n = 0;
            for (ByteBuffer message : unacknowledged) {
                if (n++ < sent) {
                    continue;
                }
                channel.write(message);
                if (message.hasRemaining()) {
                    key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
                    return;
                }
                sent++;
            }
            key.interestOps(SelectionKey.OP_READ);
        }

        String state() {
            switch (wants) {
                case 'R': return "peer-closed";
                case 'L': return "closed";
                case 'F': return "stalled";
                case 'W': return "idle";
                default: return "active";
            }
        }

        long bytes() {
            long sum = input.capacity();
            for (ByteBuffer message : unacknowledged) {
                sum += message.capacity();
            }
            return sum;
        }
    }

    private final Map<Integer, Session> directory = new LinkedHashMap<>(); // every session, by number; never shrinks
    private final Queue<Runnable> tasks = new ConcurrentLinkedQueue<>(); // for the selector's thread
    private final ServerSocketChannel server = ServerSocketChannel.open();
    private final Selector selector = Selector.open();

    private LeakDemo() throws Exception {
        server.bind(new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), 0), 512);
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
    }

    private void serve() {
        try {
            for (;;) {
                selector.select();
                for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) {
                    task.run();
                }
                for (Iterator<SelectionKey> i = selector.selectedKeys().iterator(); i.hasNext();) {
                    SelectionKey key = i.next();
                    i.remove();
                    if (!key.isValid()) {
                        continue;
                    }
                    if (key.isAcceptable()) {
                        accept();
                        continue;
                    }
                    Session session = (Session) key.attachment();
                    if (key.isReadable()) {
                        read(session);
                    }
                    if (key.isValid() && key.isWritable()) {
                        session.send();
                    }
                }
            }
        } catch (Exception e) {
            e.printStackTrace();
            System.exit(1);
        }
    }

    private void accept() throws Exception {
        SocketChannel channel = server.accept();
        if (channel == null) {
            return;
        }
        channel.configureBlocking(false);
        channel.setOption(StandardSocketOptions.SO_SNDBUF, SEND_BUFFER);
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        SelectionKey key = channel.register(selector, SelectionKey.OP_READ);
        Session session = new Session(key, channel);
        key.attach(session);
        directory.put(directory.size() + 1, session);
    }

    private void read(Session session) throws Exception {
        ByteBuffer input = session.input;
        input.clear();
        if (session.channel.read(input) < 0) {
            end(session);
            return;
        }
        input.flip();
        if (session.wants == 0 && input.hasRemaining()) {
            session.wants = (char) input.get(0);
            if (session.wants == 'R') {
                session.queue(REPLAY); // sent when the client asks for it, which it never does
            } else if (session.wants == 'L') {
                session.queue(LAST_LOOK);
            }
        }
        while (input.hasRemaining() && session.channel.write(input) > 0) {
            // a healthy client takes its few bytes at once
        }
    }

    private void end(Session session) throws Exception {
        if (session.wants == 'L' || session.wants == 'E') {
            session.channel.close(); // the next select takes the key out and closes the socket
        } else {
            session.key.interestOps(0);
        }
        session.ended = true;
    }

    private boolean publish() {
        try {
            for (Session session : directory.values()) {
                if (session.wants == 'F' && !session.ended) {
                    session.queue(PUBLISHED);
                    session.send();
                }
            }
            return true;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private boolean settled() {
        for (Session session : directory.values()) {
            boolean leaves = session.wants == 'R' || session.wants == 'L';
            if (session.wants == 0 || leaves && !session.ended) {
                return false;
            }
        }
        return true;
    }

    private String truth() {
        Map<String, long[]> rows = new TreeMap<>();
        for (Session session : directory.values()) {
            long[] row = rows.computeIfAbsent(session.state(), state -> new long[2]);
            row[0]++;
            row[1] += session.bytes();
        }
        StringBuilder text = new StringBuilder();
        for (Map.Entry<String, long[]> row : rows.entrySet()) {
            text.append("STATE ").append(row.getKey()).append(' ').append(row.getValue()[0]);
            text.append(' ').append(row.getValue()[1]).append('\n');
        }
        return text.toString();
    }

    /** Runs a task on the selector's thread, which alone touches the sessions. */
    private <T> T ask(Callable<T> question) throws Exception {
        FutureTask<T> task = new FutureTask<>(question);
        tasks.add(task);
        selector.wakeup();
        return task.get();
    }

    public static void main(String[] args) throws Exception {
        LeakDemo demo = new LeakDemo();
        Thread loop = new Thread(demo::serve, "feed-server");
        loop.setDaemon(true);
        loop.start();
        System.out.println("READY " + ((InetSocketAddress) demo.server.getLocalAddress()).getPort());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        int phase = 0;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            if (!line.equals("next")) {
                System.err.println("not understood: " + line);
                System.exit(2);
            }
            demo.ask(demo::publish);
            while (!demo.ask(demo::settled)) {
                Thread.sleep(5);
            }
            System.out.print(demo.ask(demo::truth));
            System.out.println("PHASE " + ++phase);
        }
        System.exit(0);
    }
}
