package report

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/leakscope/leakscope/snapshot"
)

// examinations are those that the golden files show.
func examinations() map[string]*snapshot.Examination {
	known, seconds, flag := snapshot.Known[int64], snapshot.Known[float64], snapshot.Known[bool]
	const access = "run as uid 0 (sudo -u '#0' leakscope …), or as root"
	return map[string]*snapshot.Examination{
		"open": {
			Schema: snapshot.ExaminationSchema, FormatVersion: snapshot.ExaminationVersion,
			Target: snapshot.Target{PID: 4242, NamespacePID: 1, Name: "server.jar", Runtime: snapshot.RuntimeHotSpot},
			Conditions: []snapshot.Condition{
				{Name: "memory", State: snapshot.ConditionOK, Found: "can be read from outside: by CAP_SYS_PTRACE"},
				{Name: "namespaces", State: snapshot.ConditionNote, Found: "its own mount, pid, network namespaces in container 0123456789ab: leakscope goes through /proc/4242/root"},
				{Name: "dump directory", State: snapshot.ConditionLimits, Found: "none for a heap dump", Hint: "give one with --heap-dump-dir"},
			},
			Levels: []snapshot.Level{
				{Name: "zero-pause", Command: "leakscope capture 4242", Available: snapshot.AvailableYes, Seconds: seconds(2.6), Pause: seconds(0), Memory: known(50 << 20), Disk: known(0), Signals: flag(false)},
				{Name: "freeze", Command: "leakscope capture --freeze 4242", Available: snapshot.AvailableYes, Reason: "the limit of 500 ms is shorter than the stop may be", Hint: "--max-pause 2.4s", Seconds: seconds(2.6), Pause: seconds(1.22), Memory: known(4700 << 20), Disk: known(0), Signals: flag(false)},
				{Name: "heap-dump", Command: "leakscope capture --heap 4242", Available: snapshot.AvailableNo, Reason: "no directory", Hint: "give a directory with --heap-dump-dir"},
			},
		},
		"closed": {
			Schema: snapshot.ExaminationSchema, FormatVersion: snapshot.ExaminationVersion,
			Target: snapshot.Target{PID: 7, Name: "evil\x1b[31m", Runtime: snapshot.RuntimeUnknown},
			Conditions: []snapshot.Condition{
				{Name: "memory", State: snapshot.ConditionBlocks, Found: "can't be read from outside: it runs as uid 0, leakscope as uid 1000", Hint: access},
				{Name: "namespaces", State: snapshot.ConditionUnknown, Found: "can't be read", Hint: access},
			},
			Levels: []snapshot.Level{
				{Name: "zero-pause", Command: "leakscope capture 7", Available: snapshot.AvailableUnknown, Reason: "whether it is a JVM is not known", Hint: access},
				{Name: "freeze", Command: "leakscope capture --freeze 7", Available: snapshot.AvailableUnknown, Reason: "whether it is a JVM is not known", Hint: access},
			},
		},
	}
}

func TestExaminationGolden(t *testing.T) {
	for name, e := range examinations() {
		t.Run(name, func(t *testing.T) {
			for _, width := range []int{80, 120} {
				var b bytes.Buffer
				if err := Examination(&b, e, Options{Width: width}); err != nil {
					t.Fatal(err)
				}
				checkLines(t, b.String(), width)
				golden(t, fmt.Sprintf("examination-%s.table-%d.txt", name, width), b.Bytes())
			}
			var b bytes.Buffer
			if err := ExaminationJSON(&b, e); err != nil {
				t.Fatal(err)
			}
			golden(t, "examination-"+name+".json", b.Bytes())
		})
	}
}
