package demo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plant makes what a JDK's home looks like from outside.
func plant(t *testing.T, home, release string, programs ...string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(home, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		if err := os.WriteFile(filepath.Join(home, "bin", name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if release != "" {
		if err := os.WriteFile(filepath.Join(home, "release"), []byte(release), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func TestSearch(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	plant(t, at("jvm/jdk8"), "JAVA_VERSION=\"1.8.0_402\"\n", "java", "javac")
	plant(t, at("jvm/jdk11"), "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"11.0.2\"\n", "java", "javac")
	plant(t, at("jvm/jdk21"), "JAVA_VERSION=\"21\"\nMODULES=\"java.base jdk.compiler\"\n", "java")
	plant(t, at("old/jdk8"), "JAVA_VERSION=\"1.8.0_402\"\n", "java", "javac")
	plant(t, at("bare/jre"), "JAVA_VERSION=\"17.0.9\"\nMODULES=\"java.base java.desktop\"\n", "java")
	plant(t, at("odd/jdk"), "", "java", "javac")
	plant(t, at("hollow/jdk"), "JAVA_VERSION=\"17\"\n")
	if err := os.Mkdir(at("path"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("jvm/jdk11/bin/java"), at("path/java")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		search Search
		want   string
		err    string
	}{
		{"JAVA_HOME comes first", Search{at("jvm/jdk21"), at("path"), at("jvm")}, "jvm/jdk21", ""},
		{"then PATH, through its links", Search{"", at("path"), at("jvm")}, "jvm/jdk11", ""},
		{"then the newest installed", Search{"", "", at("jvm")}, "jvm/jdk21", ""},
		{"one that is too old is passed over", Search{at("jvm/jdk8"), at("path"), ""}, "jvm/jdk11", ""},
		{"a relative PATH is not looked at", Search{"", "path", ""}, "", "none is installed"},
		{"nothing there", Search{at("none"), at("none"), at("none")}, "", "none is installed"},
		{"nowhere to look", Search{}, "", "none is installed"},
		{"all too old", Search{Directory: at("old")}, "", "jdk8 is Java 1.8.0_402, want 11 or newer"},
		{"without a compiler", Search{Directory: at("bare")}, "", "jre has no compiler, want a JDK"},
		{"of no known version", Search{Directory: at("odd")}, "", "no readable release file"},
		{"without java", Search{Directory: at("hollow")}, "", "none is installed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.search.Find()
			if test.err != "" {
				if !errors.Is(err, ErrNoJDK) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil || got != at(test.want) {
				t.Errorf("found %q, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestFindJava(t *testing.T) {
	home := jdks(t)[0].Home
	t.Setenv("JAVA_HOME", home)
	if got, err := FindJava(); err != nil || got != home {
		t.Errorf("found %q, %v; want %s", got, err, home)
	}
}

func TestParseFeature(t *testing.T) {
	for version, want := range map[string]int{"1.8.0_402": 8, "11": 11, "17.0.15": 17, "25-ea": 25, "": 0, "x": 0, "-1": 0} {
		if got := parseFeature(version); got != want {
			t.Errorf("parseFeature(%q) = %d, want %d", version, got, want)
		}
	}
}
