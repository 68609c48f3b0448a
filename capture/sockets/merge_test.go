package sockets

import (
	"net/netip"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

func TestMerge(t *testing.T) {
	at := netip.MustParseAddrPort
	socket := func(cookie, inode uint64, port string, state snapshot.TCPState) snapshot.Socket {
		return snapshot.Socket{
			Protocol: snapshot.TCP4, State: state, Cookie: cookie, Inode: inode,
			Local: at("127.0.0.1:" + port), Remote: at("127.0.0.1:9"),
		}
	}
	before := []snapshot.Socket{
		socket(1, 10, "1001", snapshot.Established), // stays, and changes its state
		socket(2, 11, "1002", snapshot.Established), // ends
		socket(3, 0, "1003", snapshot.Established),  // accepted meanwhile: gets an inode
		socket(0, 12, "1004", snapshot.Established), // from /proc: no cookie
		socket(0, 0, "1005", snapshot.TimeWait),     // neither
		socket(4, 13, "1006", snapshot.Established), // its inode number comes again
	}
	after := []snapshot.Socket{
		socket(1, 10, "1001", snapshot.CloseWait),
		socket(3, 20, "1003", snapshot.Established),
		socket(5, 12, "1004", snapshot.Established),
		socket(0, 0, "1005", snapshot.TimeWait),
		socket(6, 13, "1007", snapshot.Established),
		socket(7, 21, "1008", snapshot.Established), // new
	}
	want := map[uint16]snapshot.Seen{
		1001: snapshot.SeenBoth, 1002: snapshot.SeenBefore, 1003: snapshot.SeenBoth, 1004: snapshot.SeenBoth,
		1005: snapshot.SeenBoth, 1006: snapshot.SeenBefore, 1007: snapshot.SeenAfter, 1008: snapshot.SeenAfter,
	}
	got := Merge(before, after)
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d: %+v", len(got), len(want), got)
	}
	for i, s := range got {
		if s.Seen != want[s.Local.Port()] {
			t.Errorf("port %d: seen %q, want %q", s.Local.Port(), s.Seen, want[s.Local.Port()])
		}
		if i > 0 && got[i-1].Local.Compare(s.Local) > 0 {
			t.Errorf("row %d is out of order", i)
		}
	}
	if got[0].State != snapshot.Established {
		t.Errorf("port 1001 has the state of the second reading: %s", got[0].State)
	}
	if before[0].Seen != "" {
		t.Error("Merge changed its argument")
	}
}
