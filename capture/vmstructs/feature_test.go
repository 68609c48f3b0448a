package vmstructs

import "testing"

func TestFeature(t *testing.T) {
	for version, want := range map[string]int{
		"25.402-b06": 8, "25.504-b01": 8, "25+36": 25, "25.0.5.0.3+1-1-Debian": 25, "17.0.15+6-Debian-1": 17,
		"11.0.33-ea+8-post-1-Debian": 11, "27-ea": 27, "21": 21, "": 0, "x": 0, "999999999999999999999+1": 0,
	} {
		if got := Feature(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}
