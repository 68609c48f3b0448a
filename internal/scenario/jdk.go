package scenario

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// JDK is an installed Java.
type JDK struct {
	Home    string
	Feature int // 8, 17, 25
}

// String is the JDK's short name, for names of subtests.
func (j JDK) String() string { return fmt.Sprintf("jdk%d", j.Feature) }

func (j JDK) java() string { return filepath.Join(j.Home, "bin", "java") }

const (
	jvmFolder = "/usr/lib/jvm"
	// required is the JDK that every run of the tests must have.
	required = 17
	// environment lists JDK homes to use instead of those installed.
	environment = "LEAKSCOPE_JDKS"
)

// JDKs lists the JDKs to test with, one for each feature version, oldest
// first: those of the colon-separated LEAKSCOPE_JDKS when it is set, else all
// below /usr/lib/jvm, of which one must be Java 17. It skips the test under
// -short.
func JDKs(t testing.TB) []JDK {
	t.Helper()
	if testing.Short() {
		t.Skip("starts JVMs: not under -short")
	}
	var homes []string
	if list := os.Getenv(environment); list != "" {
		homes = filepath.SplitList(list)
	} else {
		homes, _ = filepath.Glob(filepath.Join(jvmFolder, "*"))
	}
	found := map[int]JDK{}
	for _, home := range homes {
		home, err := filepath.EvalSymlinks(home)
		if err != nil {
			continue
		}
		feature, err := feature(home)
		if _, taken := found[feature]; err != nil || taken {
			continue
		}
		if _, err := os.Stat(filepath.Join(home, "bin", "java")); err == nil {
			found[feature] = JDK{Home: home, Feature: feature}
		}
	}
	if os.Getenv(environment) == "" && found[required].Home == "" {
		t.Fatalf("no JDK %d below %s: run scripts/test-prereqs.sh, or as root: apt-get install --no-install-recommends openjdk-%d-jdk-headless",
			required, jvmFolder, required)
	}
	all := make([]JDK, 0, len(found))
	for _, jdk := range found {
		all = append(all, jdk)
	}
	if len(all) == 0 {
		t.Fatalf("%s names no JDK", environment)
	}
	slices.SortFunc(all, func(a, b JDK) int { return a.Feature - b.Feature })
	return all
}

// feature reads the version from a JDK's release file: JAVA_VERSION="17.0.15",
// or "1.8.0_402" for Java 8.
func feature(home string) (int, error) {
	text, err := os.ReadFile(filepath.Join(home, "release"))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		version, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "JAVA_VERSION=")
		if !ok {
			continue
		}
		version = strings.TrimPrefix(strings.Trim(version, `"`), "1.")
		end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			version = version[:end]
		}
		return strconv.Atoi(version)
	}
	return 0, fmt.Errorf("%s: no JAVA_VERSION", filepath.Join(home, "release"))
}

// compiler returns the javac to compile the scenarios with: of the required
// JDK, which knows --release 8, else of the newest.
func compiler(jdks []JDK) (string, error) {
	var best string
	for _, jdk := range jdks {
		path := filepath.Join(jdk.Home, "bin", "javac")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		best = path
		if jdk.Feature == required {
			break
		}
	}
	if best == "" {
		return "", fmt.Errorf("no javac in any JDK")
	}
	return best, nil
}
