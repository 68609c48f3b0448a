package scenario;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerMethodDefinition;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.NettyServerBuilder;
import io.netty.channel.ChannelOption;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Both ends of a stream of small messages from agents to a collector. */
final class GrpcCalls {
    /** Small windows, and no growing ones, so that a stream stalls soon and at the same point. */
    static final int WINDOW_BYTES = 128 << 10;

    private static final MethodDescriptor.Marshaller<byte[]> BYTES = new MethodDescriptor.Marshaller<byte[]>() {
        @Override
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                byte[] block = new byte[4096];
                for (int n; (n = stream.read(block)) >= 0;) {
                    out.write(block, 0, n);
                }
                return out.toByteArray();
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        }
    };

    private static final MethodDescriptor<byte[], byte[]> COUNT = MethodDescriptor.<byte[], byte[]>newBuilder()
            .setType(MethodDescriptor.MethodType.BIDI_STREAMING)
            .setFullMethodName("scenario.ActiveThread/Count")
            .setRequestMarshaller(BYTES)
            .setResponseMarshaller(BYTES)
            .build();

    private GrpcCalls() {
    }

    /** A collector that asks for as many messages of each stream as it is told to, and no more. */
    static final class Collector {
        final int port;
        private final List<ServerCall<byte[], byte[]>> calls = new ArrayList<ServerCall<byte[], byte[]>>();
        private final boolean requests;

        /** requests: streams are read as fast as they come. */
        Collector(Ledger ledger, int streams, boolean requests) throws Exception {
            this.requests = requests;
            NettyServerBuilder builder = NettyServerBuilder
                    .forAddress(new InetSocketAddress(Peer.host(), 0))
                    .bossEventLoopGroup(new NioEventLoopGroup(1))
                    .workerEventLoopGroup(new NioEventLoopGroup(1))
                    .channelType(NioServerSocketChannel.class)
                    .flowControlWindow(WINDOW_BYTES)
                    // Less than the window, so that a stopped collector's kernel cannot take all that the window allows.
                    .withOption(ChannelOption.SO_RCVBUF, WINDOW_BYTES / 4)
                    .maxConcurrentCallsPerConnection(streams)
                    .addService(ServerServiceDefinition.builder("scenario.ActiveThread")
                            .addMethod(ServerMethodDefinition.create(COUNT, new Handler())).build());
            if (ledger != null) {
                builder.withChildOption(ChannelOption.ALLOCATOR, ledger.allocator());
            }
            Server server = builder.build().start();
            port = server.getPort();
        }

        private final class Handler implements ServerCallHandler<byte[], byte[]> {
            @Override
            public ServerCall.Listener<byte[]> startCall(final ServerCall<byte[], byte[]> call, Metadata headers) {
                call.sendHeaders(new Metadata());
                synchronized (calls) {
                    calls.add(call);
                    calls.notifyAll();
                }
                if (requests) {
                    call.request(1);
                }
                return new ServerCall.Listener<byte[]>() {
                    @Override
                    public void onMessage(byte[] message) {
                        if (requests) {
                            call.request(1);
                        }
                    }
                };
            }
        }

        void request(int messages) {
            synchronized (calls) {
                for (ServerCall<byte[], byte[]> call : calls) {
                    call.request(messages);
                }
            }
        }

        /** Waits for a call and returns its connection. */
        Conn awaitCall(int order, String state) throws InterruptedException {
            synchronized (calls) {
                while (calls.size() <= order) {
                    calls.wait();
                }
                io.grpc.Attributes attributes = calls.get(order).getAttributes();
                return new Conn(attributes.get(Grpc.TRANSPORT_ATTR_LOCAL_ADDR),
                        attributes.get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR), state);
            }
        }
    }

    /** An agent with one connection and as many streams as it is told to open. */
    static final class Agent {
        private final ManagedChannel channel;

        Agent(Ledger ledger, int port) {
            NettyChannelBuilder builder = NettyChannelBuilder
                    .forAddress(new InetSocketAddress(Peer.host(), port))
                    .eventLoopGroup(new NioEventLoopGroup(1))
                    .channelType(NioSocketChannel.class)
                    .flowControlWindow(WINDOW_BYTES)
                    .usePlaintext();
            if (ledger != null) {
                builder.withOption(ChannelOption.ALLOCATOR, ledger.allocator());
            }
            channel = builder.build();
        }

        Stream open() {
            return new Stream(channel.newCall(COUNT, CallOptions.DEFAULT));
        }
    }

    /** One stream of an agent. */
    static final class Stream extends ClientCall.Listener<byte[]> {
        private final ClientCall<byte[], byte[]> call;
        private final CountDownLatch answered = new CountDownLatch(1);
        private volatile int fill;

        Stream(ClientCall<byte[], byte[]> call) {
            this.call = call;
            call.start(this, new Metadata());
            call.request(1);
        }

        @Override
        public void onHeaders(Metadata headers) {
            answered.countDown();
        }

        @Override
        public void onReady() {
            fill();
        }

        /** Waits for the collector's headers and returns the stream's connection. */
        Conn awaitAnswer(String state) throws InterruptedException {
            if (!answered.await(60, TimeUnit.SECONDS)) {
                throw new IllegalStateException("the collector does not answer");
            }
            return new Conn(call.getAttributes().get(Grpc.TRANSPORT_ATTR_LOCAL_ADDR),
                    call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR), state);
        }

        /** Sends without a look at isReady: the leak. */
        void flood(int messages, int bytes) {
            for (int i = 0; i < messages; i++) {
                call.sendMessage(new byte[bytes]);
            }
        }

        /** Sends while the stream is ready, now and whenever it becomes so again: the fix. */
        synchronized void fill(int bytes) {
            fill = bytes;
            fill();
        }

        private synchronized void fill() {
            while (fill > 0 && call.isReady()) {
                call.sendMessage(new byte[fill]);
            }
        }

        void complete() {
            call.halfClose();
        }

        void reset() {
            call.cancel("the agent gives up", null);
        }
    }
}
