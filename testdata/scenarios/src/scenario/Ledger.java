package scenario;

import io.netty.buffer.AbstractByteBufAllocator;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.PoolArenaMetric;
import io.netty.buffer.PoolChunkListMetric;
import io.netty.buffer.PoolChunkMetric;
import io.netty.buffer.PoolShare;
import io.netty.buffer.PoolSubpageMetric;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.buffer.UnpooledByteBufAllocator;
import io.netty.util.internal.PlatformDependent;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;

/**
 * The books of every direct buffer that Netty allocates in this process: its allocator writes each one down, and the
 * scenario says whose it is. Only weak references are kept, so that the books hold nothing themselves.
 */
final class Ledger {
    private static final class Entry extends WeakReference<ByteBuf> {
        Object owner;

        Entry(ByteBuf buffer) {
            super(buffer);
        }
    }

    /** Owner of what the application holds beside any connection. */
    static final Object APPLICATION = "application";

    private final List<Entry> entries = new ArrayList<Entry>();
    private final boolean pooled;
    private final ByteBufAllocator allocator;
    private long lostCount;
    private long lostBytes;
    /** Owner of buffers that nobody has claimed; null: there must be none. */
    private Object defaultOwner;

    Ledger(boolean pooled) {
        this.pooled = pooled;
        allocator = pooled ? new Pooled() : new Unpooled();
    }

    ByteBufAllocator allocator() {
        return allocator;
    }

    private final class Pooled extends PooledByteBufAllocator {
        Pooled() {
            super(true);
        }

        @Override
        protected ByteBuf newDirectBuffer(int initialCapacity, int maxCapacity) {
            return written(super.newDirectBuffer(initialCapacity, maxCapacity));
        }
    }

    private final class Unpooled extends AbstractByteBufAllocator {
        Unpooled() {
            super(true);
        }

        @Override
        protected ByteBuf newHeapBuffer(int initialCapacity, int maxCapacity) {
            return UnpooledByteBufAllocator.DEFAULT.heapBuffer(initialCapacity, maxCapacity);
        }

        @Override
        protected ByteBuf newDirectBuffer(int initialCapacity, int maxCapacity) {
            return written(UnpooledByteBufAllocator.DEFAULT.directBuffer(initialCapacity, maxCapacity));
        }

        @Override
        public boolean isDirectBufferPooled() {
            return false;
        }
    }

    private synchronized ByteBuf written(ByteBuf buffer) {
        entries.add(new Entry(root(buffer)));
        return buffer;
    }

    /** The buffer below the wrapper that leak detection puts around one in 128. */
    private static ByteBuf root(ByteBuf buffer) {
        while (buffer.unwrap() != null) {
            buffer = buffer.unwrap();
        }
        return buffer;
    }

    synchronized void defaultOwner(Object owner) {
        defaultOwner = owner;
    }

    /** Says whose a buffer is; the newest entry counts, because pools use their objects again. */
    synchronized void own(ByteBuf buffer, Object owner) {
        entry(buffer).owner = owner;
    }

    /** Gives an owner every live buffer that has none yet. */
    synchronized void claim(Object owner) {
        for (Entry entry : live()) {
            if (entry.owner == null) {
                entry.owner = owner;
            }
        }
    }

    /** Says that the caller drops its last reference to a buffer without releasing it. */
    synchronized void lose(ByteBuf buffer) {
        ByteBuf root = root(buffer);
        lostCount++;
        lostBytes += bytes(root);
        for (int i = entries.size() - 1; i >= 0; i--) {
            if (entries.get(i).get() == root) {
                entries.remove(i); // an older entry too, from before the pool used the object again
            }
        }
    }

    private Entry entry(ByteBuf buffer) {
        ByteBuf root = root(buffer);
        for (int i = entries.size() - 1; i >= 0; i--) {
            if (entries.get(i).get() == root) {
                return entries.get(i);
            }
        }
        throw new IllegalStateException("a buffer that is not in the books: " + buffer);
    }

    /** Native bytes behind a buffer: the pool's share, not the capacity asked for. */
    private long bytes(ByteBuf root) {
        return pooled ? PoolShare.bytes(root) : root.capacity();
    }

    /** The entries whose buffers live, each buffer once. */
    private List<Entry> live() {
        List<Entry> live = new ArrayList<Entry>();
        Set<ByteBuf> seen = Collections.newSetFromMap(new IdentityHashMap<ByteBuf, Boolean>());
        for (int i = entries.size() - 1; i >= 0; i--) {
            ByteBuf buffer = entries.get(i).get();
            if (buffer != null && seen.add(buffer) && buffer.refCnt() > 0) {
                live.add(entries.get(i));
            }
        }
        entries.clear();
        Collections.reverse(live);
        entries.addAll(live);
        return live;
    }

    synchronized long liveBytes() {
        long sum = 0;
        for (Entry entry : live()) {
            ByteBuf buffer = entry.get();
            sum += buffer == null ? 0 : bytes(buffer);
        }
        return sum;
    }

    /** Waits until no buffer has been allocated or released for a while. */
    void awaitQuiet() throws InterruptedException {
        Quiet.await(new Quiet.Figure() {
            @Override
            public long value() {
                return liveBytes();
            }
        });
    }

    /** Books every live buffer, what was lost, and what the pool has besides. */
    synchronized void tell(Truth truth) {
        long live = 0;
        for (Entry entry : live()) {
            ByteBuf buffer = entry.get();
            if (buffer == null) {
                continue;
            }
            long bytes = bytes(buffer);
            live += bytes;
            Object owner = entry.owner != null ? entry.owner : defaultOwner;
            if (owner instanceof Conn) {
                truth.add((Conn) owner, 1, bytes);
            } else if (owner == APPLICATION) {
                truth.add("application", 1, bytes);
            } else {
                throw new IllegalStateException("nobody owns " + buffer);
            }
        }
        if (lostCount > 0) {
            truth.add("lost", lostCount, lostBytes);
        }
        long used = PlatformDependent.usedDirectMemory();
        truth.counter("netty_used_direct_bytes", used < 0 ? null : Long.valueOf(used));
        if (pooled) {
            pool(truth, live);
        }
    }

    private void pool(Truth truth, long live) {
        long chunks = 0;
        long free = 0;
        for (PoolArenaMetric arena : ((PooledByteBufAllocator) allocator).metric().directArenas()) {
            for (PoolChunkListMetric list : arena.chunkLists()) {
                for (PoolChunkMetric chunk : list) {
                    chunks += chunk.chunkSize();
                    free += chunk.freeBytes();
                }
            }
            for (PoolSubpageMetric page : arena.tinySubpages()) {
                free += (long) page.numAvailable() * page.elementSize();
            }
            for (PoolSubpageMetric page : arena.smallSubpages()) {
                free += (long) page.numAvailable() * page.elementSize();
            }
        }
        // What is used, but neither live nor lost, waits in a thread's cache for its next use.
        truth.add("pool-free", 0, free);
        truth.add("thread-cache", 0, chunks - free - live - lostBytes);
        truth.counter("pool_chunk_bytes", chunks);
        truth.counter("pool_free_bytes", free);
    }
}
