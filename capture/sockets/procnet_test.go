package sockets

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/leakscope/leakscope/snapshot"
)

// A listener (inode 100) on 127.0.0.1:8080, its connection, one in its accept
// queue, one in TIME_WAIT, a TIME_WAIT of nobody, and one of another process.
// Addresses are as a little-endian machine writes them.
const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:00000000 00000000  1000        0 100 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 000BEEF0:00000000 04:00000190 00000000  1000        2 101 2 0000000000000000 20 4 30 10 -1
   2: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:C352 06 00000000:00000000 03:00000BB8 00000000     0        0 0 3 0000000000000000
   4: 0100007F:9999 0100007F:C353 06 00000000:00000000 03:FFFFFFF8 00000000     0        0 0 3 0000000000000000
   5: 0100007F:9998 0100007F:C354 08 00000000:00000001 02:00000BB8 00000000     0        0 555 1 0000000000000000
`

const procTCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 200 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C350 01 00000000:00000000 01:00000014 00000005  1000        0 201 2 0000000000000000 20 4 30 10 -1
`

const procUnix = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 300 /run/a b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 301
0000000000000000: 00000002 00000000 00000000 0002 01 302
0000000000000000: 00000002 00000000 00000000 0001 02 0
`

// addresses lets cmp compare what has unexported fields.
var addresses = cmpopts.EquateComparable(netip.AddrPort{})

func parseAll(t *testing.T, parse func(add func(row)) error) []row {
	t.Helper()
	var all []row
	if err := parse(func(r row) { all = append(all, r) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParseProcTCP(t *testing.T) {
	all := parseAll(t, func(add func(row)) error { return parseProcTCP(strings.NewReader(procTCP), snapshot.TCP4, add) })
	known := snapshot.Known[int64]
	at := netip.MustParseAddrPort
	want := []row{
		{uid: 1000, Socket: snapshot.Socket{
			Protocol: snapshot.TCP4, State: snapshot.Listen, Local: at("127.0.0.1:8080"), Inode: 100,
			ReceiveQueueBytes: known(1), Timer: snapshot.TimerNone,
		}},
		{uid: 1000, Socket: snapshot.Socket{
			Protocol: snapshot.TCP4, State: snapshot.Established, Local: at("127.0.0.1:8080"), Remote: at("127.0.0.1:50000"), Inode: 101,
			ReceiveQueueBytes: known(0), SendQueueBytes: known(782064), Timer: snapshot.TimerPersist, TimerSeconds: snapshot.Known(4.0),
			Retransmits: known(0), Probes: known(2),
		}},
	}
	if diff := cmp.Diff(want, all[:2], cmp.AllowUnexported(row{}), addresses); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(all) != 6 {
		t.Fatalf("%d rows", len(all))
	}
	if got := all[4].TimerSeconds.Or(-1); got != 0 {
		t.Errorf("overdue timer has %v s left", got)
	}
	if all[5].Timer != snapshot.TimerKeepalive || all[5].State != snapshot.CloseWait {
		t.Errorf("%+v", all[5])
	}
}

func TestParseProcTCP6Unmaps(t *testing.T) {
	all := parseAll(t, func(add func(row)) error { return parseProcTCP(strings.NewReader(procTCP6), snapshot.TCP6, add) })
	if len(all) != 2 {
		t.Fatalf("%d rows", len(all))
	}
	if got := all[0].Local.String(); got != "[::]:8080" || all[0].Remote.IsValid() {
		t.Errorf("listener: %s, remote %v", got, all[0].Remote)
	}
	if got := all[1].Local.String() + " " + all[1].Remote.String(); got != "127.0.0.1:8080 127.0.0.1:50000" {
		t.Errorf("mapped: %s", got)
	}
	if all[1].Retransmits.Or(0) != 5 || all[1].Timer != snapshot.TimerRetransmit || all[1].TimerSeconds.Or(0) != 0.2 {
		t.Errorf("%+v", all[1])
	}
}

func TestParseProcUnix(t *testing.T) {
	all := parseAll(t, func(add func(row)) error { return parseProcUnix(strings.NewReader(procUnix), add) })
	want := []snapshot.TCPState{snapshot.Listen, snapshot.Established, snapshot.Close, snapshot.SynSent}
	if len(all) != len(want) {
		t.Fatalf("%d rows", len(all))
	}
	for i, r := range all {
		if r.State != want[i] || r.Protocol != snapshot.Unix || r.Local.IsValid() {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	if all[0].Inode != 300 {
		t.Errorf("inode %d", all[0].Inode)
	}
}

func TestParseProcNetRefuses(t *testing.T) {
	const heading = "heading\n"
	good := "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1"
	for name, text := range map[string]string{
		"columns":         "0: 0100007F:1F90",
		"address":         strings.Replace(good, "0100007F:", "010000:", 1),
		"digits":          strings.Replace(good, "0100007F:", "0100ZZ7F:", 1),
		"port":            strings.Replace(good, ":1F90", ":11F90", 1),
		"state":           strings.Replace(good, " 0A ", " XX ", 1),
		"queue":           strings.Replace(good, "00000000:00000000", "00000000", 1),
		"negative inode":  strings.Replace(good, " 0 0 1", " 0 0 -1", 1),
		"uid":             strings.Replace(good, " 0 0 1", " x 0 1", 1),
		"very long line ": strings.Repeat("x", 64<<10),
	} {
		t.Run(name, func(t *testing.T) {
			err := parseProcTCP(strings.NewReader(heading+text), snapshot.TCP4, func(row) {})
			var bad *SyntaxError
			if !errors.As(err, &bad) || bad.Line != 2 {
				t.Errorf("error %v", err)
			}
		})
	}
	if err := parseProcTCP(strings.NewReader(heading+strings.Replace(good, " 0A ", " 3F ", 1)), snapshot.TCP4, func(row) {
		t.Error("a row of an unknown state was kept")
	}); err != nil {
		t.Errorf("unknown state: %v", err)
	}
	if err := parseProcUnix(strings.NewReader(heading+"0: 2 0 0 1 1"), func(row) {}); err == nil {
		t.Error("a unix row without an inode was taken")
	}
}

func FuzzParseProcTCP(f *testing.F) {
	f.Add([]byte(procTCP), false)
	f.Add([]byte(procTCP6), true)
	f.Fuzz(func(t *testing.T, text []byte, six bool) {
		p := snapshot.TCP4
		if six {
			p = snapshot.TCP6
		}
		_ = parseProcTCP(bytes.NewReader(text), p, func(r row) { checkRow(t, r) })
	})
}

func FuzzParseProcUnix(f *testing.F) {
	f.Add([]byte(procUnix))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = parseProcUnix(bytes.NewReader(text), func(r row) { checkRow(t, r) })
	})
}

// checkRow holds what is true of every row, wherever it comes from.
func checkRow(t *testing.T, r row) {
	t.Helper()
	if r.State == "" || r.Protocol == "" {
		t.Errorf("row without a state or protocol: %+v", r)
	}
	if r.Local.Addr().Is4In6() || r.Remote.Addr().Is4In6() {
		t.Errorf("mapped address: %+v", r)
	}
	for _, n := range []snapshot.Optional[int64]{
		r.ReceiveQueueBytes, r.SendQueueBytes, r.NotSentBytes, r.Retransmits, r.Probes, r.Backoff, r.BytesAcked,
		r.BytesReceived, r.PeerWindowBytes, r.Shutdown, r.KernelReceiveBytes, r.KernelSendBytes,
	} {
		if n.Or(0) < 0 {
			t.Errorf("negative figure: %+v", r)
		}
	}
	for _, s := range []snapshot.Optional[float64]{r.TimerSeconds, r.LastSendSeconds, r.LastReceiveSeconds, r.LastAckSeconds, r.RTTSeconds} {
		if s.Or(0) < 0 {
			t.Errorf("negative time: %+v", r)
		}
	}
}
