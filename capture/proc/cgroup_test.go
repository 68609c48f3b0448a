package proc

import (
	"errors"
	"strings"
	"testing"
)

func TestContainerID(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	other := strings.Repeat("fedcba9876543210", 4)
	for name, c := range map[string]struct{ text, want string }{
		"none":                 {"0::/user.slice/user-1000.slice/session-2.scope\n", ""},
		"root":                 {"0::/\n", ""},
		"docker, v1":           {"4:memory:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n", id},
		"docker, systemd":      {"0::/system.slice/docker-" + id + ".scope\n", id},
		"containerd":           {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-" + id + ".scope\n", id},
		"containerd, cgroupfs": {"3:memory:/kubepods/burstable/pod11-22/" + id + "\n", id},
		"containerd, colons":   {"0::/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:" + id + "\n", id},
		"cri-o":                {"0::/kubepods.slice/crio-" + id + ".scope\n", id},
		"cri-o's monitor":      {"0::/kubepods.slice/crio-conmon-" + id + ".scope\n", ""},
		"podman":               {"0::/machine.slice/libpod-" + id + ".scope/container\n", id},
		"podman, rootless":     {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope\n", id},
		"nested":               {"0::/docker/" + other + "/docker/" + id + "\n", id},
		"too short":            {"0::/docker/" + id[:63] + "\n", ""},
		"upper case":           {"0::/docker/" + strings.ToUpper(id) + "\n", ""},
		"systemd instance":     {"0::/system.slice/getty@tty1.service\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := parseCgroup([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := containerID(all); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	f := tree(t, "hotspot.txtar", map[string]string{
		"42/cgroup":    "0::/\n",
		"42/mountinfo": "1 2 254:1 /var/lib/docker/containers/" + id + "/hostname /etc/hostname rw - ext4 /dev/vda rw\n",
	})
	if got, err := f.container(42); got != id || err != nil {
		t.Errorf("by its mounts: %q %v", got, err)
	}
}

const v1Mounts = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 master:3 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`

func TestMemoryController(t *testing.T) {
	for name, c := range map[string]struct {
		groups, mounts string
		point, dir     string
		ok             bool
	}{
		"version 1":                  {"4:memory:/a/b\n0::/c\n", v1Mounts, "/sys/fs/cgroup/memory", "/a/b", true},
		"version 1, joined":          {"4:cpu,memory:/a\n", v1Mounts, "/sys/fs/cgroup/memory", "/a", true},
		"version 2 beside version 1": {"0::/c\n", v1Mounts, "/sys/fs/cgroup/unified", "/c", true},
		"in a container":             {"4:memory:/docker/x\n", "1 2 0:3 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "/sys/fs/cgroup/memory", "", true},
		"below the mounted root":     {"4:memory:/docker/x/y\n", "1 2 0:3 /docker/x /m rw - cgroup cgroup rw,memory\n", "/m", "/y", true},
		"beside the mounted root":    {"4:memory:/docker/xy\n", "1 2 0:3 /docker/x /m rw - cgroup cgroup rw,memory\n", "", "", false},
		"outside of our namespace":   {"0::/../../other\n", "1 2 0:3 / /m rw - cgroup2 cgroup2 rw\n", "", "", false},
		"not mounted":                {"0::/c\n", "1 2 0:3 / /proc rw - proc proc rw\n", "", "", false},
		"escaped mount point":        {"0::/c\n", "1 2 0:3 / /my\\040groups rw - cgroup2 cgroup2 rw\n", "/my groups", "/c", true},
	} {
		t.Run(name, func(t *testing.T) {
			groups, err := parseCgroup([]byte(c.groups))
			if err != nil {
				t.Fatal(err)
			}
			mounts, err := parseMountinfo([]byte(c.mounts))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := memoryController(groups, mounts)
			if ok != c.ok || got.point != c.point || got.dir != c.dir {
				t.Errorf("got %+v %v", got, ok)
			}
		})
	}
}

func TestCgroupMemoryVersion1(t *testing.T) {
	files := map[string]string{
		"self/mountinfo": v1Mounts,
		"42/cgroup":      "4:memory:/a/b\n",
		"cgroup/memory/a/b/memory.usage_in_bytes": "1000\n",
		"cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n", // no limit
		"cgroup/memory/a/memory.limit_in_bytes":   "9000\n",
		"cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
	}
	used, limit, err := tree(t, "hotspot.txtar", files).cgroupMemory(42)
	if err != nil || used.Or(-1) != 1000 || limit.Or(-1) != 9000 {
		t.Errorf("used %v limit %v %v", used, limit, err)
	}
	files["cgroup/memory/a/memory.limit_in_bytes"] = "9223372036854771712\n"
	if _, limit, err = tree(t, "hotspot.txtar", files).cgroupMemory(42); err != nil || limit.IsKnown() {
		t.Errorf("no limit is known as %v, %v", limit, err)
	}
}

func TestCgroupAndMountinfoRefuse(t *testing.T) {
	var bad *SyntaxError
	for _, text := range []string{"x\n", "0:x\n", "0::relative\n", "\n"} {
		if _, err := parseCgroup([]byte(text)); !errors.As(err, &bad) {
			t.Errorf("cgroup %q: %v", text, err)
		}
	}
	for _, text := range []string{"x\n", "1 2 3 4 5 6 7\n", "1 2 3 4 - x y z\n", "1 2 0:3 / /x rw - \n"} {
		if _, err := parseMountinfo([]byte(text)); !errors.As(err, &bad) {
			t.Errorf("mountinfo %q: %v", text, err)
		}
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add([]byte("4:memory:/a\n0::/b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, _ := parseCgroup(text)
		if id := containerID(all); id != "" && len(id) != 64 {
			t.Errorf("id %q", id)
		}
		for _, g := range all {
			if rest, ok := below(g.path, "/"); ok && strings.Contains(rest, "/../") {
				t.Errorf("%q leads to %q", g.path, rest)
			}
		}
	})
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add([]byte(v1Mounts))
	f.Fuzz(func(_ *testing.T, text []byte) {
		all, _ := parseMountinfo(text)
		_, _ = memoryController([]cgroup{{"memory", "/a"}, {"", "/b"}}, all)
		_ = containerIDFromMounts(all)
	})
}
