package heap

import "github.com/leakscope/leakscope/heap/hprof"

// markAnchors marks the objects whose ancestors matter: allocations, pools'
// chunks, connections and evidence. Buffers that are only views, the memory of
// a chunk, and pooled objects that are not in use are left out, so that what
// holds nothing but those is never looked at.
func (red *reduction) markAnchors(marks bitmap) {
	memory := map[packed]bool{}
	red.eachKept(func(p *plan, id packed, value func(string) uint64) {
		if p.want.role == roleChunk {
			if m := value("memory"); m != 0 {
				memory[red.pages.pack(m)] = true
			}
		}
	})
	if len(memory) > 0 {
		// Aligned memory is a view: its base is the chunk's memory as well.
		red.eachKept(func(p *plan, id packed, value func(string) uint64) {
			if p.want.role == roleBuffer && memory[id] {
				if base := value("att"); base != 0 {
					memory[red.pages.pack(base)] = true
				}
			}
		})
	}
	red.eachKept(func(p *plan, id packed, value func(string) uint64) {
		switch p.want.role {
		case roleBuffer:
			if value("att") == 0 && !memory[id] {
				marks.set(id)
			}
		case rolePooled, roleCacheEntry, roleAdaptive:
			if value("chunk") != 0 {
				marks.set(id)
			}
		case roleChunk, roleAdaptiveChunk, roleCleanup,
			roleSocket, roleServer, roleChannel, roleKey, roleEvidence:
			marks.set(id)
		}
	})
}

// eachKept visits the kept rows of a finished pass. value reads a kept field
// by name, 0 when the class has none of that name.
func (red *reduction) eachKept(visit func(p *plan, id packed, value func(name string) uint64)) {
	for _, w := range red.workers {
		for p, rows := range w.kept {
			var row []byte
			names := map[string]*keptField{}
			layout := Layout(red.reg.classes, p.id)
			for i := range p.keep {
				if name := layout[p.keep[i].field].Name; names[name] == nil {
					names[name] = &p.keep[i]
				}
			}
			value := func(name string) uint64 {
				k := names[name]
				if k == nil {
					return 0
				}
				return hprof.ReadValue(row[k.at:], uint8(k.typ), red.idSize)
			}
			for i, id := range rows.ids {
				row = rows.values[i*p.kept : (i+1)*p.kept]
				visit(p, id, value)
			}
		}
	}
}
