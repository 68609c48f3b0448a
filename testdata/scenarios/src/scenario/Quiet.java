package scenario;

/** Waits until a figure has not moved for a while. */
final class Quiet {
    interface Figure {
        long value();
    }

    private Quiet() {
    }

    static void await(Figure figure) throws InterruptedException {
        long end = System.nanoTime() + 60L * 1000 * 1000 * 1000;
        long before = Long.MIN_VALUE;
        for (int same = 0; same < 10;) {
            Thread.sleep(30);
            long now = figure.value();
            same = now == before ? same + 1 : 0;
            before = now;
            if (System.nanoTime() > end) {
                throw new IllegalStateException("still moving after a minute");
            }
        }
    }
}
