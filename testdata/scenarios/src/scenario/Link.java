package scenario;

import java.io.IOException;

/** The link to the peer, where it can be cut: by a command that the property names. */
final class Link {
    private Link() {
    }

    static void cut() throws Exception {
        run("scenario.link.cut");
    }

    static void mend() throws Exception {
        run("scenario.link.mend");
    }

    private static void run(String property) throws Exception {
        String command = System.getProperty(property);
        if (command == null) {
            throw new IllegalStateException("needs a network of its own: -D" + property + "=COMMAND");
        }
        Process process = new ProcessBuilder(command.split(" ")).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        if (process.waitFor() != 0) {
            throw new IOException(command + ": exit code " + process.exitValue());
        }
    }
}
