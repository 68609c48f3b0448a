package report

// Options say how a result is shown.
type Options struct {
	Width int  // columns of the table formats; 0: 80
	Color bool // colour the table formats
	// Top is how many holders, connections and trends are shown; 0: 10,
	// negative: all.
	Top int
	// Retainers is how many steps of the tree of retained sizes are shown;
	// 0: none, negative: all.
	Retainers int
	// ShowAddresses leaves network addresses and host names as they are in the
	// formats that mask them by default: markdown, github, sarif.
	ShowAddresses bool
}

const (
	defaultWidth = 80
	minWidth     = 74 // figures are never cut: narrower terminals break the lines
	defaultTop   = 10
)

func (o Options) width() int {
	if o.Width == 0 {
		return defaultWidth
	}
	return max(o.Width, minWidth)
}

// top is how many of n rows are shown.
func (o Options) top(n int) int {
	switch {
	case o.Top < 0:
		return n
	case o.Top == 0:
		return min(n, defaultTop)
	}
	return min(n, o.Top)
}
