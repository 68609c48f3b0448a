package scenario;

/** One program that retains off-heap memory in a known way, phase by phase. */
interface Scenario {
    /**
     * Takes the scenario one phase further and returns only when the situation is what the truth says: every FIN
     * has arrived, every send is stuck. Nothing moves afterwards until the next call.
     */
    void phase(int number) throws Exception;

    /** Fills in what is retained now, from the program's own books. */
    void tell(Truth truth) throws Exception;
}
