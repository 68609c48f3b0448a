package term

import (
	"bytes"
	"os"
	"testing"

	"github.com/leakscope/leakscope/internal/term/termtest"
)

func environment(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := pairs[name]
		return v, ok
	}
}

func TestColored(t *testing.T) {
	tty, _ := termtest.Open(t, 80)
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, test := range []struct {
		mode      ColorMode
		env       map[string]string
		tty, file bool
	}{
		{ColorAuto, nil, true, false},
		{ColorAlways, map[string]string{"NO_COLOR": "1"}, true, true},
		{ColorNever, map[string]string{"CLICOLOR_FORCE": "1"}, false, false},
		{ColorAuto, map[string]string{"NO_COLOR": "1"}, false, false},
		{ColorAuto, map[string]string{"NO_COLOR": ""}, true, false},
		{ColorAuto, map[string]string{"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, false, false},
		{ColorAuto, map[string]string{"CLICOLOR_FORCE": "1"}, true, true},
		{ColorAuto, map[string]string{"CLICOLOR_FORCE": "0"}, true, false},
		{ColorAuto, map[string]string{"FORCE_COLOR": "3"}, true, true},
		{ColorAuto, map[string]string{"FORCE_COLOR": "false"}, true, false},
		{ColorAuto, map[string]string{"CLICOLOR": "0"}, false, false},
		{ColorAuto, map[string]string{"TERM": "dumb"}, false, false},
		{ColorAuto, map[string]string{"TERM": "dumb", "FORCE_COLOR": "1"}, true, true},
	} {
		if got := Colored(tty, test.mode, environment(test.env)); got != test.tty {
			t.Errorf("terminal, %s, %v: %v", test.mode, test.env, got)
		}
		if got := Colored(file, test.mode, environment(test.env)); got != test.file {
			t.Errorf("file, %s, %v: %v", test.mode, test.env, got)
		}
	}
}

func TestWidth(t *testing.T) {
	for _, test := range []struct {
		columns uint16 // 0: no terminal
		env     string
		want    int
	}{
		{0, "", 80},
		{0, "120", 120},
		{0, "-3", 80},
		{0, "wide", 80},
		{0, "7", 40},
		{0, "100000", 240},
		{132, "120", 132},
		{20, "", 40},
	} {
		env := environment(map[string]string{"COLUMNS": test.env})
		var got int
		if test.columns == 0 {
			got = Width(&bytes.Buffer{}, env)
		} else {
			tty, _ := termtest.Open(t, test.columns)
			got = Width(tty, env)
		}
		if got != test.want {
			t.Errorf("%d columns, COLUMNS=%s: width %d, want %d", test.columns, test.env, got, test.want)
		}
	}
}

func TestIsTerminal(t *testing.T) {
	tty, _ := termtest.Open(t, 80)
	if !IsTerminal(tty) || IsTerminal(&bytes.Buffer{}) || IsTerminal(nil) {
		t.Error("a terminal is one, a buffer and nothing are none")
	}
}

func TestParseColorMode(t *testing.T) {
	for text, want := range map[string]ColorMode{"": ColorAuto, "auto": ColorAuto, "always": ColorAlways, "never": ColorNever} {
		if got, err := ParseColorMode(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := ParseColorMode("yes"); err == nil {
		t.Error("yes is no mode")
	}
}
