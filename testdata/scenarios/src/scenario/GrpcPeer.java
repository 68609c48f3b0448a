package scenario;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;

/**
 * The other end of a gRPC scenario.
 *
 * <pre>
 * collect STREAMS REQUESTS   serves, so many streams a connection; REQUESTS 1: reads them. Answers the port
 * request MESSAGES           asks for so many more messages on each stream
 * send PORT MESSAGES BYTES   connects once more, and sends on a new stream, ready or not
 * fill PORT BYTES            connects once more, and sends while the stream is ready
 * pid
 * </pre>
 */
final class GrpcPeer {
    private GrpcPeer() {
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "US-ASCII"));
        GrpcCalls.Collector collector = null;
        List<GrpcCalls.Agent> agents = new ArrayList<GrpcCalls.Agent>(); // gRPC complains of those that are collected
        for (String line; (line = in.readLine()) != null;) {
            String[] words = line.split(" ");
            int answer = 0;
            if (words[0].equals("pid")) {
                answer = Integer.parseInt(Truth.pid());
            } else if (words[0].equals("collect")) {
                collector = new GrpcCalls.Collector(null, Integer.parseInt(words[1]), words[2].equals("1"));
                answer = collector.port;
            } else if (words[0].equals("request")) {
                collector.request(Integer.parseInt(words[1]));
            } else {
                GrpcCalls.Agent agent = new GrpcCalls.Agent(null, Integer.parseInt(words[1]));
                agents.add(agent);
                GrpcCalls.Stream stream = agent.open();
                stream.awaitAnswer("active");
                if (words[0].equals("send")) {
                    stream.flood(Integer.parseInt(words[2]), Integer.parseInt(words[3]));
                } else {
                    stream.fill(Integer.parseInt(words[2]));
                }
            }
            System.out.println("ok " + answer);
            System.out.flush();
        }
        System.exit(0);
    }
}
