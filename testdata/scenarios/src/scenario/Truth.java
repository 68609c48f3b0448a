package scenario;

import java.lang.management.BufferPoolMXBean;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The ground truth of one phase: what a correct tool reports of this process. */
final class Truth {
    /** What a diff of the phase before and this one must say; "" in phase 1. */
    String verdict = "";
    boolean leaking;
    /** Whether every off-heap byte of the process is in the books, so that a fate not named here is zero. */
    boolean complete = true;

    private final Map<String, long[]> fates = new TreeMap<String, long[]>();
    private final Map<Conn, long[]> connections = new LinkedHashMap<Conn, long[]>();
    private final Map<String, Long> counters = new TreeMap<String, Long>();

    /** Books one allocation that is held by no connection. */
    void add(String fate, long allocations, long bytes) {
        long[] sum = fates.get(fate);
        if (sum == null) {
            fates.put(fate, sum = new long[2]);
        }
        sum[0] += allocations;
        sum[1] += bytes;
    }

    /** Books allocations that a connection holds; none, to name a connection that holds nothing. */
    void add(Conn conn, long allocations, long bytes) {
        long[] sum = connections.get(conn);
        if (sum == null) {
            connections.put(conn, sum = new long[2]);
        }
        sum[0] += allocations;
        sum[1] += bytes;
        if (allocations > 0) {
            add("connection", allocations, bytes);
        }
    }

    void counter(String name, Long value) {
        counters.put(name, value);
    }

    String json(String scenario, int phase) {
        for (BufferPoolMXBean pool : ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class)) {
            if (pool.getName().equals("direct")) {
                counter("bits_reserved_bytes", pool.getMemoryUsed());
                counter("bits_count", pool.getCount());
            }
        }
        long collections = 0;
        for (GarbageCollectorMXBean gc : ManagementFactory.getGarbageCollectorMXBeans()) {
            collections += gc.getCollectionCount();
        }
        counter("collections", collections);

        StringBuilder out = new StringBuilder();
        out.append("{\"scenario\":\"").append(scenario).append("\",\"phase\":").append(phase);
        out.append(",\"pid\":").append(pid());
        out.append(",\"verdict\":\"").append(verdict).append("\",\"leaking\":").append(leaking);
        out.append(",\"complete\":").append(complete);
        out.append(",\"fates\":{");
        String comma = "";
        for (Map.Entry<String, long[]> fate : fates.entrySet()) {
            out.append(comma).append('"').append(fate.getKey()).append("\":");
            sums(out, fate.getValue());
            comma = ",";
        }
        out.append("},\"states\":{");
        comma = "";
        for (Map.Entry<String, long[]> state : states().entrySet()) {
            long[] sum = state.getValue();
            out.append(comma).append('"').append(state.getKey()).append("\":{\"connections\":").append(sum[2]);
            out.append(",\"allocations\":").append(sum[0]).append(",\"bytes\":").append(sum[1]).append('}');
            comma = ",";
        }
        out.append("},\"connections\":[");
        comma = "";
        for (Map.Entry<Conn, long[]> row : connections.entrySet()) {
            Conn conn = row.getKey();
            out.append(comma).append("{\"local_port\":").append(conn.localPort);
            out.append(",\"remote_port\":").append(conn.remotePort);
            out.append(",\"state\":\"").append(conn.state).append('"');
            out.append(",\"allocations\":").append(row.getValue()[0]);
            out.append(",\"bytes\":").append(row.getValue()[1]).append('}');
            comma = ",";
        }
        out.append("],\"counters\":{");
        comma = "";
        for (Map.Entry<String, Long> counter : counters.entrySet()) {
            out.append(comma).append('"').append(counter.getKey()).append("\":").append(counter.getValue());
            comma = ",";
        }
        return out.append("}}").toString();
    }

    private Map<String, long[]> states() {
        Map<String, long[]> states = new TreeMap<String, long[]>();
        List<Conn> all = new ArrayList<Conn>(connections.keySet());
        for (Conn conn : all) {
            long[] sum = states.get(conn.state);
            if (sum == null) {
                states.put(conn.state, sum = new long[3]);
            }
            sum[0] += connections.get(conn)[0];
            sum[1] += connections.get(conn)[1];
            sum[2]++;
        }
        return states;
    }

    private static void sums(StringBuilder out, long[] sum) {
        out.append("{\"allocations\":").append(sum[0]).append(",\"bytes\":").append(sum[1]).append('}');
    }

    /** Java 8 has no ProcessHandle. */
    static String pid() {
        String name = ManagementFactory.getRuntimeMXBean().getName();
        return name.substring(0, name.indexOf('@'));
    }
}
