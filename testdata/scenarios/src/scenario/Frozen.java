package scenario;

import java.io.IOException;

/** Stops a process, and sees to it that it ends with this one all the same. */
final class Frozen {
    private Frozen() {
    }

    static void stop(int pid) throws IOException, InterruptedException {
        // A stopped process does not notice the end of its input; this shell does, whatever ends us.
        new ProcessBuilder("sh", "-c", "cat >/dev/null; kill -KILL " + pid).start();
        Process kill = new ProcessBuilder("kill", "-STOP", String.valueOf(pid)).start();
        if (kill.waitFor() != 0) {
            throw new IOException("kill -STOP " + pid + ": exit code " + kill.exitValue());
        }
    }
}
