import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/**
 * Objects that native code alone holds, by JNI global references: direct buffers, and sessions that lead to a buffer and
 * to its connection. As many buffers have been let go again, and are garbage. Argument: how many of each.
 */
public final class Native {
    static final class Session {
        SocketChannel channel;
        ByteBuffer pending;
    }

    static native long hold(Object o);

    static native void release(long reference);

    public static void main(String[] args) throws Exception {
        // The class path is of the root that this runs in.
        System.load(new File(System.getProperty("java.class.path"), "libnative.so").getAbsolutePath());
        final int count = Integer.parseInt(args[0]);
        Thread maker = new Thread("maker") { // its stack is gone with it, and what words on it led to
            @Override
            public void run() {
                try {
                    make(count);
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            }
        };
        maker.start();
        maker.join();
        System.out.println("READY");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
    }

    static void make(int count) throws Exception {
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), count);
        hold(server);
        for (int i = 0; i < count; i++) {
            hold(ByteBuffer.allocateDirect(1000 + i));
            Session session = new Session();
            session.channel = SocketChannel.open(server.getLocalAddress());
            session.pending = ByteBuffer.allocateDirect(2000 + i);
            hold(session);
            release(hold(ByteBuffer.allocateDirect(3000 + i)));
        }
    }
}
