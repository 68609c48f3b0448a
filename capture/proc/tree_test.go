package proc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes a fixture as a directory and returns it as a proc file system.
// Files under cgroup/ go where the fixture's mountinfo has its control groups.
func tree(t testing.TB, fixture string, changes map[string]string) FS {
	t.Helper()
	archive, err := os.ReadFile(filepath.Join("testdata", fixture))
	if err != nil {
		t.Fatal(err)
	}
	files, name := map[string]string{}, ""
	for line := range strings.Lines(string(archive)) { // the format of txtar
		if rest, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(rest, " --\n") {
			name = strings.TrimSuffix(rest, " --\n")
			files[name] = ""
		} else if name != "" {
			files[name] += line
		}
	}
	for name, text := range changes {
		files[name] = text
		if text == "" {
			delete(files, name)
		}
	}
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "proc", name)
		if rest, ok := strings.CutPrefix(name, "cgroup/"); ok {
			path = filepath.Join(root, "sys/fs/cgroup", rest)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(strings.TrimSuffix(target, "\n"), path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fs := NewFS(filepath.Join(root, "proc"))
	fs.host = root
	return fs
}
