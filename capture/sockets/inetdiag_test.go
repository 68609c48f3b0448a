package sockets

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/leakscope/leakscope/snapshot"
)

// attribute appends a netlink attribute.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// tcpInfo makes a struct tcp_info of the largest size, each figure telling its
// offset.
func tcpInfo() []byte {
	b := make([]byte, 248)
	b[infoRetransmits], b[infoProbes], b[infoBackoff] = 2, 3, 4
	for _, offset := range []int{infoLastSend, infoLastReceive, infoLastAck, infoRTT, infoNotSent, infoPeerWindow} {
		binary.NativeEndian.PutUint32(b[offset:], uint32(offset*1000))
	}
	for _, offset := range []int{infoBytesAcked, infoBytesReceived} {
		binary.NativeEndian.PutUint64(b[offset:], uint64(offset)<<32)
	}
	return b
}

func inetMessage(family, state, timer uint8, info []byte) []byte {
	b := make([]byte, inetMessageBytes)
	b[0], b[1], b[2], b[3] = family, state, timer, 7
	binary.BigEndian.PutUint16(b[4:], 8080)
	binary.BigEndian.PutUint16(b[6:], 50000)
	copy(b[8:], []byte{127, 0, 0, 1})
	copy(b[24:], []byte{10, 0, 0, 9})
	if family == unix.AF_INET6 {
		local, remote := netip.MustParseAddr("::ffff:127.0.0.1").As16(), netip.MustParseAddr("2001:db8::1").As16()
		copy(b[8:], local[:])
		copy(b[24:], remote[:])
	}
	for i, v := range []uint32{0x11, 0x22, 1500, 10, 20, 1000, 4242} { // cookie, expires, queues, uid, inode
		binary.NativeEndian.PutUint32(b[44+4*i:], v)
	}
	words := make([]byte, 9*4)
	binary.NativeEndian.PutUint32(words[0:], 2304)
	binary.NativeEndian.PutUint32(words[5*4:], 4096)
	b = attribute(b, inetShutdown, []byte{3})
	b = attribute(b, inetSKMemInfo, words)
	return attribute(b, inetInfo, info)
}

func TestDecodeInet(t *testing.T) {
	r, ok, err := decodeInet(inetMessage(unix.AF_INET, 1, 4, tcpInfo()))
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	known := snapshot.Known[int64]
	want := snapshot.Socket{
		Protocol: snapshot.TCP4, State: snapshot.Established, Inode: 4242, Cookie: 0x22_0000_0011,
		Local: netip.MustParseAddrPort("127.0.0.1:8080"), Remote: netip.MustParseAddrPort("10.0.0.9:50000"),
		ReceiveQueueBytes: known(10), SendQueueBytes: known(20), NotSentBytes: known(144_000),
		Timer: snapshot.TimerPersist, TimerSeconds: snapshot.Known(1.5),
		Retransmits: known(2), Probes: known(3), Backoff: known(4),
		LastSendSeconds: snapshot.Known(44.0), LastReceiveSeconds: snapshot.Known(52.0), LastAckSeconds: snapshot.Known(56.0),
		BytesAcked: known(120 << 32), BytesReceived: known(128 << 32), RTTSeconds: snapshot.Known(0.068),
		PeerWindowBytes: known(228_000), Shutdown: known(3), KernelReceiveBytes: known(2304), KernelSendBytes: known(4096),
	}
	if diff := cmp.Diff(want, r.Socket, addresses); diff != "" || r.uid != 1000 {
		t.Errorf("uid %d (-want +got)\n%s", r.uid, diff)
	}
	r, ok, err = decodeInet(inetMessage(unix.AF_INET6, 8, 0, tcpInfo()))
	if !ok || err != nil || r.Protocol != snapshot.TCP6 || r.Local.String() != "127.0.0.1:8080" || r.Remote.String() != "[2001:db8::1]:50000" {
		t.Errorf("v6: %+v %v %v", r, ok, err)
	}
	if r.Timer != snapshot.TimerNone || r.TimerSeconds.IsKnown() {
		t.Errorf("no timer: %q %v", r.Timer, r.TimerSeconds)
	}
}

// A kernel sends as much of tcp_info as it has: what lies beyond is unknown,
// and nothing before it changes.
func TestInfoOfOlderKernels(t *testing.T) {
	whole := tcpInfo()
	for size := range len(whole) + 1 {
		r, ok, err := decodeInet(inetMessage(unix.AF_INET, 1, 0, whole[:size]))
		if !ok || err != nil {
			t.Fatalf("%d bytes: %v %v", size, ok, err)
		}
		for _, c := range []struct {
			what  string
			known bool
			end   int
		}{
			{"backoff", r.Backoff.IsKnown(), infoBackoff + 1},
			{"last send", r.LastSendSeconds.IsKnown(), infoLastSend + 4},
			{"last ack", r.LastAckSeconds.IsKnown(), infoLastAck + 4},
			{"rtt", r.RTTSeconds.IsKnown(), infoRTT + 4},
			{"acked", r.BytesAcked.IsKnown(), infoBytesAcked + 8},
			{"received", r.BytesReceived.IsKnown(), infoBytesReceived + 8},
			{"not sent", r.NotSentBytes.IsKnown(), infoNotSent + 4},
			{"window", r.PeerWindowBytes.IsKnown(), infoPeerWindow + 4},
		} {
			if c.known != (size >= c.end) {
				t.Errorf("tcp_info of %d bytes: %s known is %v", size, c.what, c.known)
			}
		}
	}
}

func TestInfoHasNoMeaningForSomeStates(t *testing.T) {
	for _, state := range []uint8{2, 3, 6, 7, 10, 12} {
		r, ok, err := decodeInet(inetMessage(unix.AF_INET, state, 0, tcpInfo()))
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if r.LastSendSeconds.IsKnown() || r.NotSentBytes.IsKnown() {
			t.Errorf("%s has ages: %+v", r.State, r.Socket)
		}
	}
}

func TestDecodeInetRefuses(t *testing.T) {
	good := inetMessage(unix.AF_INET, 1, 0, tcpInfo())
	for size := range inetMessageBytes {
		var short *LengthError
		if _, ok, err := decodeInet(good[:size]); ok || !errors.As(err, &short) {
			t.Errorf("%d bytes: %v %v", size, ok, err)
		}
	}
	// A row whose attributes are cut keeps what came before.
	if r, ok, err := decodeInet(good[:len(good)-4]); !ok || err == nil || r.Shutdown.Or(0) != 3 {
		t.Errorf("cut attribute: %v %v %+v", ok, err, r)
	}
	// An attribute shorter than its own heading must not loop.
	if _, ok, err := decodeInet(append(good[:inetMessageBytes:inetMessageBytes], 2, 0, 2, 0)); !ok || err == nil {
		t.Errorf("attribute of 2 bytes: %v %v", ok, err)
	}
	for name, b := range map[string][]byte{
		"family": inetMessage(99, 1, 0, nil), "state 0": inetMessage(unix.AF_INET, 0, 0, nil), "state 200": inetMessage(unix.AF_INET, 200, 0, nil),
	} {
		if _, ok, err := decodeInet(b); ok || err != nil {
			t.Errorf("%s: %v %v", name, ok, err)
		}
	}
	if r, _, _ := decodeInet(inetMessage(unix.AF_INET, 1, 9, nil)); r.Timer != "" {
		t.Errorf("timer 9 is %q", r.Timer)
	}
}

func unixMessage() []byte {
	b := make([]byte, unixMessageBytes)
	b[0], b[1], b[2] = unix.AF_UNIX, unix.SOCK_STREAM, 1
	binary.NativeEndian.PutUint32(b[4:], 777)
	binary.NativeEndian.PutUint32(b[8:], 5)
	queues := make([]byte, 8)
	binary.NativeEndian.PutUint32(queues, 300)
	binary.NativeEndian.PutUint32(queues[4:], 600)
	b = attribute(b, unixQueues, queues)
	b = attribute(b, unixShutdown, []byte{1})
	return attribute(b, unixUID, binary.NativeEndian.AppendUint32(nil, 1000))
}

func TestDecodeUnix(t *testing.T) {
	r, ok, err := decodeUnix(unixMessage())
	if !ok || err != nil || r.Inode != 777 || r.Cookie != 5 || r.uid != 1000 || r.State != snapshot.Established ||
		r.ReceiveQueueBytes.Or(0) != 300 || r.SendQueueBytes.Or(0) != 600 || r.Shutdown.Or(0) != 1 || r.KernelSendBytes.IsKnown() {
		t.Errorf("%+v %v %v", r, ok, err)
	}
	if r, _, _ := decodeUnix(unixMessage()[:unixMessageBytes]); r.uid != noUID || r.SendQueueBytes.IsKnown() {
		t.Errorf("without attributes: %+v", r)
	}
	for size := range unixMessageBytes {
		if _, ok, err := decodeUnix(unixMessage()[:size]); ok || err == nil {
			t.Errorf("%d bytes: %v %v", size, ok, err)
		}
	}
}

func FuzzDecodeInet(f *testing.F) {
	f.Add(inetMessage(unix.AF_INET, 1, 4, tcpInfo()))
	f.Add(inetMessage(unix.AF_INET6, 10, 0, tcpInfo()[:104]))
	f.Add(inetMessage(unix.AF_INET, 6, 3, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok, _ := decodeInet(b); ok {
			checkRow(t, r)
		}
	})
}

func FuzzTCPInfo(f *testing.F) {
	f.Add(tcpInfo(), uint8(1))
	f.Add(tcpInfo()[:148], uint8(8))
	f.Fuzz(func(t *testing.T, info []byte, state uint8) {
		name, ok := stateOf(state)
		if !ok {
			return
		}
		r := row{Socket: snapshot.Socket{Protocol: snapshot.TCP4, State: name}}
		addInfo(&r.Socket, info)
		checkRow(t, r)
	})
}

func FuzzDecodeUnix(f *testing.F) {
	f.Add(unixMessage())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok, _ := decodeUnix(b); ok {
			checkRow(t, r)
		}
	})
}
