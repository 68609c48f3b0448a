package vmstructs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitAt(t *testing.T) {
	runs := []extent{{100, 200}, {200, 300}, {400, 500}}
	for _, test := range []struct {
		starts []uint64
		want   []extent
	}{
		{nil, runs},
		{[]uint64{400, 100, 200}, runs},
		{[]uint64{150}, []extent{{100, 150}, {150, 200}, {200, 300}, {400, 500}}},
		{[]uint64{490, 150, 160, 150}, []extent{{100, 150}, {150, 160}, {160, 200}, {200, 300}, {400, 490}, {490, 500}}},
		{[]uint64{50, 350, 600}, runs},
	} {
		if diff := cmp.Diff(test.want, splitAt(runs, test.starts), cmp.AllowUnexported(extent{})); diff != "" {
			t.Errorf("at %v: %s", test.starts, diff)
		}
	}
}
