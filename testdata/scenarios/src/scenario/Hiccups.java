package scenario;

import java.util.concurrent.locks.LockSupport;

/**
 * A thread that measures its own hiccups: it rests for a millisecond at a time, and by how much it comes late is the
 * time in which nothing ran in this process. It allocates nothing.
 */
final class Hiccups {
    private static final long REST_NANOS = 1_000_000;
    private static final int PER_OCTAVE = 16;
    /** Counts of lateness in microseconds, sixteen to an octave. */
    private static final long[] BUCKETS = new long[40 * PER_OCTAVE];
    private static long worst;
    private static boolean started;

    private Hiccups() {
    }

    /** The distribution since the last call, which the first one starts. */
    static String report() {
        if (!started) {
            started = true;
            Thread meter = new Thread("hiccups") {
                @Override
                public void run() {
                    measure();
                }
            };
            meter.setDaemon(true);
            meter.setPriority(Thread.MAX_PRIORITY);
            meter.start();
        }
        long[] counts = new long[BUCKETS.length];
        long max;
        synchronized (BUCKETS) {
            System.arraycopy(BUCKETS, 0, counts, 0, counts.length);
            java.util.Arrays.fill(BUCKETS, 0);
            max = worst;
            worst = 0;
        }
        long total = 0;
        for (long count : counts) {
            total += count;
        }
        return "{\"samples\":" + total + ",\"p50_micros\":" + quantile(counts, total, 0.5) + ",\"p90_micros\":"
                + quantile(counts, total, 0.9) + ",\"p99_micros\":" + quantile(counts, total, 0.99) + ",\"p999_micros\":"
                + quantile(counts, total, 0.999) + ",\"max_micros\":" + max / 1000 + "}";
    }

    private static void measure() {
        long last = System.nanoTime();
        for (;;) {
            LockSupport.parkNanos(REST_NANOS);
            long now = System.nanoTime();
            long late = Math.max(0, now - last - REST_NANOS);
            last = now;
            synchronized (BUCKETS) {
                BUCKETS[bucket(late / 1000)]++;
                worst = Math.max(worst, late);
            }
        }
    }

    private static int bucket(long micros) {
        if (micros < PER_OCTAVE) {
            return (int) micros;
        }
        int octave = 63 - Long.numberOfLeadingZeros(micros);
        return Math.min(BUCKETS.length - 1, (octave - 3) * PER_OCTAVE + (int) (micros >> octave - 4 & PER_OCTAVE - 1));
    }

    /** The least value of a bucket. */
    private static long micros(int bucket) {
        if (bucket < PER_OCTAVE) {
            return bucket;
        }
        int octave = bucket / PER_OCTAVE + 3;
        return 1L << octave | (long) (bucket % PER_OCTAVE) << octave - 4;
    }

    private static long quantile(long[] counts, long total, double q) {
        long left = (long) Math.ceil(total * q);
        for (int i = 0; i < counts.length; i++) {
            left -= counts[i];
            if (left <= 0) {
                return micros(i);
            }
        }
        return 0;
    }
}
