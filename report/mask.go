package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
)

// masker replaces network addresses and host names by pseudonyms, the same one
// for the same address throughout a report: host-1, host-2, … in the order of
// the addresses. Loopback and unspecified addresses tell nothing and stay, and
// so do ports.
type masker struct {
	addresses map[netip.Addr]string
	hosts     map[string]string // names, and ids that serve as names
	ids       []string          // the ids among them, the longest first
}

var (
	ipv4Like = regexp.MustCompile(`[0-9]{1,3}(?:\.[0-9]{1,3}){3}`)
	ipv6Like = regexp.MustCompile(`\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.[0-9]{1,3}){3})?(?:%[0-9A-Za-z_.-]+)?\]?`)
	// A name counts as that of a host where a port or a scheme says so; class
	// names look the same otherwise.
	hostPort = regexp.MustCompile(`[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+:[0-9]{1,5}`)
	hostURL  = regexp.MustCompile(`[a-z][a-z0-9+.-]*://(?:[^\s/@]*@)?[^\s/:?#]+`)
)

// fileLike are the endings that make "name.ending:7" a place in a file.
var fileLike = []string{"yaml", "yml", "json", "lscope", "java", "go", "hprof", "gz", "txt", "md", "xml", "so", "jar", "class"}

// masked is the result and its gate with every address and host name replaced,
// and the masker for the addresses that are no strings. With show nothing is
// replaced. All text is made visible in any case.
func masked(r *analyze.Result, gate *policy.Outcome, show bool) (*analyze.Result, *policy.Outcome, *masker) {
	m := &masker{addresses: map[netip.Addr]string{}, hosts: map[string]string{}}
	if show {
		return rewritten(r, visible), rewritten(gate, visible), m
	}
	m.learn(r, gate)
	change := func(s string) string { return m.text(visible(s)) }
	return rewritten(r, change), rewritten(gate, change), m
}

// learn gives every address and host name of the report its pseudonym.
func (m *masker) learn(r *analyze.Result, gate *policy.Outcome) {
	addresses, hosts := map[netip.Addr]bool{}, map[string]bool{}
	note := func(a netip.Addr) {
		if identifies(a) {
			addresses[a.Unmap()] = true
		}
	}
	for i := range r.Connections {
		c := &r.Connections[i]
		note(c.Local.Addr())
		note(c.Remote.Addr())
		if c.Socket != nil {
			note(c.Socket.Local.Addr())
			note(c.Socket.Remote.Addr())
		}
	}
	collect := func(s string) string {
		scan(visible(s), func(a netip.Addr) string { note(a); return "" }, func(name string) string { hosts[name] = true; return "" })
		return s
	}
	rewritten(r, collect)
	rewritten(gate, collect)
	for i := range r.Inputs {
		if id := visible(r.Inputs[i].Target.ContainerID); len(id) >= shortID && !slices.Contains(m.ids, id) {
			hosts[id] = true
			m.ids = append(m.ids, id)
		}
	}
	var sorted []netip.Addr
	for a := range addresses {
		sorted = append(sorted, a)
	}
	slices.SortFunc(sorted, netip.Addr.Compare)
	for i, a := range sorted {
		m.addresses[a] = fmt.Sprintf("host-%d", i+1)
	}
	for i, name := range sortedNames(hosts) {
		m.hosts[name] = fmt.Sprintf("name-%d", i+1)
	}
	for _, id := range m.ids {
		if short := id[:shortID]; m.hosts[short] == "" {
			m.hosts[short] = m.hosts[id]
			m.ids = append(m.ids, short)
		}
	}
	slices.SortFunc(m.ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
}

// shortID is the length of a container's id where it serves as a host name.
const shortID = 12

func sortedNames(set map[string]bool) []string {
	var names []string
	for n := range set {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func identifies(a netip.Addr) bool { return a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() }

// text replaces what identifies a host.
func (m *masker) text(s string) string {
	s = scan(s, m.address, func(name string) string {
		if p, ok := m.hosts[name]; ok {
			return p
		}
		return "name"
	})
	for _, id := range m.ids {
		s = strings.ReplaceAll(s, id, m.hosts[id])
	}
	return s
}

func (m *masker) address(a netip.Addr) string {
	if !identifies(a) {
		return a.String()
	}
	if p, ok := m.addresses[a.Unmap()]; ok {
		return p
	}
	return "host"
}

// peers names a connection by its addresses.
func (m *masker) peers(local, remote netip.AddrPort) string {
	if len(m.addresses) == 0 {
		return peers(local, remote)
	}
	name := func(a netip.AddrPort) string { return fmt.Sprintf("%s:%d", m.bracketed(a.Addr()), a.Port()) }
	switch {
	case remote.IsValid() && local.IsValid():
		return name(local) + " → " + name(remote)
	case remote.IsValid():
		return "→ " + name(remote)
	case local.IsValid():
		return name(local)
	}
	return ""
}

func (m *masker) bracketed(a netip.Addr) string {
	s := m.address(a)
	if strings.Contains(s, ":") {
		return "[" + s + "]"
	}
	return s
}

// scan puts what address and host make of them in the place of the addresses
// and host names in a text.
func scan(s string, address func(netip.Addr) string, host func(string) string) string {
	// Most texts have nothing of the kind: cheap looks come first.
	dots, colons := strings.Count(s, "."), strings.Count(s, ":")
	if dots < 3 && colons == 0 {
		return s
	}
	if strings.Contains(s, "://") {
		s = scanURLs(s, host)
	}
	if colons >= 2 {
		s = scanIPv6(s, address)
	}
	if dots >= 3 {
		s = scanIPv4(s, address)
	}
	if dots > 0 && colons > 0 {
		s = scanHostPorts(s, host)
	}
	return s
}

func scanURLs(s string, host func(string) string) string {
	return replaceWhole(s, hostURL, func(match string) (string, bool) {
		at := strings.Index(match, "://") + 3
		name := match[at:]
		name = name[strings.LastIndexByte(name, '@')+1:] // without the user and password
		if _, err := netip.ParseAddr(name); err != nil && !strings.HasPrefix(name, "[") && name != "localhost" {
			name = host(name)
		}
		return match[:at] + name, true
	})
}

func scanIPv6(s string, address func(netip.Addr) string) string {
	return replaceWhole(s, ipv6Like, func(match string) (string, bool) {
		bare := strings.Trim(match, "[]")
		a, err := netip.ParseAddr(bare)
		if err != nil || bare == "::" {
			return match, false
		}
		p := address(a)
		if strings.HasPrefix(match, "[") && strings.Contains(p, ":") {
			p = "[" + p + "]"
		}
		return p, true
	})
}

func scanIPv4(s string, address func(netip.Addr) string) string {
	return replaceWhole(s, ipv4Like, func(match string) (string, bool) {
		a, err := netip.ParseAddr(match)
		if err != nil {
			return match, false
		}
		return address(a), true
	})
}

func scanHostPorts(s string, host func(string) string) string {
	return replaceWhole(s, hostPort, func(match string) (string, bool) {
		name, port, _ := strings.Cut(match, ":")
		ending := name[strings.LastIndexByte(name, '.')+1:]
		if slices.Contains(fileLike, strings.ToLower(ending)) || ipv4Like.MatchString(name) {
			return match, false
		}
		return host(name) + ":" + port, true
	})
}

// replaceWhole replaces the matches that are no part of a longer word.
func replaceWhole(s string, pattern *regexp.Regexp, replace func(string) (string, bool)) string {
	wordy := func(c byte) bool {
		return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
	}
	var b strings.Builder
	done := 0
	for _, at := range pattern.FindAllStringIndex(s, -1) {
		match := s[at[0]:at[1]]
		if at[0] > 0 && (wordy(s[at[0]-1]) && wordy(match[0]) || s[at[0]-1] == '.') ||
			at[1] < len(s) && wordy(s[at[1]]) && wordy(match[len(match)-1]) {
			continue
		}
		with, ok := replace(match)
		if !ok {
			continue
		}
		b.WriteString(s[done:at[0]] + with)
		done = at[1]
	}
	return b.String() + s[done:]
}
