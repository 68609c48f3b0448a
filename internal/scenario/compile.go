package scenario

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// compiled is the folder of classes that all tests of one binary share.
var compiled struct {
	sync.Mutex
	folder string
	users  int
}

// Compile compiles all scenarios and returns the folder of the classes. Tests
// that run at the same time share one; the last to end removes it.
func Compile(t testing.TB) string {
	t.Helper()
	javac := filepath.Join(Required(t).Home, "bin", "javac") // it knows --release 8
	compiled.Lock()
	defer compiled.Unlock()
	if compiled.users == 0 {
		folder, err := os.MkdirTemp("", "leakscope-scenarios-")
		if err != nil {
			t.Fatal(err)
		}
		compiled.folder = folder
		if message := compile(t, javac, folder); message != "" {
			_ = os.RemoveAll(folder)
			t.Fatal(message)
		}
	}
	compiled.users++
	t.Cleanup(func() {
		compiled.Lock()
		defer compiled.Unlock()
		if compiled.users--; compiled.users == 0 {
			_ = os.RemoveAll(compiled.folder)
		}
	})
	return compiled.folder
}

// compile fills a folder with classes; it returns what went wrong, or "".
func compile(t testing.TB, javac, classes string) string {
	t.Helper()
	var sources []string // in the order of the table: later ones build on earlier ones
	release := map[string]string{}
	classPath := map[string][]string{}
	for _, l := range libraries(t) {
		if !slices.Contains(sources, l.source) {
			sources = append(sources, l.source)
		}
		release[l.source] = l.release
		classPath[l.source] = append(classPath[l.source], l.classPath(t)...)
	}
	for _, source := range sources {
		files, err := javaFiles(filepath.Join(folder(t), source))
		if err != nil {
			return err.Error()
		}
		path := strings.Join(append([]string{classes}, classPath[source]...), ":")
		arguments := append([]string{"-encoding", "UTF-8", "--release", release[source], "-Xlint:-options", "-nowarn", "-cp", path, "-d", classes}, files...)
		if out, err := exec.CommandContext(t.Context(), javac, arguments...).CombinedOutput(); err != nil {
			return javac + ": " + err.Error() + "\n" + string(out)
		}
	}
	return ""
}

// javaFiles lists the sources below a folder.
func javaFiles(folder string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".java") {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no sources in %s", folder)
	}
	return files, err
}
