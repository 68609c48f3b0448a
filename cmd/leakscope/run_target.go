package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/capture/proc"
	"github.com/leakscope/leakscope/capture/sockets"
	"github.com/leakscope/leakscope/snapshot"
)

// findTarget decides which process is captured: the one whose name was given;
// else the one that listens where the command was found to be ready; else the
// one JVM among those that the command started, which may be a script; else the
// command itself. A test of the wrong process would pass.
func (t *leakTest) findTarget(ctx context.Context) error {
	if t.command == nil {
		return nil
	}
	members, err := t.command.Members()
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	port := t.ready.LocalPort()
	var all, fit, jvms []snapshot.Target
	for _, member := range members {
		target, _ := proc.NewFS("").Target(member.PID, proc.TargetOptions{}) // what is missing is not looked at
		all = append(all, target)
		switch {
		case t.wanted != nil && !t.wanted.MatchString(target.Name):
			continue
		case t.wanted == nil && port != 0 && !listens(ctx, target, port):
			continue
		}
		fit = append(fit, target)
		if target.Runtime == snapshot.RuntimeHotSpot || target.Runtime == snapshot.RuntimeOpenJ9 {
			jvms = append(jvms, target)
		}
	}
	const which = "--target REGEX says which, by its name; a JVM's is its main class or jar"
	switch {
	case len(jvms) == 1:
		t.options.PID = jvms[0].PID
	case len(jvms) > 1:
		return usageError(which, "%d processes may be meant: %s", len(jvms), listTargets(jvms))
	case len(fit) == 1:
		t.options.PID = fit[0].PID
	case t.wanted != nil && len(fit) == 0:
		return usageError(which, "no process of the command matches --target %q; there are %s", t.wanted, listTargets(all))
	case port != 0 && len(fit) == 0 && t.wanted == nil:
		return usageError("--pid tests a process that runs already; "+which, "no process of the command listens on port %d, where it is ready; there are %s", port, listTargets(all))
	case t.wanted != nil:
		return usageError(which, "%d processes may be meant: %s", len(fit), listTargets(fit))
	default: // scripts and the like, or workers that share a port: the first of them
		t.options.PID = t.command.PID()
	}
	return nil
}

// listens reports whether a process has a socket that listens on a TCP port.
func listens(ctx context.Context, target snapshot.Target, port uint16) bool {
	fds, err := proc.NewFS("").FDs(target.PID)
	if err != nil && fds == nil {
		return false
	}
	table := sockets.Read(ctx, sockets.Request{PID: target.PID, FDs: fds, UID: target.UID})
	return slices.ContainsFunc(table.Sockets, func(s snapshot.Socket) bool {
		return s.State == snapshot.Listen && s.Protocol != snapshot.Unix && s.Local.Port() == port
	})
}

func listTargets(all []snapshot.Target) string {
	names := make([]string, len(all))
	for i, target := range all {
		names[i] = fmt.Sprintf("%s (pid %d)", target.Name, target.PID)
	}
	return strings.Join(names, ", ")
}
