package analyze

import (
	"strings"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

// container is a process that uses so much of a container's 1000 MiB, and so
// much of 100 MiB for direct buffers.
func container(seconds float64, usedMiB, directMiB int64) *world {
	w := at(seconds)
	w.s.Memory = &snapshot.Memory{CgroupUsedBytes: known(usedMiB << 20), CgroupLimitBytes: known[int64](1000 << 20)}
	w.s.JVM = &snapshot.JVM{MaxDirectMemoryBytes: known[int64](100 << 20)}
	w.s.Heap.Counters = []snapshot.Counter{{Name: "java.nio.Bits.RESERVED_MEMORY", Value: known(directMiB << 20)}}
	return w
}

func limitsFound(r *Result) (found []string) {
	for _, f := range r.Findings {
		if f.Cause == CauseNearLimit || f.Cause == CauseLimitTooLow {
			found = append(found, f.ID+" "+string(f.Severity)+": "+f.Evidence[0].Text)
		}
	}
	return found
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		worlds []*world
		want   []string // parts of the findings, in order
	}{
		{"far from both", []*world{container(0, 300, 10), container(60, 300, 10)}, nil},
		{"full and at rest", []*world{container(0, 900, 10), container(60, 900, 10)}, []string{"limit-too-low//container memory limit warning: 900 MiB of 1.0 GiB"}},
		{"full and growing", []*world{container(0, 900, 10), container(60, 930, 10)}, []string{"near-limit//container memory limit warning: 930 MiB of 1.0 GiB"}},
		{"nearly at the end", []*world{container(0, 900, 10), container(60, 990, 10)}, []string{"near-limit//container memory limit error"}},
		{"at the present rate", []*world{container(0, 300, 10), container(60, 340, 10), container(120, 382, 10), container(180, 421, 10), container(240, 460, 10)}, []string{
			"near-limit//container memory limit warning: 460 MiB of 1.0 GiB in use (46 %), garbage not counted; reached in 14 min at the present rate",
		}},
		{"direct memory too", []*world{container(0, 300, 50), container(60, 300, 97)}, []string{"near-limit//MaxDirectMemorySize error: 97.0 MiB of 100 MiB"}},
		{"many snapshots at rest", []*world{container(0, 900, 10), container(60, 900, 10), container(120, 900, 10), container(180, 900, 10)}, []string{"limit-too-low//container memory limit warning"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := limitsFound(mustDiff(t, test.worlds...))
			if len(got) != len(test.want) {
				t.Fatalf("found %q, want %q", got, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("found %q, want %q…", got[i], want)
				}
			}
		})
	}
	r := mustDiff(t, container(0, 300, 10), container(60, 340, 10), container(120, 382, 10), container(180, 421, 10), container(240, 460, 10))
	if got := limitsFound(r); len(got) != 1 || !strings.Contains(got[0], "90 % interval") {
		t.Errorf("no interval in %q", got)
	}
}
