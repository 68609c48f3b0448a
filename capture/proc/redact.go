package proc

import (
	"path"
	"strings"
)

// The rules of redaction. A command line keeps its shape: one argument in, one
// argument out, with the names of options and without their values.
//
//   - argument 0 becomes its base name; one that is no plain file name (a title
//     that the process wrote over its arguments) becomes <arg>.
//   - JVM: sizes and plain switches are kept (-Xmx64m, -server); -XX: flags keep
//     values that are a number, a size, true or false, or the mode of native
//     memory tracking; -D properties keep their value only under io.netty. (also
//     relocated) and for jdk.nio.maxCachedBufferSize, and only one that is a
//     number or a short word; the jar or main class is kept without its path.
//   - every program: --name=VALUE keeps the name; of -xVALUE only the letter is
//     kept, since the value can be glued to it.
//   - whatever else there is (class paths, agents and their options, other
//     property values, URLs, the arguments of the program itself) becomes a
//     placeholder: <path> for what has a slash, <url> for what has a scheme,
//     <value> for another value of an option, <arg> for another argument.
//
// Keeping is by list; what is not known to be harmless is replaced.

// redact returns the command line without what could be a secret.
func redact(args []string, jvm bool) []string {
	out := make([]string, 0, len(args))
	if len(args) == 0 {
		return out
	}
	out = append(out, redactProgram(args[0]))
	i := 1
	if jvm {
		for i < len(args) {
			n, done := launcherOption(args[i:])
			if done {
				break
			}
			out = append(out, redactJVMOption(args[i]))
			for _, value := range args[i+1 : i+n] {
				out = append(out, placeholder(value, "<value>"))
			}
			i += n
		}
		if i < len(args) {
			i, out = redactMain(args, i, out)
		}
	}
	for ; i < len(args); i++ {
		out = append(out, redactOption(args[i]))
	}
	return out
}

// redactMain appends the part of a JVM command line that names the program
// ("-jar FILE", "-m MODULE", "CLASS") and returns the index after it.
func redactMain(args []string, i int, out []string) (int, []string) {
	named := func(arg string) string {
		if name := mainName(arg); plainName(name) {
			return name
		}
		return "<arg>"
	}
	switch option := args[i]; {
	case takesMain(option):
		out = append(out, option)
		if i+1 < len(args) {
			out = append(out, named(args[i+1]))
		}
		return min(i+2, len(args)), out
	case strings.HasPrefix(option, "--module="):
		return i + 1, append(out, "--module="+named(strings.TrimPrefix(option, "--module=")))
	default:
		return i + 1, append(out, named(option))
	}
}

func redactProgram(arg string) string {
	if name := path.Base(arg); plainName(name) {
		return name
	}
	return "<arg>"
}

// redactJVMOption handles one option of the java launcher.
func redactJVMOption(arg string) string {
	switch {
	case strings.HasPrefix(arg, "-XX:"):
		return "-XX:" + redactFlag(arg[len("-XX:"):])
	case strings.HasPrefix(arg, "-X"):
		return redactX(arg)
	case strings.HasPrefix(arg, "-D"):
		return "-D" + redactProperty(arg[len("-D"):])
	case strings.HasPrefix(arg, "-verbose:"):
		if word(arg[len("-verbose:"):]) {
			return arg
		}
		return "-verbose:<value>"
	case strings.HasPrefix(arg, "--"):
		return redactOption(arg)
	case strings.HasPrefix(arg, "@"):
		return "@<path>"
	}
	// -server, -ea:package, -javaagent:PATH=OPTIONS, -agentlib:NAME=OPTIONS
	name, value, valued := strings.Cut(strings.TrimPrefix(arg, "-"), ":")
	if !word(name) {
		return placeholder(arg, "<arg>")
	}
	if !valued {
		return arg
	}
	if library, _, ok := strings.Cut(value, "="); name == "agentlib" && word(library) {
		if ok {
			return "-agentlib:" + library + "=<value>"
		}
		return arg
	}
	return "-" + name + ":" + placeholder(value, "<value>")
}

// redactFlag handles what follows -XX:, "+Name", "-Name" or "Name=value".
func redactFlag(flag string) string {
	name, value, valued := strings.Cut(flag, "=")
	bareName := strings.TrimLeft(name, "+-")
	if !identifier(bareName) {
		return "<value>"
	}
	if !valued || size(value) || value == "true" || value == "false" {
		return flag
	}
	if bareName == "NativeMemoryTracking" && word(value) {
		return flag
	}
	return name + "=" + placeholder(value, "<value>")
}

// redactX handles -Xmx64m, -Xint, -Xshare:auto, -Xlog:…, -Xloggc:PATH.
func redactX(arg string) string {
	for _, prefix := range []string{"-Xmx", "-Xms", "-Xmn", "-Xss"} {
		if rest, ok := strings.CutPrefix(arg, prefix); ok && size(rest) {
			return arg
		}
	}
	if word(arg[len("-X"):]) {
		return arg
	}
	if cut := strings.IndexAny(arg, ":="); cut > 0 {
		name, value := arg[:cut+1], arg[cut+1:]
		if name == "-Xshare:" && word(value) {
			return arg
		}
		if bootPath := strings.HasPrefix(name, "-Xbootclasspath/"); bootPath || plainOption(name[1:cut]) {
			if bootPath {
				name = "-Xbootclasspath/a:"
			}
			return name + placeholder(value, "<value>")
		}
	}
	return "-X<value>"
}

// redactProperty handles what follows -D, "name=value".
func redactProperty(property string) string {
	name, value, valued := strings.Cut(property, "=")
	if !plainName(name) {
		return "<value>"
	}
	if !valued {
		return name
	}
	netty := strings.HasPrefix(name, "io.netty.") || strings.Contains(name, ".io.netty.")
	if (netty || name == "jdk.nio.maxCachedBufferSize") && !suspicious(name) && shortWord(value) {
		return property
	}
	return name + "=" + placeholder(value, "<value>")
}

// redactOption handles an argument of any program.
func redactOption(arg string) string {
	switch {
	case arg == "-", arg == "--":
		return arg
	case strings.HasPrefix(arg, "--"):
		name, value, valued := strings.Cut(arg[2:], "=")
		if !plainOption(name) {
			return "--<value>"
		}
		if !valued {
			return arg
		}
		return "--" + name + "=" + placeholder(value, "<value>")
	case len(arg) >= 2 && arg[0] == '-' && letter(arg[1]):
		if len(arg) == 2 {
			return arg
		}
		return arg[:2] + placeholder(arg[2:], "<value>")
	}
	return placeholder(arg, "<arg>")
}

// placeholder says what kind of thing stood there.
func placeholder(value, otherwise string) string {
	switch {
	case strings.Contains(value, "://"):
		return "<url>"
	case strings.Contains(value, "/"):
		return "<path>"
	}
	return otherwise
}

// suspicious reports a property whose name suggests a secret.
func suspicious(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"pass", "secret", "token", "credential", "key"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// made reports that text has 1 to limit bytes, each allowed.
func made(text string, limit int, allowed func(c byte) bool) bool {
	if text == "" || len(text) > limit {
		return false
	}
	for i := range len(text) {
		if !allowed(text[i]) {
			return false
		}
	}
	return true
}

func word(text string) bool { return made(text, 32, letter) }

func identifier(text string) bool {
	return made(text, 80, func(c byte) bool { return letter(c) || digit(c) || c == '_' })
}

func shortWord(text string) bool {
	return made(text, 24, func(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '-' || c == '.' })
}

// plainName is a file, class or property name without a path.
func plainName(text string) bool {
	return made(text, 200, func(c byte) bool {
		return letter(c) || digit(c) || strings.IndexByte("._$+-", c) >= 0
	})
}

// plainOption is the name of an option, such as add-opens.
func plainOption(text string) bool {
	return made(text, 64, func(c byte) bool { return letter(c) || digit(c) || strings.IndexByte("-_.", c) >= 0 })
}

// size is a number with an optional unit: 64m, 0.5, 75%.
func size(text string) bool {
	if text == "" {
		return false
	}
	if strings.IndexByte("kKmMgGtT%", text[len(text)-1]) >= 0 {
		text = text[:len(text)-1]
	}
	return made(text, 24, func(c byte) bool { return digit(c) || c == '.' }) ||
		made(strings.TrimPrefix(text, "-"), 24, digit)
}
