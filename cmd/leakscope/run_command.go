package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/leakscope/leakscope/capture"
	"github.com/leakscope/leakscope/internal/launch"
)

// leakTestFlags are those of run.
type leakTestFlags struct {
	diffFlags
	reading captureFlags // those of its flags that say how the target is read

	pid    int
	target string

	readyURL     string
	readyLog     string
	readyPort    string
	readyTimeout time.Duration

	warmup   time.Duration
	duration time.Duration
	settle   time.Duration
	count    int
	load     string
	grace    time.Duration

	keep string
	log  string
}

const defaultDuration = time.Minute

func (a *app) runCommand() *cobra.Command {
	return a.runCommandOn(func(ctx context.Context, t *leakTest) error {
		inputs, err := t.run(ctx)
		if err != nil {
			return err
		}
		return withoutHeapHint(a.hold(&t.flags.diffFlags, t.plan, inputs), t.flags)
	})
}

// runCommandOn is the command that hands its test to perform when all of it has
// been checked.
func (a *app) runCommandOn(perform func(context.Context, *leakTest) error) *cobra.Command {
	var f leakTestFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "start a program, put load on it, and fail if it leaks: a leak test in one line",
		Long: `run starts COMMAND, waits until it is ready, captures it, puts load on it and
captures it again, stops what it started, and holds a policy against the result
as check does. With --pid it tests a process that runs already, and leaves it.

The load runs once before each snapshot but the first, so that every part of the
test is alike; three parts, the default, tell growth from warm-up. The JVM is read
from outside, as by capture; --heap takes heap dumps where that can't be.

COMMAND and the load run in process groups of their own with nothing on stdin;
their output goes to stderr, or to --log FILE. At the end they get SIGTERM, and
SIGKILL after --grace. Where COMMAND is a script, what it starts is captured: the
process that listens where it is ready, else the only JVM. The load finds
LEAKSCOPE_PID, the process that is captured, and LEAKSCOPE_ROUND, from 1 on, in
its environment.

Exit codes: 0 the gate passed, 3 it failed, 4 it could not be judged, 1 it did
not work (COMMAND ended or did not become ready, the load failed), 2 wrong usage
or policy. 1 and 2 come before 3, 3 before 4.`,
		Example: `  leakscope run --ready-port 8080 --load 'wrk -d 20s http://localhost:8080/' -- java -jar server.jar
  leakscope run --policy leakscope.yaml --ready-log 'Started .* in' --load ./load.sh --keep snapshots -- ./start.sh
  leakscope run --pid 4242 --duration 5m --format junit=leakscope.xml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			test, err := a.planLeakTest(cmd, &f, args)
			if err != nil {
				return err
			}
			return perform(cmd.Context(), test)
		},
	}
	f.register(cmd)
	f.registerLimits(cmd)
	f.registerPolicy(cmd)
	f.registerTest(cmd)
	cmd.Flags().SetInterspersed(false) // what follows COMMAND is its own
	return cmd
}

func (f *leakTestFlags) registerTest(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVarP(&f.pid, "pid", "p", 0, "test this process instead of starting one; it is left running")
	flags.StringVar(&f.target, "target", "", "the process among those that COMMAND starts whose name, for a JVM its main class or jar, matches `REGEX`")
	flags.StringVar(&f.readyURL, "ready-url", "", "wait until a GET of `URL` is answered with a status below 400")
	flags.StringVar(&f.readyLog, "ready-log", "", "wait until a line of the command's output matches `REGEX`")
	flags.StringVar(&f.readyPort, "ready-port", "", "wait until `[HOST:]PORT` accepts connections")
	flags.DurationVar(&f.readyTimeout, "ready-timeout", time.Minute, "give up when it is not ready by then")
	flags.DurationVar(&f.warmup, "warmup", 10*time.Second, "time from readiness to the first snapshot")
	flags.DurationVar(&f.duration, "duration", 0, "time from the first snapshot to the last, in equal parts; a load that still runs at the end of its part is stopped (default: until the load ends; 1m without a load)")
	flags.DurationVar(&f.settle, "settle", time.Second, "time from the end of the load to a snapshot")
	flags.IntVarP(&f.count, "count", "n", 4, "take so many snapshots; 4 prove growth, 2 structure alone")
	flags.StringVar(&f.load, "load", "", "put load on it with this shell `COMMAND`; it fails the test if it does not end with status 0")
	flags.DurationVar(&f.grace, "grace", 10*time.Second, "time from SIGTERM to SIGKILL for what was started")
	flags.StringVar(&f.keep, "keep", "", "keep the snapshots in `DIR`")
	flags.StringVar(&f.log, "log", "", "write the output of the command and the load to `FILE`, not to stderr")
	f.reading.registerReading(cmd)
}

// planLeakTest checks everything that can be checked before anything starts.
func (a *app) planLeakTest(cmd *cobra.Command, f *leakTestFlags, args []string) (*leakTest, error) {
	rules, err := f.readPolicy(cmd)
	if err != nil {
		return nil, err
	}
	p, err := f.plan(a, rules)
	if err != nil {
		return nil, err
	}
	t := &leakTest{app: a, flags: f, plan: p, args: args}
	if err := f.checkTarget(args); err != nil {
		return nil, err
	}
	if err := f.checkTimes(cmd); err != nil {
		return nil, err
	}
	if t.ready, err = f.readiness(); err != nil {
		return nil, err
	}
	if f.target != "" {
		if t.wanted, err = regexp.Compile(f.target); err != nil {
			return nil, usageError("e.g. --target 'server[.]jar'", "--target: %w", err)
		}
	}
	t.options = capture.Options{PID: f.pid, Version: version, Announce: a.announce}
	if err := f.reading.heapOptions(&t.options); err != nil {
		return nil, err
	}
	return t, t.checkFiles()
}

func (f *leakTestFlags) checkTarget(args []string) error {
	switch {
	case f.pid < 0:
		return usageError("pgrep -a java lists JVMs", "--pid %d is no process id", f.pid)
	case f.pid == 0 && len(args) == 0:
		return usageError("leakscope run [flags] -- COMMAND, or leakscope run --pid PID", "which command?")
	case f.pid != 0 && len(args) > 0:
		return usageError("give one of them", "two targets: %s and --pid %d", strconv.Quote(args[0]), f.pid)
	case f.pid != 0 && f.target != "":
		return usageError("leave one of them out", "--target is about what COMMAND starts, and --pid %d is given", f.pid)
	case f.pid != 0 && f.readyLog != "":
		return usageError("--ready-port and --ready-url work with --pid", "--ready-log is about the output of COMMAND, and --pid %d is given", f.pid)
	}
	return nil
}

func (f *leakTestFlags) checkTimes(cmd *cobra.Command) error {
	for name, d := range map[string]time.Duration{"warmup": f.warmup, "settle": f.settle, "grace": f.grace} {
		if d < 0 {
			return usageError("e.g. --"+name+" 10s", "--%s %s: want no less than nothing", name, d)
		}
	}
	switch {
	case f.readyTimeout <= 0:
		return usageError("e.g. --ready-timeout 1m", "--ready-timeout %s: want more than nothing", f.readyTimeout)
	case f.duration < 0 || f.duration == 0 && cmd.Flags().Changed("duration"):
		return usageError("e.g. --duration 1m", "--duration %s: want more than nothing", f.duration)
	case f.count < 2:
		return usageError("--count 4", "--count %d: want at least 2", f.count)
	case f.load == "" && cmd.Flags().Changed("load"):
		return usageError("leave --load out where there is none", "--load names no command")
	}
	if f.duration == 0 && f.load == "" {
		f.duration = defaultDuration
	}
	return nil
}

func (f *leakTestFlags) readiness() (*launch.Readiness, error) {
	r := &launch.Readiness{URL: f.readyURL}
	var err error
	if f.readyURL != "" {
		if err := launch.ParseURL(f.readyURL); err != nil {
			return nil, usageError("e.g. --ready-url http://localhost:8080/health", "--ready-url: %w", err)
		}
	}
	if f.readyPort != "" {
		if r.Address, err = launch.ParseAddress(f.readyPort); err != nil {
			return nil, usageError("e.g. --ready-port 8080", "--ready-port: %w", err)
		}
	}
	if f.readyLog != "" {
		if r.Log, err = regexp.Compile(f.readyLog); err != nil {
			return nil, usageError("e.g. --ready-log 'Started .* in'", "--ready-log: %w", err)
		}
	}
	return r, nil
}

// withoutHeapHint gives the way out of a gate that may lack what was not asked
// for.
func withoutHeapHint(err error, f *leakTestFlags) error {
	var why *failure
	if !f.reading.heap && errors.As(err, &why) && why.code == exitUnjudged {
		why.hint = "what is missing is said above; --heap takes heap dumps where a JVM cannot be read from outside"
	}
	return err
}

// endedHint is the way out where a command does not stay.
const endedHint = "COMMAND must run in the foreground until leakscope stops it; --pid tests a process that runs already"

// explainLaunch turns an error of the launch package into one with a way out.
func explainLaunch(err error) error {
	var ended *launch.EndedError
	var late *launch.NotReadyError
	var taken *launch.TakenError
	switch {
	case errors.As(err, &ended):
		return &failure{code: exitError, err: fmt.Errorf("run: %w", err), hint: endedHint}
	case errors.As(err, &late):
		return &failure{code: exitError, err: fmt.Errorf("run: %w", err), hint: "--ready-timeout gives it longer"}
	case errors.As(err, &taken):
		return &failure{code: exitError, err: fmt.Errorf("run: %w", err), hint: "stop that process, or give --pid to test it"}
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, exec.ErrNotFound):
		return &failure{code: exitUsage, err: fmt.Errorf("run: %w", err), hint: "leakscope run [flags] -- COMMAND [ARG...]"}
	}
	return fmt.Errorf("run: %w", err)
}
