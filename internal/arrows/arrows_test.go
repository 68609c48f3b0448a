package arrows

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/leakscope/leakscope/"

// allowed says what each folder may import of ours; a folder's own packages and
// internal/ are always allowed, cmd/ may import everything.
var allowed = map[string][]string{
	"analyze":  {"snapshot"},
	"capture":  {"heap", "snapshot"},
	"doc":      {},
	"heap":     {},
	"policy":   {"analyze", "snapshot"},
	"report":   {"analyze", "policy", "snapshot"},
	"schema":   {},
	"snapshot": {},
}

// pure are the folders that must not even import internal/.
var pure = []string{"heap", "snapshot"}

func TestImportArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := map[string]bool{}
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := top(p.ImportPath)
		seen[from] = true
		if from == "cmd" || from == "internal" || from == "testdata" {
			continue
		}
		may, known := allowed[from]
		if !known {
			t.Errorf("%s: the folder %s has no arrows yet: add it here and to doc/architecture.md", p.ImportPath, from)
			continue
		}
		for _, path := range p.Imports {
			if !strings.HasPrefix(path, module) {
				continue
			}
			to := top(path)
			if to == from || slices.Contains(may, to) || (to == "internal" && !slices.Contains(pure, from)) {
				continue
			}
			t.Errorf("%s imports %s", p.ImportPath, path)
		}
	}
	for folder := range allowed {
		if !seen[folder] && folder != "schema" {
			t.Errorf("folder %s has no package: is it still there?", folder)
		}
	}
}

func top(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
	return first
}
