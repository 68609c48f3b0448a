package heap

// markAnchors marks the objects whose ancestors matter: allocations, pools'
// chunks, connections and evidence. Buffers that are only views, the memory of
// a chunk, and pooled objects that are not in use are left out, so that what
// holds nothing but those is never looked at.
func (red *reduction) markAnchors(marks bitmap) {
	memory := map[packed]bool{}
	red.eachKept(func(p *plan, id packed, reference func(string) packed) {
		if p.want.role == roleChunk {
			if m := reference("memory"); m != noObject {
				memory[m] = true
			}
		}
	})
	if len(memory) > 0 {
		// Aligned memory is a view: its base is the chunk's memory as well.
		red.eachKept(func(p *plan, id packed, reference func(string) packed) {
			if p.want.role == roleBuffer && memory[id] {
				if base := reference("att"); base != noObject {
					memory[base] = true
				}
			}
		})
	}
	red.eachKept(func(p *plan, id packed, reference func(string) packed) {
		switch p.want.role {
		case roleBuffer:
			if reference("att") == noObject && !memory[id] {
				marks.set(id)
			}
		case rolePooled, roleCacheEntry, roleAdaptive:
			if reference("chunk") != noObject {
				marks.set(id)
			}
		case roleChunk, roleAdaptiveChunk, roleCleanup,
			roleSocket, roleServer, roleChannel, roleKey, roleEvidence:
			marks.set(id)
		}
	})
}
