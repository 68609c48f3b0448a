import com.sun.management.HotSpotDiagnosticMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Builds a heap of a chosen shape and size and dumps it, so that the bytes the
 * benchmarks read are HotSpot's own.
 *
 * <pre>java -Xmx… HeapGen FILE SHAPE MEGABYTES [BUFFERS]</pre>
 *
 * With {@code -} for FILE it dumps nothing: it says "ready" and keeps the heap until its standard input ends.
 *
 * Shapes: {@code plain} (maps, lists, strings and records, as servers have them,
 * with BUFFERS direct buffers in sessions, maps and thread locals); {@code deep}
 * (the buffers hang below trees, so that millions of objects are their
 * ancestors); {@code array} (one array of references takes up the whole size);
 * {@code chain} (a linked list with a buffer at its far end); {@code buffers}
 * (as many live buffers as the size holds).
 */
public final class HeapGen {
    static final class Order {
        final long id;
        final String customer;
        final List<Line> lines;
        Order previous;
        double total;

        Order(long id, String customer, List<Line> lines, Order previous) {
            this.id = id;
            this.customer = customer;
            this.lines = lines;
            this.previous = previous;
        }
    }

    static final class Line {
        final Integer product;
        final String text;
        final int count;

        Line(int product, String text, int count) {
            this.product = product;
            this.text = text;
            this.count = count;
        }
    }

    static final class Session {
        final List<ByteBuffer> pending = new ArrayList<>();
        final Map<String, Object> attributes = new HashMap<>();
    }

    static final class Tree {
        Tree left;
        Tree right;
        Object payload;
    }

    static final class Link {
        Link next;
        ByteBuffer buffer;
        final long number;

        Link(long number) {
            this.number = number;
        }
    }

    static final Map<String, Object> BY_NAME = new ConcurrentHashMap<>();
    static final Map<Long, Order> ORDERS = new HashMap<>();
    static final TreeMap<Long, Object> SORTED = new TreeMap<>();
    static final List<Object> KEEP = new ArrayList<>();
    static Object root;

    public static void main(String[] args) throws Exception {
        String file = args[0];
        String shape = args[1];
        long bytes = Long.parseLong(args[2]) << 20;
        int buffers = args.length > 3 ? Integer.parseInt(args[3]) : 10_000;
        switch (shape) {
            case "plain" -> {
                Selector selector = sessions(buffers);
                orders(bytes);
                KEEP.add(selector);
            }
            case "deep" -> deep(bytes, buffers);
            case "array" -> array(bytes, buffers);
            case "chain" -> chain(bytes, buffers);
            case "buffers" -> buffers(bytes);
            default -> throw new IllegalArgumentException("shape " + shape);
        }
        if (file.equals("-")) {
            System.out.println("ready");
            while (System.in.read() >= 0) {
                // whoever started it decides
            }
            System.exit(KEEP.size() < 0 ? 1 : 0);
        }
        ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class).dumpHeap(file, false);
        System.out.println("done " + KEEP.size());
        System.exit(0);
    }

    /** Sessions on selection keys, a map by name, and thread locals share the buffers. */
    static Selector sessions(int buffers) throws Exception {
        Selector selector = Selector.open();
        int channels = Math.max(1, Math.min(500, buffers / 10));
        List<Session> sessions = new ArrayList<>();
        for (int i = 0; i < channels; i++) {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            Session session = new Session();
            channel.register(selector, SelectionKey.OP_CONNECT, session);
            sessions.add(session);
        }
        for (int i = 0; i < buffers; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(256 + i % 512);
            if (i % 4 == 0) {
                BY_NAME.put("buffer-" + i, buffer);
            } else {
                sessions.get(i % channels).pending.add(buffer.duplicate());
            }
        }
        return selector;
    }

    /** About 55 bytes of dump an object, a fifth of them in no collection. */
    static void orders(long bytes) {
        Random random = new Random(1);
        Order previous = null;
        long id = 0;
        for (long used = 0; used < bytes; id++) {
            int lines = 1 + random.nextInt(4);
            List<Line> list = new ArrayList<>(lines);
            for (int i = 0; i < lines; i++) {
                list.add(new Line(1000 + random.nextInt(100_000), "product " + random.nextInt(), i));
            }
            Order order = new Order(id, "customer " + random.nextInt(1 << 20), list, previous);
            previous = id % 1000 == 0 ? null : order;
            ORDERS.put(id, order);
            if (id % 16 == 0) {
                SORTED.put(id, order.lines);
            }
            // a list, its array, an order, a string of two objects, a map node and its key
            used += 37 + (25 + 8 * lines) + 65 + 75 + 53 + 33 + lines * (45L + 29 + 75);
        }
    }

    static Tree tree(int depth, ArrayDeque<ByteBuffer> payloads) {
        // Built level by level: no recursion, whatever the depth.
        List<Tree> level = new ArrayList<>();
        Tree top = new Tree();
        level.add(top);
        for (int d = 1; d < depth; d++) {
            List<Tree> below = new ArrayList<>(level.size() * 2);
            for (Tree t : level) {
                t.left = new Tree();
                t.right = new Tree();
                below.add(t.left);
                below.add(t.right);
            }
            level = below;
        }
        for (Tree t : level) {
            t.payload = payloads.peek();
            payloads.addLast(payloads.poll());
        }
        return top;
    }

    static void deep(long bytes, int buffers) {
        ArrayDeque<ByteBuffer> payloads = new ArrayDeque<>();
        for (int i = 0; i < buffers; i++) {
            payloads.add(ByteBuffer.allocateDirect(64));
        }
        List<Tree> trees = new ArrayList<>();
        for (long used = 0; used < bytes; used += 49L << 16) {
            Tree t = tree(16, payloads);
            Tree top = new Tree();
            top.left = t;
            top.payload = trees.isEmpty() ? null : trees.get(trees.size() - 1);
            trees.add(top);
        }
        root = trees.get(trees.size() - 1);
        KEEP.add(payloads);
    }

    static void array(long bytes, int buffers) {
        Object[] all = new Object[(int) Math.min(bytes / 8, Integer.MAX_VALUE - 8)];
        ByteBuffer[] some = new ByteBuffer[buffers];
        for (int i = 0; i < buffers; i++) {
            some[i] = ByteBuffer.allocateDirect(64);
        }
        Object[] small = new Object[1 << 12];
        for (int i = 0; i < small.length; i++) {
            small[i] = new Object[] {i};
        }
        for (int i = 0; i < all.length; i++) {
            all[i] = i % 10_007 == 0 ? some[i / 10_007 % buffers] : small[i % small.length];
        }
        root = all;
    }

    static void chain(long bytes, int buffers) {
        Link first = new Link(0);
        Link last = first;
        long links = bytes / 49;
        for (long i = 1; i < links; i++) {
            last.next = new Link(i);
            last = last.next;
            if (i % (links / Math.max(1, buffers) + 1) == 0) {
                last.buffer = ByteBuffer.allocateDirect(64);
            }
        }
        last.buffer = ByteBuffer.allocateDirect(4096);
        root = first;
    }

    static void buffers(long bytes) {
        // A buffer, its Cleaner, its Deallocator and its place in an array.
        long count = bytes / 340;
        ByteBuffer[] all = new ByteBuffer[(int) count];
        for (int i = 0; i < all.length; i++) {
            all[i] = ByteBuffer.allocateDirect(1);
        }
        root = all;
    }
}
