package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var updateReadme = flag.Bool("update-readme", false, "write the demo's output into README.md anew")

const (
	readmeFile = "../../README.md"
	// readmeLines of the demo's output fit on a screen with what is above.
	readmeLines = 36
)

// TestReadmeShowsTheDemo holds the README's output to the program's: it is the
// start of what the demo prints of its recording.
func TestReadmeShowsTheDemo(t *testing.T) {
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"demo", "--recorded"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	lines := strings.SplitAfter(out.String(), "\n")
	shown := strings.Join(lines[:min(readmeLines, len(lines))], "")
	block := regexp.MustCompile("(?s)<!-- demo -->\n```\n(.*?)```\n")
	if !block.Match(text) {
		t.Fatal("README.md has no block for the demo's output")
	}
	want := "<!-- demo -->\n```\n" + shown + "…\n```\n"
	if *updateReadme {
		text = block.ReplaceAllLiteral(text, []byte(want))
		if err := os.WriteFile(readmeFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Contains(text, []byte(want)) {
		t.Errorf("README.md does not show what the demo prints: go test ./cmd/leakscope -run TestReadme -update-readme\n%s", want)
	}
}

// TestReadmeCommands runs the commands of the README on recorded snapshots,
// through the shell where they have a pipe.
func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"first.lscope", "second.lscope"} {
		content, err := os.ReadFile(filepath.Join("../../testdata/snapshots/close-wait", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "leakscope"), ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	ran := 0
	prose := regexp.MustCompile("(?s)\n```.*?\n```").ReplaceAllString(string(text), "")
	for line := range strings.Lines(prose) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		switch {
		case !ok, strings.HasPrefix(command, "make "), strings.Contains(command, " PID "):
			continue // make and captures have tests of their own
		}
		ran++
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "PPROF_TMPDIR="+dir)
		out, err := cmd.CombinedOutput()
		if want := strings.HasPrefix(command, "leakscope check"); (err != nil) != want {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if ran < 6 {
		t.Errorf("only %d commands found in the README", ran)
	}
	for _, name := range regexp.MustCompile("`leakscope ([a-z]+)").FindAllStringSubmatch(string(text), -1) {
		a := &app{}
		if cmd, _, err := a.rootCommand().Find([]string{name[1]}); err != nil || cmd.Name() != name[1] {
			t.Errorf("the README names a command %q that there is not", name[1])
		}
	}
}
