import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.CountDownLatch;

/**
 * Virtual threads, each of which serves a connection from a buffer that only its own frame refers to, some calls deep.
 * Arguments: how many, and milliseconds between two messages to each of them (0: none).
 */
public final class Virtual {
    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        int pause = Integer.parseInt(args[1]);
        Method start = Thread.class.getMethod("startVirtualThread", Runnable.class); // 21 on
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), count);
        SocketChannel[] clients = new SocketChannel[count];
        CountDownLatch ready = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            clients[i] = SocketChannel.open(server.getLocalAddress());
            SocketChannel channel = server.accept();
            int n = i;
            start.invoke(null, (Runnable) () -> serve(channel, n, ready));
        }
        ready.await();
        Thread.sleep(300);
        Thread talk = new Thread("talk") {
            @Override
            public void run() {
                talk(clients, pause);
            }
        };
        talk.setDaemon(true);
        if (pause > 0) {
            talk.start();
        } else {
            System.gc(); // what is in the heap of stacks looks different after one
        }
        System.out.println("READY");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        System.out.println(clients.length);
    }

    static void serve(SocketChannel channel, int n, CountDownLatch ready) {
        ByteBuffer own = ByteBuffer.allocateDirect(1000 + n);
        ready.countDown();
        deeper(channel, own, n % 50);
        own.clear();
    }

    static int deeper(SocketChannel channel, ByteBuffer own, int depth) {
        if (depth > 0) {
            return deeper(channel, own, depth - 1) + depth;
        }
        try {
            while (channel.read(own) >= 0) {
                own.clear();
            }
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        return own.capacity();
    }

    static void talk(SocketChannel[] clients, int pause) {
        ByteBuffer message = ByteBuffer.allocateDirect(10);
        try {
            for (;;) {
                for (SocketChannel client : clients) {
                    message.clear();
                    client.write(message);
                }
                Thread.sleep(pause);
            }
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
