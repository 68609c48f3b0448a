package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

func TestInitPassesOnItsPair(t *testing.T) {
	busy := func(seconds float64, first int) *world { // connections come and go
		return at(seconds).connections(first, 20, snapshot.Established, mib).connections(50000, 3, snapshot.CloseWait, 64*kib).cached(2 * mib)
	}
	for name, r := range map[string]*analyze.Result{
		"steady":    healthy(t),
		"busy":      diff(t, busy(0, 40000), busy(60, 41000)),
		"shrinking": diff(t, healthyWorld(0), at(60).connections(40000, 5, snapshot.Established, mib)),
	} {
		text, err := Init(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := Parse(text, name)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		o := Evaluate(p, r, time.Now())
		if o.Gate != Passed {
			t.Errorf("%s: %s %q\n%s", name, o.Gate, o.Reasons, text)
		}
		for _, rule := range o.Rules {
			if rule.Status != StatusPass {
				t.Errorf("%s: rule %s: %s %q", name, rule.ID, rule.Status, rule.Reasons)
			}
		}
		if len(o.Rules) < 8 {
			t.Errorf("%s: %d rules only\n%s", name, len(o.Rules), text)
		}
		golden(t, "init-"+name+".golden", string(text))
		if leaky := Evaluate(p, leaky(t), time.Now()); leaky.Gate != Failed {
			t.Errorf("%s: a leaky pair is %s", name, leaky.Gate)
		}
	}
}

func TestInitRefusesWhatIsNotHealthy(t *testing.T) {
	for name, r := range map[string]*analyze.Result{
		`"leak"`:      leaky(t),
		"denied":      diff(t, healthyWorld(0), healthyWorld(60).withhold(snapshot.SourceSockets, snapshot.StatusDenied)),
		"no base":     diff(t, healthyWorld(0)),
		"2 snapshots": diff(t, healthyWorld(0), at(60).connections(40000, 20, snapshot.Established, mib).cached(9*mib)),
	} {
		text, err := Init(r)
		var refused *NotHealthyError
		if !errors.As(err, &refused) || text != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimitsAreRoundedUp(t *testing.T) {
	for bytes, want := range map[float64]string{
		0: "0B", 1: "1B", 1000: "1024B", 1024: "1KiB", 1025: "2KiB", 5 << 20: "5MiB", 5<<20 + 1: "6MiB", 8 << 20: "8MiB", 9 << 20: "10MiB",
		100 << 20: "112MiB", 1023 << 20: "1024MiB", 1 << 30: "1GiB", 3 << 40: "3TiB",
	} {
		got := limitText(bytes, UnitBytes)
		if got != want {
			t.Errorf("%v: %s, want %s", bytes, got, want)
		}
		if v, _, f := parseQuantity(got); f != nil || v < bytes {
			t.Errorf("%s is less than %v", got, bytes)
		}
	}
}

// TestEveryProposalParses keeps Init from leaving out a misspelt rule in silence.
func TestEveryProposalParses(t *testing.T) {
	for _, p := range proposals {
		text := p.constant
		if text == "" {
			text = fmt.Sprintf("%s <= 0", p.metric)
		}
		if _, faults := parseExpression(text); len(faults) > 0 {
			t.Errorf("%s: %s", p.id, faults[0].message)
		}
	}
}
