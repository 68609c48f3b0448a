package analyze

import "github.com/leakscope/leakscope/snapshot"

// Options are the limits that turn evidence into words. The zero value of a
// field means its default.
type Options struct {
	// IdleSeconds is how long nothing must have moved on an established
	// connection before it counts as idle; 10 by default.
	IdleSeconds float64
	// NoiseBytes is the change of retained memory that counts as nothing: 256
	// KiB by default, and never less than one percent of the base.
	NoiseBytes int64
}

const (
	defaultIdleSeconds = 10
	defaultNoiseBytes  = 256 << 10
	noiseDivisor       = 100 // of the base
	// structuralBytes is the least growth of memory that nothing will use
	// again that proves a leak: one page of a small buffer would do, but a
	// busy target always has a few buffers on their way out.
	structuralBytes = 64 << 10
)

func (o Options) idleSeconds() float64 {
	if o.IdleSeconds > 0 {
		return o.IdleSeconds
	}
	return defaultIdleSeconds
}

func (o Options) noise(base int64) int64 {
	limit := o.NoiseBytes
	if limit <= 0 {
		limit = defaultNoiseBytes
	}
	return max(limit, base/noiseDivisor)
}

// Named is a snapshot and the name it is shown under.
type Named struct {
	Name     string
	Snapshot *snapshot.Snapshot
}
