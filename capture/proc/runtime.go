package proc

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/leakscope/leakscope/snapshot"
)

// runtimeOf tells the kind of program from its mappings: a mapped libj9vm*.so is
// OpenJ9 (which maps a libjvm.so of its own too, so it is looked for first), a
// mapped libjvm.so is HotSpot. Otherwise an executable with Go build
// information is Go, and any other native. Where the mappings cannot be read
// nothing is claimed.
func (f FS) runtimeOf(pid int) (snapshot.Runtime, error) {
	hotspot, openj9 := false, false
	err := f.eachMapping(pid, "maps", func(v *vma) {
		hotspot = hotspot || v.name == "libjvm.so"
		openj9 = openj9 || (strings.HasPrefix(v.name, "libj9vm") && strings.Contains(v.name, ".so"))
	})
	switch {
	case openj9:
		return snapshot.RuntimeOpenJ9, nil
	case hotspot:
		return snapshot.RuntimeHotSpot, nil
	case err != nil:
		return snapshot.RuntimeUnknown, err
	}
	isGo, err := f.isGo(pid)
	switch {
	case err != nil:
		return snapshot.RuntimeUnknown, err
	case isGo:
		return snapshot.RuntimeGo, nil
	}
	return snapshot.RuntimeNative, nil
}

// isGo reads the executable through /proc/PID/exe, which leads to the file that
// runs even when it was replaced or lies in another mount namespace.
func (f FS) isGo(pid int) (is bool, err error) {
	exe, err := os.Open(f.path(file(pid, "exe")))
	if err != nil {
		return false, f.fail(pid, "exe", err)
	}
	defer func() { _ = exe.Close() }()
	if info, err := exe.Stat(); err != nil || !info.Mode().IsRegular() {
		return false, f.fail(pid, "exe", errors.Join(err, errors.New("not a regular file")))
	}
	defer func() {
		// The executable is hostile input to the standard library's ELF reader.
		if p := recover(); p != nil {
			is, err = false, &Error{PID: pid, File: shown(pid, "exe"), Err: fmt.Errorf("damaged executable: %v", p)}
		}
	}()
	_, err = buildinfo.Read(exe)
	var io *fs.PathError
	if errors.As(err, &io) {
		return false, f.fail(pid, "exe", err)
	}
	return err == nil, nil
}
