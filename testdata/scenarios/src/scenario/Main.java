package scenario;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Constructor;

/**
 * Runs one scenario: phase 1, then a line {@code TRUTH {…}}, then for each line {@code next} on standard input the
 * next phase and its truth. {@code quit}, or the end of the input, ends the program and its peer. Between phases
 * {@code load MB COLLECTIONS} has it allocate and collect so much a second, and {@code hiccups} asks how late its
 * threads came since the last time.
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
            if (!next(in)) {
                return;
            }
        }
    }

    /** Obeys commands until one asks for the next phase, or for the end (false). */
    private static boolean next(BufferedReader in) throws Exception {
        for (;;) {
            String line = in.readLine();
            if (line == null || line.equals("quit")) {
                return false;
            }
            String[] words = line.split(" ");
            if (line.equals("next")) {
                return true;
            } else if (words[0].equals("load") && words.length == 3) {
                System.out.println("LOAD " + Load.set(Long.parseLong(words[1]), Long.parseLong(words[2])));
            } else if (line.equals("hiccups")) {
                System.out.println("HICCUPS " + Hiccups.report());
            } else {
                throw new IllegalArgumentException("unknown command \"" + line + "\"");
            }
            System.out.flush();
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
