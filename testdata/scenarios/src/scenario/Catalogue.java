package scenario;

/** Which class plays which scenario. */
final class Catalogue {
    private static final String[][] CLASSES = {
        {"outbound-flood", "Outbound"},
        {"outbound-bounded", "Outbound"},
        {"unpooled", "Outbound"},
        {"no-unsafe", "Outbound"},
        {"no-cleaner", "Outbound"},
        {"close-wait", "CloseWait"},
        {"close-wait-half", "CloseWaitHalf"},
        {"closed-by-channel", "Forgotten"},
        {"closed-by-id", "Forgotten"},
        {"lost", "Forgotten"},
        {"echo", "Echo"},
        {"thread-local", "ThreadLocalBuffers"},
        {"session-open", "Sessions"},
        {"session-closed", "Sessions"},
        {"pending-gc", "PendingCollection"},
        {"half-open", "Vanished"},
        {"idle", "Vanished"},
        {"grpc-not-ready", "GrpcAgent"},
        {"grpc-frozen-peer", "GrpcAgent"},
        {"grpc-stream-limit", "GrpcAgent"},
        {"grpc-completed", "GrpcAgent"},
        {"grpc-reset", "GrpcAgent"},
        {"grpc-fixed", "GrpcAgent"},
        {"grpc-not-ready-collector", "GrpcCollector"},
        {"grpc-fixed-collector", "GrpcCollector"},
        {"tomcat-idle", "TomcatServer"},
        {"tomcat-slow-readers", "TomcatServer"},
        {"jetty-idle", "JettyServer"},
        {"jetty-slow-readers", "JettyServer"},
    };

    private Catalogue() {
    }

    static String classOf(String name) {
        for (String[] row : CLASSES) {
            if (row[0].equals(name)) {
                return row[1];
            }
        }
        throw new IllegalArgumentException("unknown scenario \"" + name + "\"");
    }
}
