package scenario;

import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/**
 * A peer of plain sockets that does to its connections what it is told, and nothing else: what it is not told to
 * read stays unread.
 *
 * <pre>
 * listen RCVBUF            answers the port; accepts for ever
 * accepted COUNT           waits until so many were accepted
 * connect PORT COUNT BYTES RCVBUF   connects, and sends so many bytes on each; answers the number of the first
 * send FROM TO BYTES       to connections FROM (inclusive) to TO (exclusive), as all below
 * read FROM TO BYTES       reads exactly so many bytes from each
 * get FROM TO READS        sends a request of HTTP on each; READS 1: reads the response, of 4 KiB
 * fin FROM TO              ends its own direction
 * close FROM TO
 * pid
 * </pre>
 */
final class SocketPeer {
    private final List<Socket> sockets = new ArrayList<Socket>();
    private String host;

    private SocketPeer() {
    }

    public static void main(String[] args) throws Exception {
        SocketPeer peer = new SocketPeer();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "US-ASCII"));
        for (String line; (line = in.readLine()) != null;) {
            String answer;
            try {
                answer = "ok " + peer.run(line.split(" "));
            } catch (Exception e) {
                answer = "error " + e;
            }
            System.out.println(answer);
            System.out.flush();
        }
        System.exit(0);
    }

    private int run(String[] words) throws Exception {
        String command = words[0];
        if (command.equals("pid")) {
            return Integer.parseInt(Truth.pid());
        }
        if (command.equals("host")) {
            host = words[1];
            return 0;
        }
        int first = Integer.parseInt(words[1]);
        if (command.equals("listen")) {
            return listen(first);
        }
        if (command.equals("accepted")) {
            synchronized (sockets) {
                while (sockets.size() < first) {
                    sockets.wait();
                }
            }
            return first;
        }
        int second = Integer.parseInt(words[2]);
        if (command.equals("connect")) {
            return connect(first, second, Integer.parseInt(words[3]), Integer.parseInt(words[4]));
        }
        for (int i = first; i < second; i++) {
            Socket socket;
            synchronized (sockets) {
                socket = sockets.get(i);
            }
            if (command.equals("send")) {
                send(socket, Integer.parseInt(words[3]));
            } else if (command.equals("read")) {
                read(socket, Integer.parseInt(words[3]));
            } else if (command.equals("get")) {
                socket.getOutputStream().write("GET / HTTP/1.1\r\nHost: here\r\n\r\n".getBytes("US-ASCII"));
                if (words[3].equals("1")) {
                    readHeader(socket);
                    read(socket, 4 << 10);
                }
            } else if (command.equals("fin")) {
                socket.shutdownOutput();
            } else if (command.equals("close")) {
                socket.close();
            } else {
                throw new IOException("unknown command " + command);
            }
        }
        return second - first;
    }

    private int listen(int receiveBuffer) throws IOException {
        final ServerSocket server = new ServerSocket();
        server.setReceiveBufferSize(receiveBuffer);
        server.bind(new InetSocketAddress(host == null ? Peer.host() : host, 0), 512);
        Thread acceptor = new Thread("acceptor") {
            @Override
            public void run() {
                try {
                    for (;;) {
                        Socket socket = server.accept();
                        synchronized (sockets) {
                            sockets.add(socket);
                            sockets.notifyAll();
                        }
                    }
                } catch (IOException e) {
                    e.printStackTrace();
                }
            }
        };
        acceptor.setDaemon(true);
        acceptor.start();
        return server.getLocalPort();
    }

    private int connect(int port, int count, int bytes, int receiveBuffer) throws IOException {
        int first = sockets.size();
        for (int i = 0; i < count; i++) {
            Socket socket = new Socket();
            if (receiveBuffer > 0) {
                socket.setReceiveBufferSize(receiveBuffer);
            }
            socket.setTcpNoDelay(true);
            socket.connect(new InetSocketAddress(host == null ? Peer.host() : host, port));
            synchronized (sockets) {
                sockets.add(socket);
            }
            if (bytes > 0) {
                send(socket, bytes);
            }
        }
        return first;
    }

    private static void send(Socket socket, int bytes) throws IOException {
        OutputStream out = socket.getOutputStream();
        byte[] block = new byte[Math.min(bytes, 8192)];
        for (int left = bytes; left > 0; left -= block.length) {
            out.write(block, 0, Math.min(left, block.length));
        }
        out.flush();
    }

    private static void readHeader(Socket socket) throws IOException {
        InputStream in = socket.getInputStream();
        for (int last = 0; last != 0x0d0a0d0a;) {
            int c = in.read();
            if (c < 0) {
                throw new EOFException("connection ended in the header");
            }
            last = last << 8 | c;
        }
    }

    private static void read(Socket socket, int bytes) throws IOException {
        InputStream in = socket.getInputStream();
        byte[] block = new byte[8192];
        for (int left = bytes; left > 0;) {
            int n = in.read(block, 0, Math.min(left, block.length));
            if (n < 0) {
                throw new EOFException("connection ended, " + left + " bytes early");
            }
            left -= n;
        }
    }
}
