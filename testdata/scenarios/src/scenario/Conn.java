package scenario;

import java.net.InetSocketAddress;
import java.net.SocketAddress;

/** A connection as the program knows it: its ports and what it has been told to become. */
final class Conn {
    final int localPort;
    final int remotePort;
    volatile String state;

    Conn(int localPort, int remotePort, String state) {
        this.localPort = localPort;
        this.remotePort = remotePort;
        this.state = state;
    }

    Conn(SocketAddress local, SocketAddress remote, String state) {
        this(((InetSocketAddress) local).getPort(), ((InetSocketAddress) remote).getPort(), state);
    }
}
