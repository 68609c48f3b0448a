package scenario;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Constructor;

/**
 * Runs one scenario: phase 1, then a line {@code TRUTH {…}}, then for each line {@code next} on standard input the
 * next phase and its truth. {@code quit}, or the end of the input, ends the program and its peer.
 *
 * <pre>java -cp … scenario.Main NAME</pre>
 */
public final class Main {
    private Main() {
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 1) {
            System.err.println("usage: java -cp … scenario.Main NAME");
            System.exit(2);
        }
        int status = 1;
        try {
            run(args[0]);
            status = 0;
        } catch (Throwable e) {
            e.printStackTrace();
        }
        System.exit(status); // event loops and parked threads never end by themselves
    }

    private static void run(String name) throws Exception {
        Scenario scenario = create(name);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "US-ASCII"));
        for (int phase = 1;; phase++) {
            scenario.phase(phase);
            Truth truth = new Truth();
            scenario.tell(truth);
            if (phase == 1) {
                truth.verdict = "";
            }
            System.out.println("TRUTH " + truth.json(name, phase));
            System.out.flush();
            String line = in.readLine();
            if (line == null || line.equals("quit")) {
                return;
            }
            if (!line.equals("next")) {
                throw new IllegalArgumentException("unknown command \"" + line + "\"");
            }
        }
    }

    /**
     * Finds the class by name, so that a scenario needs only the jars it uses: {@code close-wait} is CloseWait, made
     * with the constructor that takes the scenario's name where several scenarios share a class.
     */
    private static Scenario create(String name) throws Exception {
        Class<?> type = Class.forName("scenario." + Catalogue.classOf(name));
        Constructor<?> constructor = type.getDeclaredConstructor(String.class);
        return (Scenario) constructor.newInstance(name);
    }
}
