package heap

// readEvidence reads, for each connection, the few fields that prove a cause.
func (w *walk) readEvidence() error {
	for i := range w.connections {
		c := &w.connections[i]
		for _, n := range w.connNodes[i] {
			if yes, known := w.reachable(n); known {
				if c.Reachable == nil {
					c.Reachable = new(bool)
				}
				*c.Reachable = *c.Reachable || yes
			}
		}
	}
	return nil
}
