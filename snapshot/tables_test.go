package snapshot

import "testing"

func TestTables(t *testing.T) {
	detail := func(whole string) map[string]string { return map[string]string{DetailWholeTables: whole} }
	for name, test := range map[string]struct {
		source    Source
		tcp, unix bool
	}{
		"ok":                {Source{Status: StatusOK}, true, true},
		"ok, no detail":     {Source{Status: StatusOK, Detail: detail("")}, true, true},
		"unix is missing":   {Source{Status: StatusPartial, Detail: detail("tcp4 tcp6")}, true, false},
		"tcp6 is missing":   {Source{Status: StatusPartial, Detail: detail("tcp4 unix")}, false, false},
		"tcp is missing":    {Source{Status: StatusPartial, Detail: detail("unix")}, false, false},
		"an older snapshot": {Source{Status: StatusPartial}, false, false},
		"denied":            {Source{Status: StatusDenied, Detail: detail("tcp4 tcp6 unix")}, false, false},
		"absent":            {Source{Status: StatusAbsent, Detail: detail("tcp4 tcp6 unix")}, false, false},
	} {
		if tcp, all := test.source.HasTCP(), test.source.HasTables(TCP4, TCP6, Unix); tcp != test.tcp || all != test.unix {
			t.Errorf("%s: tcp %v, all %v", name, tcp, all)
		}
	}
}
