package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/leakscope/leakscope/snapshot"
)

// snapshotName names the snapshots so that they sort in their order.
func (f *leakTestFlags) snapshotName(i int) string {
	switch {
	case i == 0:
		return "base.lscope"
	case f.count == 2:
		return "head.lscope"
	}
	return fmt.Sprintf("head-%0*d.lscope", len(strconv.Itoa(f.count-1)), i)
}

// checkFiles refuses names that are taken, and makes the directory.
func (t *leakTest) checkFiles() error {
	f := t.flags
	var files []string
	if f.log != "" {
		files = append(files, f.log)
	}
	if f.keep != "" {
		for i := range f.count {
			files = append(files, filepath.Join(f.keep, f.snapshotName(i)))
		}
		if err := os.MkdirAll(f.keep, 0o755); err != nil {
			return &failure{code: exitUsage, err: fmt.Errorf("keep the snapshots: %w", err)}
		}
	}
	for _, file := range files {
		if _, err := os.Lstat(file); err == nil && !f.outputs.force {
			return &snapshot.ExistsError{Path: file}
		}
	}
	for _, out := range t.plan.outputs {
		if out.file == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(out.file)); err != nil {
			return &failure{code: exitUsage, err: fmt.Errorf("format %s: %w", out.format, err), hint: "make the directory first, or keep the snapshots there with --keep"}
		}
	}
	return nil
}

func (t *leakTest) openLog() (*os.File, error) {
	mode := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if !t.flags.outputs.force {
		mode |= os.O_EXCL
	}
	file, err := os.OpenFile(t.flags.log, mode, 0o644)
	if err != nil {
		return nil, &failure{code: exitUsage, err: fmt.Errorf("log: %w", err)}
	}
	return file, nil
}

// shareable makes a writer safe to be written to from several goroutines.
func shareable(w io.Writer) io.Writer {
	if _, ok := w.(*os.File); ok {
		return w
	}
	return &lockedWriter{w: w}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
