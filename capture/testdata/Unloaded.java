import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.lang.management.ClassLoadingMXBean;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;

/**
 * Sessions that lie in old regions among dead objects of classes that have been unloaded. Other classes, whose objects
 * are larger or smaller, have taken the place of some of these. It is run so that System.gc() marks and unloads, and
 * moves nothing old. Argument: how many sessions.
 */
public final class Unloaded {
    public static final class Small {
        Object self = this;
    }

    public static final class Middle {
        long number = 0x5eed;
        Object self = this;
    }

    public static final class Large {
        long one = 0x5eed;
        long two = 1;
        Object self = this;
        long three = 3;
    }

    static final class Session {
        final Session before;
        SocketChannel channel;
        ByteBuffer pending;

        Session(Session before) {
            this.before = before;
        }
    }

    static Session last;
    static final List<Object> STRANGERS = new ArrayList<Object>();

    /** An object of a class of its own. */
    static Object stranger(String name) throws Exception {
        URL[] here = {new File(System.getProperty("java.class.path")).toURI().toURL()};
        return new URLClassLoader(here, null).loadClass("Unloaded$" + name).getDeclaredConstructor().newInstance();
    }

    static void collect() throws Exception {
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(200); // it goes on while the program runs
        }
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        ClassLoadingMXBean classes = ManagementFactory.getClassLoadingMXBean();
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), count);
        String[] names = {"Small", "Middle", "Large"};
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < count / 2; i++) {
                STRANGERS.add(stranger(names[(i + round) % names.length]));
                last = new Session(last);
                last.channel = SocketChannel.open(server.getLocalAddress());
                last.pending = ByteBuffer.allocateDirect(1000 + i + round * count / 2);
            }
            collect(); // what is there becomes old
            STRANGERS.clear();
            long before = classes.getUnloadedClassCount();
            for (int i = 0; i < 20 && classes.getUnloadedClassCount() - before < count / 2; i++) {
                collect();
            }
        }
        for (int i = 0; i < count; i++) {
            STRANGERS.add(stranger(names[i % names.length]));
        }
        System.out.println("READY");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        System.out.println(last.pending.capacity() + STRANGERS.size());
    }
}
