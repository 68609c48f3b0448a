package scenario;

import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;

/** Direct buffers that were dropped and wait for a collection of the heap to run their cleaners: not a leak. */
final class PendingCollection implements Scenario {
    private static final int BUFFERS = 24;

    private long buffers;
    private long bytes;

    PendingCollection(String name) {
    }

    @Override
    public void phase(int number) {
        for (int i = 0; i < BUFFERS; i++) {
            drop((1 + i % 2) << 19);
        }
        for (GarbageCollectorMXBean gc : ManagementFactory.getGarbageCollectorMXBeans()) {
            if (gc.getCollectionCount() > 0) {
                throw new IllegalStateException("a collection has run; give the program a larger heap");
            }
        }
    }

    private void drop(int size) {
        ByteBuffer.allocateDirect(size).put(0, (byte) 1);
        buffers++;
        bytes += size;
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = false;
        truth.verdict = "steady";
        truth.add("unreachable", buffers, bytes);
    }
}
