package scenario;

import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.locks.LockSupport;

/**
 * What a process does beside its scenario: it allocates heap memory at a set rate, part of which lives on for a while,
 * and collects garbage at a set rate. Nothing of it is off-heap, so that the books stay as they are.
 */
final class Load {
    private static final int BATCH_BYTES = 64 << 10;
    private static final int SURVIVORS = 1 << 14;

    private static volatile long bytesPerSecond;
    private static volatile long collectionsPerSecond;
    private static volatile long allocated;
    private static long since = System.nanoTime();
    private static long collectionsBefore;
    private static boolean started;

    private Load() {
    }

    private static final class Node {
        final Node next;
        final byte[] payload;

        Node(Node next, byte[] payload) {
            this.next = next;
            this.payload = payload;
        }
    }

    /** Changes the load, and says what it was since the last change. */
    static synchronized String set(long megabytesPerSecond, long collections) {
        if (!started) {
            start("allocator", new Runnable() {
                @Override
                public void run() {
                    allocate();
                }
            });
            start("collector", new Runnable() {
                @Override
                public void run() {
                    collect();
                }
            });
            started = true;
        }
        long now = System.nanoTime();
        long ran = collections();
        String report = "{\"seconds\":" + (now - since) / 1e9 + ",\"allocated_bytes\":" + allocated + ",\"collections\":"
                + (ran - collectionsBefore) + "}";
        since = now;
        collectionsBefore = ran;
        allocated = 0;
        bytesPerSecond = megabytesPerSecond << 20;
        collectionsPerSecond = collections;
        return report;
    }

    private static void start(String name, Runnable body) {
        Thread thread = new Thread(body, name);
        thread.setDaemon(true);
        thread.start();
    }

    private static long collections() {
        long sum = 0;
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            sum += Math.max(0, bean.getCollectionCount());
        }
        return sum;
    }

    /** Allocates small objects in chains; one in sixteen survives until its place is taken. */
    private static void allocate() {
        Object[] survivors = new Object[SURVIVORS];
        int random = 1;
        long due = System.nanoTime();
        for (;;) {
            long rate = bytesPerSecond;
            if (rate == 0) {
                LockSupport.parkNanos(1_000_000);
                due = System.nanoTime();
                continue;
            }
            Node chain = null;
            for (int bytes = 0; bytes < BATCH_BYTES;) {
                random = random * 1_103_515_245 + 12_345;
                int size = 16 + (random >>> 16 & 255);
                chain = new Node(random < 0 ? chain : null, new byte[size]);
                bytes += size + 40; // headers, the node
                if ((random >>> 4 & 15) == 0) {
                    survivors[random >>> 8 & SURVIVORS - 1] = chain;
                }
            }
            allocated += BATCH_BYTES;
            due += BATCH_BYTES * 1_000_000_000L / rate;
            long ahead = due - System.nanoTime();
            if (ahead > 0) {
                LockSupport.parkNanos(ahead);
            } else if (ahead < -1_000_000_000L) {
                due = System.nanoTime(); // it cannot keep up: do not try to make up for it
            }
        }
    }

    private static void collect() {
        for (;;) {
            long rate = collectionsPerSecond;
            if (rate == 0) {
                LockSupport.parkNanos(10_000_000);
                continue;
            }
            long before = System.nanoTime();
            System.gc();
            LockSupport.parkNanos(Math.max(1, 1_000_000_000L / rate - (System.nanoTime() - before)));
        }
    }
}
