import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Keeps direct buffers and a heap of the size given in MiB, says READY, and waits for the end of its input. */
public final class Target {
    static final List<Object> KEPT = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        int mebibytes = Integer.parseInt(args[0]);
        for (int i = 0; i < 100; i++) {
            KEPT.add(ByteBuffer.allocateDirect(4096));
        }
        for (int i = 0; i < mebibytes * 8; i++) {
            Object[] row = new Object[64];
            for (int j = 0; j < row.length; j++) {
                row[j] = new long[240];
            }
            if (i % 8 == 0) {
                row = new Object[] {new byte[1 << 20]};
            }
            if (i % 8 == 0) {
                KEPT.add(row);
            }
        }
        System.out.println("READY");
        long worst = 0;
        Thread ticker = new Thread(() -> {
            try {
                while (true) {
                    Thread.sleep(20);
                    System.out.println("TICK " + System.nanoTime());
                }
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
        });
        ticker.setDaemon(true);
        ticker.start();
        while (System.in.read() >= 0) {
            worst++;
        }
    }
}
