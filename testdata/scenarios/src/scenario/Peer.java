package scenario;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The other end of a scenario's connections, in a process of its own so that its memory does not count. It takes one
 * command a line and answers with one; it ends when its standard input does, and so with its parent.
 */
final class Peer implements Closeable {
    private final Process process;
    private final Writer commands;
    private final BufferedReader answers;

    /** Starts a peer of the given role, a class of this package with a main method. */
    static Peer start(Class<?> role, String... jvmArguments) throws IOException {
        List<String> command = new ArrayList<String>();
        // Where the peer is to live in another network namespace, this is the command that enters it.
        String prefix = System.getProperty("scenario.peer.prefix", "");
        if (!prefix.isEmpty()) {
            command.addAll(Arrays.asList(prefix.split(" ")));
        }
        command.add(System.getProperty("java.home") + File.separator + "bin" + File.separator + "java");
        command.addAll(Arrays.asList("-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"));
        command.addAll(Arrays.asList(jvmArguments));
        command.addAll(Arrays.asList("-cp", System.getProperty("java.class.path"), role.getName()));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.redirectError(ProcessBuilder.Redirect.INHERIT);
        return new Peer(builder.start());
    }

    private Peer(Process process) throws IOException {
        this.process = process;
        commands = new OutputStreamWriter(process.getOutputStream(), "US-ASCII");
        answers = new BufferedReader(new InputStreamReader(process.getInputStream(), "US-ASCII"));
    }

    /** Sends a command and returns the number that the peer answers. */
    synchronized int tell(Object... words) throws IOException {
        StringBuilder line = new StringBuilder();
        for (Object word : words) {
            line.append(line.length() == 0 ? "" : " ").append(word);
        }
        commands.write(line.append('\n').toString());
        commands.flush();
        String answer = answers.readLine();
        if (answer == null || !answer.startsWith("ok")) {
            throw new IOException("peer answers \"" + answer + "\" to \"" + line.toString().trim() + "\"");
        }
        return answer.length() > 3 ? Integer.parseInt(answer.substring(3)) : 0;
    }

    /** The process id, by the name of the runtime on Java 9 and by a private field before. */
    int pid() throws IOException {
        return tell("pid");
    }

    @Override
    public void close() throws IOException {
        commands.close();
        try {
            process.waitFor();
        } catch (InterruptedException e) {
            process.destroy();
        }
    }

    /** The address that servers of the scenario bind to, and that the peer connects to. */
    static String host() {
        return System.getProperty("scenario.host", "127.0.0.1");
    }
}
