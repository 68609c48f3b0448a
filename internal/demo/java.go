package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// oldest is the first JDK that runs a source file.
const oldest = 11

// ErrNoJDK is wrapped when no JDK was found that can run the demo.
var ErrNoJDK = errors.New("no JDK that can run the demo")

// FindJava returns the home of the JDK to run the demo on: JAVA_HOME, that of
// the java on PATH, else the newest below /usr/lib/jvm. One that is older than
// 11, or has no compiler, is passed over and named in the error.
func FindJava() (home string, err error) {
	return Search{JavaHome: os.Getenv("JAVA_HOME"), Path: os.Getenv("PATH"), Directory: "/usr/lib/jvm"}.Find()
}

// Search says where to look for a JDK; an empty field is not looked at.
type Search struct {
	JavaHome  string // as JAVA_HOME
	Path      string // as PATH
	Directory string // of JDKs, one folder each
}

// Find returns the home of the first JDK that can run the demo.
func (s Search) Find() (string, error) {
	var refused []string
	for _, home := range s.candidates() {
		why := unfit(home)
		if why == "" {
			return home, nil
		}
		refused = append(refused, why)
	}
	if len(refused) == 0 {
		return "", fmt.Errorf("%w: none is installed", ErrNoJDK)
	}
	return "", fmt.Errorf("%w: %s", ErrNoJDK, strings.Join(refused, "; "))
}

func (s Search) candidates() []string {
	var homes []string
	add := func(home string) {
		real, err := filepath.EvalSymlinks(home)
		if err != nil || slices.Contains(homes, real) {
			return
		}
		if stat, err := os.Stat(filepath.Join(real, "bin", "java")); err == nil && stat.Mode().IsRegular() {
			homes = append(homes, real)
		}
	}
	if s.JavaHome != "" {
		add(s.JavaHome)
	}
	for _, dir := range filepath.SplitList(s.Path) {
		if !filepath.IsAbs(dir) {
			continue // never run what happens to lie in the working directory
		}
		if java, err := filepath.EvalSymlinks(filepath.Join(dir, "java")); err == nil {
			add(filepath.Dir(filepath.Dir(java)))
		}
	}
	if s.Directory != "" {
		found, _ := filepath.Glob(filepath.Join(s.Directory, "*"))
		slices.SortStableFunc(found, func(a, b string) int { return feature(b) - feature(a) })
		for _, home := range found {
			add(home)
		}
	}
	return homes
}

// unfit says why a JDK cannot run the demo; "" means that it can.
func unfit(home string) string {
	version, err := release(home, "JAVA_VERSION")
	switch {
	case err != nil:
		return fmt.Sprintf("%s has no readable release file: %v", home, err)
	case parseFeature(version) < oldest:
		return fmt.Sprintf("%s is Java %s, want %d or newer", home, version, oldest)
	}
	if _, err := os.Stat(filepath.Join(home, "bin", "javac")); err == nil {
		return ""
	}
	if modules, err := release(home, "MODULES"); err == nil && !slices.Contains(strings.Fields(modules), "jdk.compiler") {
		return home + " has no compiler, want a JDK"
	}
	return ""
}

func feature(home string) int {
	version, err := release(home, "JAVA_VERSION")
	if err != nil {
		return 0
	}
	return parseFeature(version)
}

// parseFeature reads 8 out of 1.8.0_392 and 17 out of 17.0.9; 0: unreadable.
func parseFeature(version string) int {
	version = strings.TrimPrefix(version, "1.")
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	n, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return n
}

// release reads a property of the file every JDK has in its home (JEP 223).
func release(home, name string) (string, error) {
	f, err := os.Open(filepath.Join(home, "release"))
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+"="); ok {
			return strings.Trim(value, `"`), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}
