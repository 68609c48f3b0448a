package scenario;

import java.io.FileOutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.concurrent.CountDownLatch;

/**
 * Threads that write a large heap buffer to a channel once: the JDK copies it into a temporary direct buffer, which
 * it keeps for the thread as long as the thread lives.
 */
final class ThreadLocalBuffers implements Scenario {
    private static final int THREADS = 12;

    private long threads;
    private long bytes;

    ThreadLocalBuffers(String name) {
    }

    @Override
    public void phase(int number) throws Exception {
        final CountDownLatch written = new CountDownLatch(THREADS);
        for (int i = 0; i < THREADS; i++) {
            final int size = (1 + i % 3) << 20;
            Thread thread = new Thread("writer-" + number + "-" + i) {
                @Override
                public void run() {
                    try {
                        write(size);
                        written.countDown();
                        new CountDownLatch(1).await();
                    } catch (Exception e) {
                        e.printStackTrace();
                    }
                }
            };
            thread.setDaemon(true);
            thread.start();
            threads++;
            bytes += size;
        }
        written.await();
    }

    private static void write(int size) throws Exception {
        FileChannel channel = new FileOutputStream("/dev/null").getChannel();
        try {
            channel.write(ByteBuffer.allocate(size));
        } finally {
            channel.close();
        }
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = true;
        truth.verdict = "growing";
        truth.add("thread-cache", threads, bytes);
        String version = System.getProperty("java.specification.version");
        if (!version.startsWith("1.") && Integer.parseInt(version) >= 24) {
            truth.counter("hidden_bytes", bytes); // the JDK counts temporary buffers no longer
        }
    }
}
