package scenario;

import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Collection;

/**
 * The kernel's rows of the program's own connections, from /proc/self/net/tcp and tcp6. Streams rather than channels
 * read them: a channel would leave a temporary direct buffer in this thread's cache.
 */
final class Kernel {
    static final int ESTABLISHED = 1;
    static final int CLOSE_WAIT = 8;
    static final int TIMER_PERSIST = 4;

    private Kernel() {
    }

    static final class Row {
        int state;
        long sendQueue;
        long receiveQueue;
        int timer;
        int retransmits;
    }

    /** What a connection is waited to become. */
    interface Wish {
        boolean fulfilled(Row row);
    }

    static Wish inState(final int state) {
        return new Wish() {
            @Override
            public boolean fulfilled(Row row) {
                return row != null && row.state == state;
            }
        };
    }

    /** The peer takes nothing: its window is closed and bytes wait. */
    static final Wish STUCK = new Wish() {
        @Override
        public boolean fulfilled(Row row) {
            return row != null && row.sendQueue > 0 && row.timer == TIMER_PERSIST;
        }
    };

    static final Wish GONE = new Wish() {
        @Override
        public boolean fulfilled(Row row) {
            return row == null;
        }
    };

    /** Waits until every connection is as wished; fails after half a minute, naming one that is not. */
    static void await(Collection<Conn> conns, Wish wish, String what) throws IOException, InterruptedException {
        long end = System.nanoTime() + 60L * 1000 * 1000 * 1000;
        for (;;) {
            Conn wrong = null;
            java.util.Map<Long, Row> rows = rows();
            for (Conn conn : conns) {
                if (!wish.fulfilled(rows.get(key(conn.localPort, conn.remotePort)))) {
                    wrong = conn;
                    break;
                }
            }
            if (wrong == null) {
                return;
            }
            if (System.nanoTime() > end) {
                throw new IOException("connection " + wrong.localPort + " -> " + wrong.remotePort + " is not " + what);
            }
            Thread.sleep(20);
        }
    }

    private static long key(int local, int remote) {
        return (long) local << 32 | remote;
    }

    private static java.util.Map<Long, Row> rows() throws IOException {
        java.util.Map<Long, Row> rows = new java.util.HashMap<Long, Row>();
        for (String table : new String[] {"tcp", "tcp6"}) {
            BufferedReader in = new BufferedReader(new InputStreamReader(
                    new FileInputStream("/proc/self/net/" + table), "US-ASCII"));
            try {
                in.readLine();
                for (String line; (line = in.readLine()) != null;) {
                    String[] f = line.trim().split("[ ]+");
                    // An inode of 0 belongs to no process: the peer of a test on one machine has rows of its own,
                    // with the ports the other way round.
                    if (f.length < 10 || f[9].equals("0")) {
                        continue;
                    }
                    Row row = new Row();
                    row.state = Integer.parseInt(f[3], 16);
                    String[] queues = f[4].split(":");
                    row.sendQueue = Long.parseLong(queues[0], 16);
                    row.receiveQueue = Long.parseLong(queues[1], 16);
                    row.timer = Integer.parseInt(f[5].split(":")[0], 16);
                    row.retransmits = Integer.parseInt(f[6], 16);
                    rows.put(key(port(f[1]), port(f[2])), row);
                }
            } finally {
                in.close();
            }
        }
        return rows;
    }

    private static int port(String address) {
        return Integer.parseInt(address.substring(address.indexOf(':') + 1), 16);
    }
}
