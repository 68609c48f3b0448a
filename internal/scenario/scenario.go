// Package scenario runs the programs of testdata/scenarios in tests: real
// processes that retain off-heap memory in a known way and print the truth
// about it.
//
// What flows in: the name of a scenario and a JDK. What flows out: a running
// process and, phase by phase, its ground truth. A missing JDK or library fails
// the test and says what to install; only go test -short skips.
package scenario

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Definition is one row of testdata/scenarios/scenarios.tsv.
type Definition struct {
	Name         string
	Library      string   // a row of libraries.tsv
	OldestJDK    int      // feature version
	NewestJDK    int      // feature version; 0: none
	Verdict      string   // of a diff of two phases
	Network      bool     // needs a network of its own, and so root
	JVMArguments []string // beside those every scenario gets
}

// RunsOn reports whether the scenario is meant for a JDK of that feature
// version.
func (d Definition) RunsOn(feature int) bool {
	return feature >= d.OldestJDK && (d.NewestJDK == 0 || feature <= d.NewestJDK)
}

// library is one row of libraries.tsv.
type library struct {
	name     string
	source   string // folder of sources below testdata/scenarios
	release  string // of the compiler
	packages []string
	jars     []string
}

const jarFolder = "/usr/share/java"

// Definitions lists all scenarios, in the order of the table.
func Definitions(t testing.TB) []Definition {
	t.Helper()
	var all []Definition
	for _, row := range table(t, "scenarios.tsv", 7) {
		d := Definition{Name: row[0], Library: row[1], Verdict: row[4], Network: row[5] == "yes", JVMArguments: words(row[6])}
		d.OldestJDK, _ = strconv.Atoi(row[2])
		d.NewestJDK, _ = strconv.Atoi(row[3])
		all = append(all, d)
	}
	return all
}

// Named returns the definition of one scenario.
func Named(t testing.TB, name string) Definition {
	t.Helper()
	for _, d := range Definitions(t) {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("no scenario %q in scenarios.tsv", name)
	return Definition{}
}

func libraries(t testing.TB) []library {
	t.Helper()
	var all []library
	for _, row := range table(t, "libraries.tsv", 5) {
		all = append(all, library{name: row[0], source: row[1], release: row[2], packages: words(row[3]), jars: words(row[4])})
	}
	return all
}

// classPath returns the paths of the library's jars; it fails the test when
// one is not installed.
func (l library) classPath(t testing.TB) []string {
	t.Helper()
	paths := make([]string, 0, len(l.jars))
	for _, jar := range l.jars {
		path := filepath.Join(jarFolder, jar+".jar")
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("library %s: %v: run scripts/test-prereqs.sh, or as root: apt-get install --no-install-recommends %s",
				l.name, err, strings.Join(l.packages, " "))
		}
		paths = append(paths, path)
	}
	return paths
}

// words splits a column; "-" is none.
func words(column string) []string {
	if column == "-" {
		return nil
	}
	return strings.Fields(column)
}

// table reads a tab-separated file of testdata/scenarios.
func table(t testing.TB, name string, columns int) [][]string {
	t.Helper()
	path := filepath.Join(folder(t), name)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var rows [][]string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		row := strings.Split(lines.Text(), "\t")
		if len(row) != columns {
			t.Fatalf("%s:%d: %d columns, want %d", path, n, len(row), columns)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// folder finds testdata/scenarios from the folder a test runs in.
func folder(t testing.TB) string {
	t.Helper()
	path, err := findFolder()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var findFolder = sync.OnceValues(func() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", "scenarios"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above %s", at)
		}
	}
})
