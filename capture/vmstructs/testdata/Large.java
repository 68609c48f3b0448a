import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;

/**
 * A server's heap for benchmarks: args are how many million small objects it
 * keeps, how many MB of byte arrays, how many connections, each with a session of four direct buffers, how many sessions
 * have been dropped and are still to be collected, and how many direct buffers the application holds.
 */
public final class Large {
    static final class Cell {
        final Object next;
        final Object text;
        int number;

        Cell(Object next, Object text, int number) {
            this.next = next;
            this.text = text;
            this.number = number;
        }
    }

    static final class Session {
        final List<ByteBuffer> pending = new ArrayList<>();
        SocketChannel peer;
    }

    static final List<ByteBuffer> register = new ArrayList<>();
    static Cell[][] cells;
    static byte[][] blocks;

    public static void main(String[] args) throws Exception {
        int millions = Integer.parseInt(args[0]);
        blocks = new byte[Integer.parseInt(args[1])][];
        for (int i = 0; i < blocks.length; i++) {
            blocks[i] = new byte[1 << 20];
            blocks[i][0] = 1;
        }
        cells = new Cell[millions * 100][10_000];
        Cell last = null;
        for (Cell[] row : cells) {
            for (int i = 0; i < row.length; i++) {
                last = row[i] = new Cell(i % 100 == 0 ? null : last, null, i);
            }
        }
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 128);
        Selector selector = Selector.open();
        for (int i = 0; i < Integer.parseInt(args[2]); i++) {
            SocketChannel client = SocketChannel.open(server.getLocalAddress());
            SocketChannel accepted = server.accept();
            Session session = new Session();
            for (int n = 0; n < 4; n++) {
                session.pending.add(ByteBuffer.allocateDirect(1024));
            }
            session.peer = client;
            accepted.configureBlocking(false);
            accepted.register(selector, SelectionKey.OP_READ, session);
        }
        for (int i = 0; i < Integer.parseInt(args[3]); i++) {
            drop();
        }
        for (int i = 0; i < Integer.parseInt(args[4]); i++) {
            register.add(ByteBuffer.allocateDirect(1024));
        }
        System.out.println("ready");
        while (System.in.read() >= 0) {
            // until it ends
        }
        System.out.println(cells.length + blocks.length + selector.keys().size());
    }

    static void drop() {
        Session session = new Session();
        for (int n = 0; n < 4; n++) {
            session.pending.add(ByteBuffer.allocateDirect(1024));
        }
    }
}
