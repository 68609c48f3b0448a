package report

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/snapshot"
)

func bytesOf(n analyze.Int) string {
	if v, ok := n.Get(); ok {
		return units.Bytes(v)
	}
	return unknown
}

// compactFrom is the count from which tables write 123k or 4.6M.
const compactFrom = 100_000

func count(n int64) string {
	switch a := math.Abs(float64(n)); {
	case a < compactFrom:
		return units.Count(n)
	case a < 999_500:
		return fmt.Sprintf("%.0fk", float64(n)/1e3)
	case a < 99_950_000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0fM", float64(n)/1e6)
}

func countOf(n analyze.Int) string {
	if v, ok := n.Get(); ok {
		return count(v)
	}
	return unknown
}

func signed(n int64, write func(int64) string) string {
	if n > 0 {
		return "+" + write(n)
	}
	return write(n)
}

// change is head − base, unknown unless both are known.
func change(base, head analyze.Int) analyze.Int {
	b, okB := base.Get()
	h, okH := head.Get()
	if !okB || !okH {
		return analyze.Int{}
	}
	return snapshot.Known(h - b)
}

func signedBytesOf(n analyze.Int) string {
	if v, ok := n.Get(); ok {
		return units.SignedBytes(v)
	}
	return unknown
}

func signedCountOf(n analyze.Int) string {
	if v, ok := n.Get(); ok {
		return signed(v, count)
	}
	return unknown
}

func byteChange(base, head analyze.Int) string  { return signedBytesOf(change(base, head)) }
func countChange(base, head analyze.Int) string { return signedCountOf(change(base, head)) }

// shareOf is part of whole in percent; of nothing there is no share.
func shareOf(part, whole analyze.Int) string {
	p, okP := part.Get()
	w, okW := whole.Get()
	switch {
	case !okP || !okW:
		return unknown
	case w == 0:
		return ""
	}
	share := float64(p) / float64(w) * 100
	if share > 0 && share < 0.5 {
		return "<1%"
	}
	if math.Abs(share) < 0.5 {
		share = 0 // not "-0%"
	}
	return fmt.Sprintf("%.0f%%", share)
}

func secondsOf(s analyze.Float) string {
	if v, ok := s.Get(); ok {
		return units.Seconds(v)
	}
	return unknown
}

// less is a − b, unknown unless both are known.
func less(a, b analyze.Int) analyze.Int { return change(b, a) }

// lessDelta is a − b, part by part.
func lessDelta(a, b analyze.Delta) analyze.Delta {
	return analyze.Delta{
		Base: less(a.Base, b.Base), Head: less(a.Head, b.Head), Retained: less(a.Retained, b.Retained),
		New: less(a.New, b.New), Freed: less(a.Freed, b.Freed),
	}
}

// plus adds, unknown unless both are known.
func plus(a, b analyze.Int) analyze.Int {
	x, okX := a.Get()
	y, okY := b.Get()
	if !okX || !okY {
		return analyze.Int{}
	}
	return snapshot.Known(x + y)
}

func plusDelta(a, b analyze.Delta) analyze.Delta {
	return analyze.Delta{
		Base: plus(a.Base, b.Base), Head: plus(a.Head, b.Head), Retained: plus(a.Retained, b.Retained),
		New: plus(a.New, b.New), Freed: plus(a.Freed, b.Freed),
	}
}

func zero() analyze.Delta {
	z := snapshot.Known[int64](0)
	return analyze.Delta{Base: z, Head: z, Retained: z, New: z, Freed: z}
}

// nothing reports a delta that is known to be zero, or not known, on both sides.
func nothing(d analyze.Delta) bool { return d.Base.Or(0) == 0 && d.Head.Or(0) == 0 }

func nobody(p analyze.Pair) bool { return p.Base.Or(0) == 0 && p.Head.Or(0) == 0 }

// peers is the name of a connection by its addresses.
func peers(local, remote netip.AddrPort) string {
	switch {
	case remote.IsValid() && local.IsValid():
		return local.String() + " → " + remote.String()
	case remote.IsValid():
		return "→ " + remote.String()
	case local.IsValid():
		return local.String()
	}
	return ""
}
