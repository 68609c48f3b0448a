package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const pipelinesFile = "../../doc/pipelines.md"

// recipe is one block of code of the page.
type recipe struct{ language, text string }

func recipes(t *testing.T) []recipe {
	t.Helper()
	text, err := os.ReadFile(pipelinesFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []recipe
	for _, block := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, recipe{block[1], block[2]})
	}
	return all
}

// commandLines runs a piece of shell with every program replaced, and returns
// how leakscope was called: what the shell makes of quotes, variables and
// continued lines is left to the shell.
func commandLines(t *testing.T, script string, variables map[string]string) [][]string {
	t.Helper()
	dir := t.TempDir()
	bin, record := filepath.Join(dir, "bin"), filepath.Join(dir, "record")
	programs := map[string]string{
		"leakscope": `for a; do printf '%s\0' "$a"; done >>"$RECORD"; printf '\n\0' >>"$RECORD"`,
		"pgrep":     "echo 4242", "go": "", "gh": "", "mkdir": "", "rm": "", "../gradlew": "",
	}
	for name, body := range programs {
		path := filepath.Join(bin, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/sh", "-eu", "-c", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + bin, "RECORD=" + record}
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	text, err := os.ReadFile(record)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n\x00"), "\n\x00") {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\x00"), "\x00"))
	}
	return lines
}

// planned hands a command line of run to everything but the test itself, and
// returns the files that it would write.
func planned(t *testing.T, args []string) (files []string) {
	t.Helper()
	var errs bytes.Buffer
	a := &app{stdout: &errs, stderr: &errs, color: "never"}
	cmd := a.runCommandOn(func(_ context.Context, test *leakTest) error {
		if !slices.Equal(test.args, []string{"./start.sh"}) || len(test.plan.rules.Rules) == 0 || test.flags.load == "" {
			t.Errorf("%q starts %q with the load %q and %d rules", args, test.args, test.flags.load, len(test.plan.rules.Rules))
		}
		for _, out := range test.plan.outputs {
			if out.file != "" {
				files = append(files, out.file)
			}
		}
		files = append(files, test.flags.keep, test.flags.log)
		return nil
	})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args[1:])
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Errorf("%q: %v", args, err)
	}
	return files
}

// inProject changes to a folder with what the recipes refer to.
func inProject(t *testing.T) {
	t.Helper()
	snapshots, err := filepath.Abs(snapshotDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	files := map[string]string{
		"soak-1.lscope": "echo/first.lscope", "soak-2.lscope": "echo/second.lscope", "soak-3.lscope": "echo/first.lscope", "soak-4.lscope": "echo/second.lscope",
		"before/1.lscope": "close-wait/first.lscope", "before/2.lscope": "close-wait/second.lscope",
		"after/1.lscope": "echo/first.lscope", "after/2.lscope": "echo/second.lscope",
	}
	for name, from := range files {
		content, err := os.ReadFile(filepath.Join(snapshots, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("leakscope.yaml", []byte("version: 1\nrules:\n  - id: no-leak\n    expr: summary.verdict != \"leak\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holds checks a command line of the page, and returns what a run would write.
func holds(t *testing.T, args []string) []string {
	t.Helper()
	switch args[0] {
	case "run":
		return planned(t, args)
	case "capture":
		a := &app{}
		cmd, rest, err := a.rootCommand().Find(args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
	default: // on recorded snapshots
		var expanded []string
		for _, arg := range args {
			if found, err := filepath.Glob(arg); err == nil && len(found) > 0 {
				expanded = append(expanded, found...)
				continue
			}
			expanded = append(expanded, arg)
		}
		var out, errs bytes.Buffer
		if code := run(expanded, &out, &errs); code == exitError || code == exitUsage {
			t.Errorf("%q: exit code %d: %s", args, code, errs.String())
		}
	}
	return nil
}

// walk calls f for every value of a YAML document with the path that leads to
// it, joined by dots; items of a list have no step of their own.
func walk(v any, path string, f func(path, value string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			walk(e, strings.TrimPrefix(path+"."+k, "."), f)
		}
	case []any:
		for _, e := range v {
			walk(e, path, f)
		}
	case string:
		f(path, v)
	}
}

// TestPipelinesYAML reads the recipes of GitHub and GitLab with a YAML parser:
// their steps call leakscope as it is, and what they upload is what it writes.
func TestPipelinesYAML(t *testing.T) {
	all := recipes(t)
	inProject(t)
	calls := 0
	for _, r := range all {
		if r.language != "yaml" {
			continue
		}
		var document map[string]any
		decoder := yaml.NewDecoder(strings.NewReader(r.text))
		if err := decoder.Decode(&document); err != nil {
			t.Errorf("%v\n%s", err, r.text)
			continue
		}
		variables := map[string]string{}
		scripts, uploads := []string{}, []string{}
		walk(document, "", func(path, value string) {
			switch last := path[strings.LastIndex(path, ".")+1:]; {
			case strings.Contains(path, ".variables.") || strings.Contains(path, ".env."):
				variables[last] = value
			case last == "run" || last == "script" || last == "before_script":
				scripts = append(scripts, value)
			case strings.Contains(path, "artifacts.paths"), strings.Contains(path, ".reports."), last == "sarif_file", last == "path":
				uploads = append(uploads, value)
			case last == "uses" && !regexp.MustCompile(`^[a-z-]+/[a-z/-]+@v[0-9]+$`).MatchString(value):
				t.Errorf("action %q has no version", value)
			}
		})
		var written []string
		for _, script := range scripts {
			for _, args := range commandLines(t, script, variables) {
				calls++
				written = append(written, holds(t, args)...)
			}
			for _, file := range regexp.MustCompile(`--body-file (\S+)`).FindAllStringSubmatch(script, -1) {
				uploads = append(uploads, file[1])
			}
		}
		for _, file := range uploads {
			if !slices.Contains(written, file) {
				t.Errorf("%s is uploaded, and not among what is written: %q", file, written)
			}
		}
	}
	if calls < 2 {
		t.Errorf("only %d calls of leakscope were found", calls)
	}
}

// TestPipelinesJenkins does the same with what the Jenkins recipe gives to sh.
func TestPipelinesJenkins(t *testing.T) {
	all := recipes(t)
	inProject(t)
	i := slices.IndexFunc(all, func(r recipe) bool { return r.language == "groovy" })
	if i < 0 {
		t.Fatal("no recipe")
	}
	text := all[i].text
	if strings.Count(text, "{") != strings.Count(text, "}") {
		t.Error("the braces do not match")
	}
	var written []string
	for _, step := range regexp.MustCompile(`(?s)sh '''(.*?)'''|sh '([^'\n]*)'`).FindAllStringSubmatch(text, -1) {
		script := strings.ReplaceAll(step[1]+step[2], `\\`, `\`) // as Groovy reads it
		for _, args := range commandLines(t, script, nil) {
			written = append(written, holds(t, args)...)
		}
	}
	uploads := regexp.MustCompile(`(?:testResults|artifacts): '([^']*)'`).FindAllStringSubmatch(text, -1)
	for _, file := range uploads {
		if !slices.Contains(written, strings.TrimSuffix(file[1], "/**")) {
			t.Errorf("%s is kept, and not among what is written: %q", file[1], written)
		}
	}
	if len(written) == 0 || len(uploads) < 2 {
		t.Errorf("written %q, kept %q", written, uploads)
	}
}

// TestPipelinesOneLiners checks the short commands of the page.
func TestPipelinesOneLiners(t *testing.T) {
	all := recipes(t)
	inProject(t)
	calls := 0
	for _, r := range all {
		if r.language != "sh" || strings.HasPrefix(r.text, "#!") {
			continue
		}
		for _, args := range commandLines(t, r.text, nil) {
			calls++
			holds(t, args)
		}
	}
	if calls < 4 {
		t.Errorf("only %d calls of leakscope were found", calls)
	}
}

// TestPipelinesScript runs the shell recipe as it stands, on a program that
// holds, breaks and cannot answer the policy, and on one that does not start.
func TestPipelinesScript(t *testing.T) {
	all := recipes(t)
	i := slices.IndexFunc(all, func(r recipe) bool { return strings.HasPrefix(r.text, "#!/bin/sh") })
	if i < 0 {
		t.Fatal("no script")
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := "#!/bin/sh\necho ready\nexec sleep 600\n"
	for name, test := range map[string]struct {
		start, condition string
		code             int
		says             string
	}{
		"passes":       {server, `head.counter_bytes{counter="rss"} > 0`, exitOK, "leak test: passed"},
		"fails":        {server, `head.counter_bytes{counter="rss"} == 0`, exitGate, "leak test: failed; the snapshots are in build/leakscope"},
		"not judged":   {server, `summary.verdict != "leak"`, exitUnjudged, "this is no pass"},
		"not started":  {"#!/bin/sh\necho no database\nexit 5\n", `head.bytes == 0`, exitError, "the server's output is in build/leakscope/server.log"},
		"wrong policy": {server, `head.bites == 0`, exitUsage, "leak test: did not work"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := strings.Replace(all[i].text, "leakscope run ", "leakscope run --warmup 0s --settle 0s --count 2 ", 1) // quicker
			for file, text := range map[string]string{
				"leak-test.sh": script, "start.sh": test.start, "load.sh": "#!/bin/sh\necho load\n",
				"leakscope.yaml": "version: 1\nrules:\n  - id: rule\n    expr: '" + test.condition + "'\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			bin := filepath.Join(dir, "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(bin, "leakscope")); err != nil {
				t.Fatal(err)
			}
			// Only now: a process that is forked meanwhile would hold the scripts
			// open for writing, and they could not be run.
			t.Parallel()
			cmd := exec.Command("./leak-test.sh")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != test.code || !bytes.Contains(out, []byte(test.says)) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, test.code, test.says, out)
			}
			for _, file := range []string{"base.lscope", "head.lscope", "result.json", "junit.xml"} {
				_, err := os.Stat(filepath.Join(dir, "build/leakscope", file))
				if want := test.code != exitError && test.code != exitUsage; (err == nil) != want {
					t.Errorf("%s is there: %v, want %v", file, err == nil, want)
				}
			}
		})
	}
}
