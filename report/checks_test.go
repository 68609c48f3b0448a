package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// TestFailedCheckIsShown holds that a heap whose own books don't agree says so
// wherever it is shown.
func TestFailedCheckIsShown(t *testing.T) {
	s := &snapshot.Snapshot{Heap: &snapshot.Heap{
		Method: "heap-dump", Complete: true,
		Checks: []snapshot.Check{{Name: "deallocators = java.nio.Bits.RESERVED_MEMORY", Expected: 9000, Actual: 4196}},
	}}
	r := analyze.Report(analyze.Named{Name: "x.lscope", Snapshot: s}, analyze.Options{})
	shown := map[string]string{"report": table(t, r, nil, Options{Width: 120})}
	var b bytes.Buffer
	if err := Inspect(&b, "x.lscope", s, Options{Width: 120}); err != nil {
		t.Fatal(err)
	}
	shown["inspect"] = b.String()
	for name, out := range shown {
		flat := strings.Join(strings.Fields(strings.ReplaceAll(out, ",", "")), " ")
		for _, want := range []string{"deallocators = java.nio.Bits.RESERVED_MEMORY", "9000", "4196"} {
			if !strings.Contains(flat, want) {
				t.Errorf("%s does not say %q:\n%s", name, want, out)
			}
		}
	}
}
