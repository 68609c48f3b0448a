package scenario;

/** Counts what event loops have done, for the main thread to wait on. */
final class Progress {
    private int done;

    synchronized void step() {
        done++;
        notifyAll();
    }

    synchronized void await(int count) throws InterruptedException {
        long end = System.currentTimeMillis() + 60_000;
        while (done < count) {
            long left = end - System.currentTimeMillis();
            if (left <= 0) {
                throw new IllegalStateException("only " + done + " of " + count + " steps after a minute");
            }
            wait(left);
        }
    }
}
