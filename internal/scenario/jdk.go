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

// JDK is an installed Java. One that scripts/jdks.sh set up has a home with
// bin/java and bin/jcmd alone, and runs in a mount namespace of its own.
type JDK struct {
	Home    string
	Feature int // 8, 17, 25
}

// String is the JDK's short name, for names of subtests.
func (j JDK) String() string { return fmt.Sprintf("jdk%d", j.Feature) }

// OwnRoot reports whether the JDK runs in a root of its own, to which its
// bin/java takes it: that must start as root, and LEAKSCOPE_JDK_USER=UID:GID in
// its environment has the JVM run as somebody else.
func (j JDK) OwnRoot() bool {
	_, err := os.Stat(filepath.Join(j.Home, "inside"))
	return err == nil
}

func (j JDK) java() string { return filepath.Join(j.Home, "bin", "java") }

const (
	jvmFolder = "/usr/lib/jvm"
	// required is the JDK that every run of the tests must have.
	required = 17
	// chosen names the JDKs to test with instead of those installed: feature
	// versions joined by commas, or "all" for those that scripts/jdks.sh set up.
	chosen = "LEAKSCOPE_TEST_JDKS"
	// keptIn is where scripts/jdks.sh sets JDKs up, instead of its default.
	keptIn = "LEAKSCOPE_JDKS"
)

// JDKs lists the JDKs to test with, one for each feature version, oldest
// first: those that LEAKSCOPE_TEST_JDKS names, from the folder of
// scripts/jdks.sh or else below /usr/lib/jvm; without it all below
// /usr/lib/jvm, of which one must be Java 17. It skips the test under -short.
func JDKs(t testing.TB) []JDK {
	t.Helper()
	if testing.Short() {
		t.Skip("starts JVMs: not under -short")
	}
	wanted := os.Getenv(chosen)
	if wanted == "" {
		installed := find(jvmFolder)
		if !slices.ContainsFunc(installed, JDK.isRequired) {
			t.Fatal(errNoRequired())
		}
		return installed
	}
	all, err := choose(wanted, find(keptFolder()), find(jvmFolder))
	if err != nil {
		t.Fatalf("%s=%s: %v: run scripts/jdks.sh as root", chosen, wanted, err)
	}
	return all
}

// choose picks JDKs by feature versions joined by commas, of two that have the
// same the kept one; "all" are those kept.
func choose(wanted string, kept, installed []JDK) ([]JDK, error) {
	if wanted == "all" {
		if len(kept) == 0 {
			return nil, fmt.Errorf("no JDK in %s", keptFolder())
		}
		return kept, nil
	}
	var all []JDK
	for word := range strings.SplitSeq(wanted, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("%q is no feature version", word)
		}
		named := func(j JDK) bool { return j.Feature == number }
		candidates := slices.Concat(kept, installed)
		i := slices.IndexFunc(candidates, named)
		if i < 0 {
			return nil, fmt.Errorf("no JDK %d in %s or %s", number, keptFolder(), jvmFolder)
		}
		if !slices.ContainsFunc(all, named) {
			all = append(all, candidates[i])
		}
	}
	sortByFeature(all)
	return all, nil
}

// Required returns the JDK 17 of this machine, which every run of the tests
// has; its tools are those to compile with. It skips the test under -short.
func Required(t testing.TB) JDK {
	t.Helper()
	if testing.Short() {
		t.Skip("starts JVMs: not under -short")
	}
	installed := find(jvmFolder)
	i := slices.IndexFunc(installed, JDK.isRequired)
	if i < 0 {
		t.Fatal(errNoRequired())
	}
	return installed[i]
}

func (j JDK) isRequired() bool { return j.Feature == required }

func errNoRequired() error {
	return fmt.Errorf("no JDK %d below %s: run scripts/test-prereqs.sh, or as root: apt-get install --no-install-recommends openjdk-%d-jdk-headless",
		required, jvmFolder, required)
}

// keptFolder is where scripts/jdks.sh sets JDKs up.
func keptFolder() string {
	if folder := os.Getenv(keptIn); folder != "" {
		return folder
	}
	if cache := os.Getenv("XDG_CACHE_HOME"); cache != "" {
		return filepath.Join(cache, "leakscope-jdks")
	}
	return "/var/tmp/leakscope-jdks"
}

// find lists the JDKs in a folder, one for each feature version, oldest first.
func find(folder string) []JDK {
	homes, _ := filepath.Glob(filepath.Join(folder, "*"))
	var all []JDK
	for _, home := range homes {
		home, err := filepath.EvalSymlinks(home)
		if err != nil {
			continue
		}
		feature, err := feature(home)
		if err != nil || slices.ContainsFunc(all, func(j JDK) bool { return j.Feature == feature }) {
			continue
		}
		if _, err := os.Stat(filepath.Join(home, "bin", "java")); err == nil {
			all = append(all, JDK{Home: home, Feature: feature})
		}
	}
	sortByFeature(all)
	return all
}

func sortByFeature(all []JDK) {
	slices.SortFunc(all, func(a, b JDK) int { return a.Feature - b.Feature })
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
