package scenario;

import java.util.ArrayList;
import java.util.List;

/**
 * The collector's side: each agent that connects sends what the window allows, and the collector, which never asks
 * for a message, keeps it as it came. Agents that ask {@code isReady()} first make no difference here: what the window
 * allows is there. The fixed collector reads, and keeps nothing.
 */
final class GrpcCollector implements Scenario {
    private static final int AGENTS = 4;

    private final boolean reads;
    private final Ledger ledger = new Ledger(true);
    private final Peer agents = Peer.start(GrpcPeer.class);
    private final GrpcCalls.Collector collector;
    private final List<Conn> conns = new ArrayList<Conn>();

    GrpcCollector(String name) throws Exception {
        reads = name.equals("grpc-fixed-collector");
        collector = new GrpcCalls.Collector(ledger, 100, reads);
    }

    @Override
    public void phase(int number) throws Exception {
        for (int i = 0; i < AGENTS; i++) {
            agents.tell("send", collector.port, 40 * (1 + i), 4000);
            Conn conn = collector.awaitCall(conns.size(), "active");
            conns.add(conn);
            ledger.awaitQuiet();
            ledger.claim(conn); // one agent after the other: what is new is its own
        }
    }

    @Override
    public void tell(Truth truth) {
        truth.leaking = !reads;
        truth.verdict = reads ? "steady" : "growing";
        for (Conn conn : conns) {
            truth.add(conn, 0, 0);
        }
        ledger.tell(truth);
    }
}
