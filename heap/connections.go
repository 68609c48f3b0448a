package heap

import (
	"net/netip"
	"slices"
	"strings"
)

// readConnections makes a Connection of each socket object, one for a Netty
// channel and the JDK channel inside it.
func (w *walk) readConnections() error {
	w.connAt = map[Node]int32{}
	jdk := slices.Concat(w.objects[roleSocket], w.objects[roleServer])
	slices.Sort(jdk)
	isJDK := map[Node]bool{}
	for _, n := range jdk {
		isJDK[n] = true
	}
	// Netty channels, and the JDK channels they wrap.
	channels := w.objects[roleChannel]
	v, ok, err := w.columns(channels, "ch", "socket", "closeInitiated")
	if err != nil {
		return err
	}
	type outer struct {
		node      Node
		inner     Node // JDK channel
		fd        Node // epoll socket
		initiated *bool
	}
	var outers []outer
	wrapped := map[Node]bool{}
	for i, n := range channels {
		o := outer{node: n, inner: None, fd: None}
		if ok[i*3] && Node(v[i*3]) != None {
			if r := w.roleOf(Node(v[i*3])); r != roleSocket && r != roleServer {
				continue // a datagram or other channel: no connection
			}
			if o.inner = Node(v[i*3]); !isJDK[o.inner] {
				continue // made since they were looked for
			}
			wrapped[o.inner] = true
		} else if ok[i*3+1] && Node(v[i*3+1]) != None {
			if strings.Contains(w.className(n), "Datagram") {
				continue
			}
			o.fd = Node(v[i*3+1])
		} else if ok[i*3] {
			continue
		}
		if ok[i*3+2] {
			closed := v[i*3+2] != 0
			o.initiated = &closed
		}
		outers = append(outers, o)
	}
	type made struct {
		nodes []Node
		c     Connection
	}
	var all []made
	inner, opened, err := w.readSockets(jdk)
	if err != nil {
		return err
	}
	byNode := map[Node]int{}
	for i, n := range jdk {
		byNode[n] = i
		if !wrapped[n] && opened[i] {
			all = append(all, made{[]Node{n}, inner[i]})
		}
	}
	epoll, err := w.readEpoll(channels)
	if err != nil {
		return err
	}
	for _, o := range outers {
		m := made{nodes: []Node{o.node}}
		if o.inner != None {
			m.nodes = append(m.nodes, o.inner)
			m.c = inner[byNode[o.inner]]
		} else if o.fd != None {
			m.c = epoll[o.node]
		}
		if m.c.Closed == nil {
			m.c.Closed = o.initiated
		}
		m.c.Class = w.className(o.node)
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b made) int { return int(int64(a.nodes[0]) - int64(b.nodes[0])) })
	for i := range all {
		m := &all[i]
		if m.c.Class == "" {
			m.c.Class = w.className(m.nodes[0])
		}
		m.c.Object = w.g.Address(m.nodes[0])
		for _, n := range m.nodes {
			w.connAt[n] = int32(i)
		}
		w.connections = append(w.connections, m.c)
		w.connNodes = append(w.connNodes, m.nodes)
	}
	return w.attachKeys()
}

func (w *walk) roleOf(n Node) role {
	if c := w.g.Class(n); c >= 0 && w.roles[c] != nil {
		return w.roles[c].role
	}
	return roleNone
}

// attachKeys lets each selection key stand for the connection of its channel:
// what is attached to the key belongs to it.
func (w *walk) attachKeys() error {
	keys := w.objects[roleKey]
	v, ok, err := w.columns(keys, "channel")
	if err != nil {
		return err
	}
	for i, k := range keys {
		if !ok[i] {
			continue
		}
		if c, known := w.connAt[Node(v[i])]; known {
			if _, taken := w.connAt[k]; !taken {
				w.connAt[k] = c
				w.connNodes[c] = append(w.connNodes[c], k)
			}
		}
	}
	return nil
}

// readSockets reads what JDK socket objects say of themselves. One that was
// made and never opened is no connection: up to JDK 12 each server socket
// channel makes such a java.net.SocksSocketImpl.
func (w *walk) readSockets(nodes []Node) (out []Connection, opened []bool, err error) {
	const (
		fdVal = iota
		fd
		state
		closed
		local
		remote
		address
		port
		localPort
		server
		serverSocket
		closePending
		width
	)
	v, ok, err := w.columns(nodes, "fdVal", "fd", "state", "closed", "localAddress", "remoteAddress",
		"address", "port", "localport", "server", "serverSocket", "closePending")
	if err != nil {
		return nil, nil, err
	}
	out, opened = make([]Connection, len(nodes)), make([]bool, len(nodes))
	var ends []Node // addresses to read, two for each
	var fds []Node
	for i := range nodes {
		row, known := v[i*width:(i+1)*width], ok[i*width:(i+1)*width]
		end := [2]Node{None, None}
		if known[local] {
			end[0] = Node(row[local])
		}
		if known[remote] {
			end[1] = Node(row[remote])
		} else if known[address] {
			end[1] = Node(row[address])
		}
		ends = append(ends, end[0], end[1])
		f := None
		if known[fd] {
			f = Node(row[fd])
		}
		fds = append(fds, f)
	}
	addrs, err := w.readAddresses(ends)
	if err != nil {
		return nil, nil, err
	}
	fdNumbers, fdKnown, err := w.columnsOf(fds, "fd")
	if err != nil {
		return nil, nil, err
	}
	names := map[ClassID]map[uint64]string{}
	for i, n := range nodes {
		row, known := v[i*width:(i+1)*width], ok[i*width:(i+1)*width]
		c := &out[i]
		class := w.g.Class(n)
		c.Local, c.Remote = addrs[2*i], addrs[2*i+1]
		if known[fdVal] {
			number := int(int32(row[fdVal]))
			c.FD = &number
		} else if fdKnown[i] {
			number := int(int32(fdNumbers[i]))
			c.FD = &number
		}
		if known[state] {
			if names[class] == nil {
				names[class] = w.stateNames(class)
			}
			c.State = names[class][row[state]]
		}
		if known[closed] {
			b := row[closed] != 0
			c.Closed = &b
		} else if known[closePending] {
			b := row[closePending] != 0 || c.FD != nil && *c.FD < 0
			c.Closed = &b
		}
		if c.State == "closed" || c.State == "killed" {
			b := true
			c.Closed = &b
		} else if c.Closed == nil && c.State != "" {
			b := false
			c.Closed = &b
		}
		// A descriptor comes with create(); close() takes it away again
		// (AbstractPlainSocketImpl) or leaves it (NioSocketImpl).
		noDescriptor := known[fd] && Node(row[fd]) == None
		opened[i] = !noDescriptor || c.Closed != nil && *c.Closed
		c.Listening = w.roleOf(n) == roleServer
		if known[server] && row[server] != 0 || known[serverSocket] && Node(row[serverSocket]) != None {
			c.Listening = true
		}
		// java.net.SocketImpl keeps ports beside the peer's address.
		if known[port] {
			if c.Remote.Addr().IsValid() && row[port] != 0 {
				c.Remote = netip.AddrPortFrom(c.Remote.Addr(), uint16(row[port]))
			}
			if p := uint16(row[localPort]); known[localPort] && p != 0 {
				c.Local = netip.AddrPortFrom(netip.IPv6Unspecified(), p)
			}
		}
		if c.Listening {
			if !c.Local.IsValid() && c.Remote.IsValid() {
				c.Local = c.Remote
			}
			c.Remote = netip.AddrPort{}
		}
	}
	return out, opened, nil
}

// stateNames reads the ST_ constants of a class.
func (w *walk) stateNames(c ClassID) map[uint64]string {
	names := map[uint64]string{}
	for steps := 0; c >= 0 && int(c) < len(w.classes) && steps <= maxSupers; steps++ {
		for _, name := range w.g.StaticNames(c) {
			rest, isState := strings.CutPrefix(name, "ST_")
			if value, _, ok := w.g.Static(c, name); ok && isState {
				if _, taken := names[value]; !taken {
					names[value] = strings.ToLower(rest)
				}
			}
		}
		c = w.classes[c].Super
	}
	return names
}

// columnsOf reads one field of objects some of which may be None.
func (w *walk) columnsOf(nodes []Node, name string) ([]uint64, []bool, error) {
	values, ok := make([]uint64, len(nodes)), make([]bool, len(nodes))
	var some []Node
	var at []int
	for i, n := range nodes {
		if n != None {
			some = append(some, n)
			at = append(at, i)
		}
	}
	v, k, err := w.columns(some, name)
	if err != nil {
		return nil, nil, err
	}
	for j, i := range at {
		values[i], ok[i] = v[j], k[j]
	}
	return values, ok, nil
}

// readAddresses reads java.net addresses: an InetSocketAddress or a bare
// InetAddress (whose port stays 0).
func (w *walk) readAddresses(nodes []Node) ([]netip.AddrPort, error) {
	out := make([]netip.AddrPort, len(nodes))
	socket := make([]Node, len(nodes))
	inet := make([]Node, len(nodes))
	for i, n := range nodes {
		socket[i], inet[i] = None, None
		switch {
		case n == None:
		case w.isA(w.g.Class(n), "java.net.InetSocketAddress"):
			socket[i] = n
		case w.isA(w.g.Class(n), "java.net.InetAddress"):
			inet[i] = n
		}
	}
	holders, ok, err := w.refs(socket, "holder")
	if err != nil {
		return nil, err
	}
	_ = ok
	addrs, _, err := w.refs(holders, "addr")
	if err != nil {
		return nil, err
	}
	ports, portOK, err := w.columnsOf(holders, "port")
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		if addrs[i] != None {
			inet[i] = addrs[i]
		}
	}
	v4, _, err := w.refs(inet, "holder")
	if err != nil {
		return nil, err
	}
	bits, bitsOK, err := w.columnsOf(v4, "address")
	if err != nil {
		return nil, err
	}
	v6, _, err := w.refs(inet, "holder6")
	if err != nil {
		return nil, err
	}
	arrays, _, err := w.refs(v6, "ipaddress")
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		var a netip.Addr
		if arrays[i] != None {
			if b, ok := w.g.Address6(arrays[i]); ok {
				a = netip.AddrFrom16(b).Unmap()
			}
		} else if bitsOK[i] && v6[i] == None {
			b := uint32(bits[i])
			a = netip.AddrFrom4([4]byte{byte(b >> 24), byte(b >> 16), byte(b >> 8), byte(b)})
		}
		if a.IsValid() {
			port := uint16(0)
			if portOK[i] {
				port = uint16(ports[i])
			}
			out[i] = netip.AddrPortFrom(a, port)
		}
	}
	return out, nil
}

// refs reads a reference field of objects some of which may be None.
func (w *walk) refs(nodes []Node, name string) ([]Node, []bool, error) {
	v, ok, err := w.columnsOf(nodes, name)
	if err != nil {
		return nil, nil, err
	}
	out := make([]Node, len(nodes))
	for i := range out {
		out[i] = None
		if ok[i] {
			out[i] = Node(v[i])
		}
	}
	return out, ok, nil
}

// readEpoll reads what Netty's native channels say of themselves.
func (w *walk) readEpoll(channels []Node) (map[Node]Connection, error) {
	sockets, _, err := w.refs(channels, "socket")
	if err != nil {
		return nil, err
	}
	fds, fdOK, err := w.columnsOf(sockets, "fd")
	if err != nil {
		return nil, err
	}
	states, stateOK, err := w.columnsOf(sockets, "state")
	if err != nil {
		return nil, err
	}
	locals, _, err := w.refs(channels, "local")
	if err != nil {
		return nil, err
	}
	remotes, _, err := w.refs(channels, "remote")
	if err != nil {
		return nil, err
	}
	l, err := w.readAddresses(locals)
	if err != nil {
		return nil, err
	}
	r, err := w.readAddresses(remotes)
	if err != nil {
		return nil, err
	}
	out := map[Node]Connection{}
	for i, n := range channels {
		if sockets[i] == None {
			continue
		}
		c := Connection{Local: l[i], Remote: r[i], Listening: strings.Contains(w.className(n), "Server")}
		if fdOK[i] {
			number := int(int32(fds[i]))
			c.FD = &number
		}
		if stateOK[i] {
			// Bit 0 of unix.FileDescriptor.state: closed (STATE_CLOSED_MASK).
			closed := states[i]&1 != 0
			c.Closed = &closed
			c.State = "open"
			if closed {
				c.State = "closed"
			}
		}
		out[n] = c
	}
	return out, nil
}
