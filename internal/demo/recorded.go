package demo

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// The names of the two snapshots of a demo.
const (
	First  = "first.lscope"
	Second = "second.lscope"
)

// recorded/README.md says how the snapshots were made.
//
//go:embed recorded
var recorded embed.FS

// ErrNotRecorded is wrapped when this build ships no snapshots.
var ErrNotRecorded = errors.New("this build ships no recorded snapshots")

// Recorded returns the files of the snapshots that were recorded from the demo:
// after its first phase, and after its second.
func Recorded() (first, second []byte, err error) {
	for _, file := range []struct {
		name string
		to   *[]byte
	}{{First, &first}, {Second, &second}} {
		content, err := recorded.ReadFile("recorded/" + file.name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, ErrNotRecorded
		}
		if err != nil {
			return nil, nil, fmt.Errorf("recorded snapshot: %w", err)
		}
		*file.to = content
	}
	return first, second, nil
}
