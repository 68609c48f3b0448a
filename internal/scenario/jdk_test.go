package scenario

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFindJDKs(t *testing.T) {
	folder := t.TempDir()
	for name, release := range map[string]string{
		"jdk27":   "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"27.0.1.0.3\"\n",
		"jdk8":    "JAVA_VERSION=\"1.8.0_504\"\n",
		"another": "JAVA_VERSION=\"27\"\n",
		"nothing": "JAVA_VERSION=\"\"\n",
		"root":    "",
	} {
		if err := os.MkdirAll(filepath.Join(folder, name, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"release": release, "bin/java": "#!/bin/sh\n"} {
			if err := os.WriteFile(filepath.Join(folder, name, file), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Remove(filepath.Join(folder, "root", "release")); err != nil {
		t.Fatal(err)
	}
	want := []JDK{{filepath.Join(folder, "jdk8"), 8}, {filepath.Join(folder, "another"), 27}}
	if got := find(folder); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestChooseJDKs(t *testing.T) {
	kept := []JDK{{"/k/jdk8", 8}, {"/k/jdk25", 25}}
	installed := []JDK{{"/i/jdk17", 17}, {"/i/jdk25", 25}}
	for wanted, want := range map[string][]JDK{
		"all":     kept,
		"17":      {installed[0]},
		"25, 8,8": {kept[0], kept[1]},
		"21":      nil,
		"8,":      nil,
	} {
		got, err := choose(wanted, kept, installed)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v, want %v", wanted, got, err, want)
		}
	}
	if _, err := choose("all", nil, installed); err == nil {
		t.Error("nothing is set up, and nothing is said")
	}
}
