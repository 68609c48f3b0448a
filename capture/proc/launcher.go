package proc

import (
	"path"
	"strings"
)

// isLauncher reports whether a command line is one of the java launcher, whose
// options are described in the java(1) manual.
func isLauncher(args []string) bool {
	return len(args) > 0 && path.Base(args[0]) == "java"
}

// mainClass returns the main class, or the base name of the jar, of a java
// command line; "" when it names none (an argument file holds it).
func mainClass(args []string) string {
	for i := 1; i < len(args); {
		n, done := launcherOption(args[i:])
		if !done {
			i += n
			continue
		}
		arg := args[i]
		switch {
		case takesMain(arg):
			if i+1 >= len(args) {
				return ""
			}
			arg = args[i+1]
		case strings.HasPrefix(arg, "--module="):
			arg = strings.TrimPrefix(arg, "--module=")
		}
		return printable([]byte(mainName(arg)))
	}
	return ""
}

// mainName takes the path off a jar or source file, and the module off a main
// class.
func mainName(arg string) string { return path.Base(arg) }

// takesMain reports an option whose value is the program to run; what follows
// are the program's own arguments.
func takesMain(option string) bool {
	return option == "-jar" || option == "-m" || option == "--module"
}

// launcherOption reads one option at the start of args and returns how many
// arguments it takes; done means that the program to run begins here.
func launcherOption(args []string) (n int, done bool) {
	arg := args[0]
	switch arg {
	case "-cp", "-classpath", "--class-path", "-p", "--module-path", "--upgrade-module-path",
		"--add-modules", "--limit-modules", "--add-exports", "--add-opens", "--add-reads",
		"--patch-module", "--enable-native-access", "--source", "-d", "--describe-module",
		"--illegal-native-access", "--sun-misc-unsafe-memory-access":
		return min(2, len(args)), false
	}
	if takesMain(arg) || strings.HasPrefix(arg, "--module=") {
		return 0, true
	}
	if strings.HasPrefix(arg, "-") || strings.HasPrefix(arg, "@") {
		return 1, false
	}
	return 0, true
}
