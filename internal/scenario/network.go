package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Network is a pair of network namespaces joined by a veth pair: a target in
// one of them, its peer in the other, and a link that can be cut so that the
// peer vanishes without a word.
type Network struct {
	target string // name of the namespace
	peer   string
}

const (
	networkPrefix   = "leakscope"
	namespaceFolder = "/run/netns"
	targetAddress   = "10.211.0.1"
	peerAddress     = "10.211.0.2"
	targetLink      = "target0"
	peerLink        = "peer0"
)

var networks atomic.Int64

// NewNetwork makes a network that is taken down with the test. It needs root
// and skips the test without; a missing ip or nsenter fails it.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: run scripts/test-prereqs.sh, or apt-get install iproute2 util-linux", err)
		}
	}
	removeStale()
	name := fmt.Sprintf("%s-%d-%d", networkPrefix, os.Getpid(), networks.Add(1))
	n := &Network{target: name + "-target", peer: name + "-peer"}
	t.Cleanup(n.remove)
	for _, arguments := range []string{
		"netns add " + n.target,
		"netns add " + n.peer,
		"-n " + n.target + " link add " + targetLink + " type veth peer name " + peerLink + " netns " + n.peer,
		"-n " + n.target + " addr add " + targetAddress + "/30 dev " + targetLink,
		"-n " + n.peer + " addr add " + peerAddress + "/30 dev " + peerLink,
		"-n " + n.target + " link set lo up",
		"-n " + n.peer + " link set lo up",
		"-n " + n.target + " link set " + targetLink + " up",
		"-n " + n.peer + " link set " + peerLink + " up",
	} {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(arguments)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", arguments, err, out)
		}
	}
	return n
}

// enter is the command before that of the target.
func (n *Network) enter() []string {
	return []string{"nsenter", "--net=" + filepath.Join(namespaceFolder, n.target)}
}

// properties tell the scenario where it is, how to start its peer in the other
// namespace, and how to cut and mend the link.
func (n *Network) properties() []string {
	return []string{
		"-Dscenario.host=" + targetAddress,
		"-Dscenario.peer.prefix=nsenter --net=" + filepath.Join(namespaceFolder, n.peer),
		"-Dscenario.link.cut=ip -n " + n.peer + " link set " + peerLink + " down",
		"-Dscenario.link.mend=ip -n " + n.peer + " link set " + peerLink + " up",
	}
}

func (n *Network) remove() {
	for _, name := range []string{n.target, n.peer} {
		_ = exec.Command("ip", "netns", "delete", name).Run()
	}
}

// removeStale removes the namespaces of test processes that were killed.
func removeStale() {
	entries, err := os.ReadDir(namespaceFolder)
	if err != nil {
		return
	}
	for _, entry := range entries {
		parts := strings.Split(entry.Name(), "-")
		if len(parts) != 4 || parts[0] != networkPrefix {
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", parts[1])); errors.Is(err, fs.ErrNotExist) {
			_ = exec.Command("ip", "netns", "delete", entry.Name()).Run()
		}
	}
}
