package scenario;

import java.util.Collections;

/**
 * The agent's side of a gRPC stream that its collector does not read: it ignores {@code isReady()}, and each small
 * message pins a buffer of 4 KiB; or it completes the stream, which frees nothing; or resets it, which frees all; or
 * asks first. Or the collector is stopped; or it allows fewer streams than the agent opens.
 */
final class GrpcAgent implements Scenario {
    private static final int MESSAGES = 1500;
    private static final int MESSAGE_BYTES = 200;
    private static final int STREAMS = 4;

    private final String name;
    private final Ledger ledger = new Ledger(true);
    private final Peer collector = Peer.start(GrpcPeer.class);
    private final GrpcCalls.Agent agent;
    private Conn conn;
    private GrpcCalls.Stream stream;

    GrpcAgent(String name) throws Exception {
        this.name = name;
        boolean limit = name.equals("grpc-stream-limit");
        int port = collector.tell("collect", limit ? STREAMS : 100, limit ? 1 : 0);
        agent = new GrpcCalls.Agent(ledger, port);
    }

    @Override
    public void phase(int number) throws Exception {
        if (conn == null) {
            stream = agent.open();
            conn = stream.awaitAnswer("stalled");
            ledger.defaultOwner(conn);
            ledger.awaitQuiet(); // settings and windows have been exchanged
        } else if (name.equals("grpc-completed") || name.equals("grpc-reset")) {
            stream = agent.open();
            stream.awaitAnswer("stalled");
        }
        if (name.equals("grpc-stream-limit")) {
            for (int i = number == 1 ? 1 : 0; i < 3 * STREAMS; i++) {
                agent.open().flood(MESSAGES / STREAMS, MESSAGE_BYTES);
            }
        } else if (name.equals("grpc-fixed")) {
            if (number > 1) {
                collector.tell("request", 20);
            }
            stream.fill(4000);
        } else {
            if (number == 1 && name.equals("grpc-frozen-peer")) {
                Frozen.stop(collector.pid());
            }
            stream.flood(MESSAGES, MESSAGE_BYTES);
        }
        ledger.awaitQuiet();
        if (name.equals("grpc-completed")) {
            stream.complete();
        } else if (name.equals("grpc-reset")) {
            stream.reset();
            conn.state = "active";
        }
        ledger.awaitQuiet();
        if (name.equals("grpc-frozen-peer")) {
            Kernel.await(Collections.singleton(conn), Kernel.STUCK, "stuck");
        }
    }

    @Override
    public void tell(Truth truth) {
        boolean healthy = name.equals("grpc-reset") || name.equals("grpc-fixed");
        truth.leaking = !healthy;
        truth.verdict = healthy ? "steady" : "leak";
        truth.add(conn, 0, 0);
        ledger.tell(truth);
    }
}
