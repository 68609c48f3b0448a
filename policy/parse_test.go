package policy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file under testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestParseAndWrite(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`summary.verdict=="leak"`, `summary.verdict == "leak"`},
		{`'leak' != summary.verdict`, `"leak" != summary.verdict`},
		{`delta.retained_bytes{state="peer-closed"} <= 8MiB`, ""},
		{`delta.retained_bytes{ state = 'peer-closed' , } <= 8MB`, `delta.retained_bytes{state="peer-closed"} <= 8MB`},
		{`delta.retained_bytes{} <= 8MiB`, `delta.retained_bytes <= 8MiB`},
		{`(head.bytes) <= (8MiB)`, `head.bytes <= 8MiB`},
		{`head.bytes < 1KiB and head.bytes < 2KiB or head.bytes < 3KiB`, ""},
		{`head.bytes < 1KiB and (head.bytes < 2KiB or head.bytes < 3KiB)`, ""},
		{`(head.bytes < 1KiB and head.bytes < 2KiB) and head.bytes < 3KiB`, `head.bytes < 1KiB and head.bytes < 2KiB and head.bytes < 3KiB`},
		{`head.bytes < 1KiB and (head.bytes < 2KiB and head.bytes < 3KiB)`, ""},
		{`not head.bytes < 1KiB`, ""},
		{`not (not head.bytes < 1KiB)`, `not not head.bytes < 1KiB`},
		{`not (head.bytes < 1KiB or head.bytes > 2KiB)`, ""},
		{`head.bytes - base.bytes - 1KiB < 0`, ""},
		{`head.bytes - (base.bytes - 1KiB) < 0`, ""},
		{`head.bytes / (base.bytes * 2) < 1`, ""},
		{`head.bytes / base.bytes * 2 < 150%`, ""},
		{`-head.bytes + - -base.bytes < 1.5KiB`, `-head.bytes + --base.bytes < 1.5KiB`},
		{`growth.bytes_per_second < 8KiB/s`, ""},
		{`growth.bytes_per_second < 8KiB / 1s`, ""},
		{`8KiB/summary.elapsed_seconds > growth.bytes_per_second`, `8KiB / summary.elapsed_seconds > growth.bytes_per_second`},
		{`summary.elapsed_seconds >= 1h30m`, ""},
		{`findings{cause="no-release", severity!="note"} == 0`, ""},
		{`head.retained_bytes{holder=~"Outbound\\.x"} < 1B`, ""},
		{`head.retained_bytes{holder='a"b\c'} < 1B`, `head.retained_bytes{holder="a\"b\\c"} < 1B`},
		{`head.retained_bytes{holder="A.b → C.d"} < 1B`, `head.retained_bytes{holder="A.b -> C.d"} < 1B`},
		{"head.bytes\n\t< 1KiB", `head.bytes < 1KiB`},
	} {
		if c.want == "" {
			c.want = c.in
		}
		e, faults := parseExpression(c.in)
		if len(faults) > 0 {
			t.Errorf("%s: %s at %d", c.in, faults[0].message, faults[0].at)
			continue
		}
		if got := e.String(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]struct {
		value float64
		dim   dimension
	}{
		"0": {0, dimCount}, "3": {3, dimCount}, "2.5": {2.5, dimCount}, "25%": {0.25, dimCount},
		"1B": {1, dimBytes}, "1kB": {1000, dimBytes}, "1KiB": {1024, dimBytes},
		"8MiB": {8 << 20, dimBytes}, "8MB": {8e6, dimBytes}, "1.5GiB": {1.5 * (1 << 30), dimBytes},
		"8MiB/s": {8 << 20, dimRate}, "60KiB/m": {1024, dimRate}, "24GB/d": {24e9 / 86400, dimRate},
		"500ms": {0.5, dimSeconds}, "30s": {30, dimSeconds}, "5m": {300, dimSeconds},
		"1h": {3600, dimSeconds}, "2d": {172800, dimSeconds}, "1h30m": {5400, dimSeconds}, "1.5h": {5400, dimSeconds},
	} {
		got, dim, f := parseQuantity(text)
		if f != nil || got != want.value || dim != want.dim {
			t.Errorf("%s: %v %s, %v; want %v %s", text, got, dim, f, want.value, want.dim)
		}
	}
}

// faultyExpressions are held by the golden file of their messages.
var faultyExpressions = []string{
	``, `   `, `head.bytes`, `8MiB`, `"leak"`, `head.bytes <`, `head.bytes <= 8MiB and`, `head.bytes <= 8MiB 7`,
	`(head.bytes <= 8MiB`, `head.bytes <= 8MiB)`, `head.bytes = 8MiB`, `head.bytes < 1B < 2B`, `head.bytes <= 8MiB AND head.bytes > 0`,
	`head.bytes <= 8MiB && head.bytes > 0`, `head.bytes ≤ 8MiB`, `!head.bytes`, `head.bytes @ 3`, `head.bytes <= 8M`, `head.bytes <= 8mib`,
	`head.bytes <= 8Mib`, `head.bytes <= 8 MiB`, `head.bytes <= 8parsec`, `head.bytes <= 1e6`, `head.bytes <= 1.2.3B`, `head.bytes <= 8388608`,
	`head.bytes <= 30s`, `summary.elapsed_seconds >= 5min`, `summary.elapsed_seconds >= 5`, `head.bytes <= 25%`, `findings == 1KiB`,
	`head.bytes + summary.elapsed_seconds < 1B`, `head.bytes * head.bytes * head.bytes * head.bytes * head.bytes < 1`,
	`growth.bytes_per_second <= 8KiB`, `head.bytes * head.bytes <= 8KiB`, `1 / summary.elapsed_seconds <= 8KiB`, `1 < 2`, `"leak" == "leak"`, `head.bytes == "leak"`, `summary.verdict == leak`, `summary.verdict == "leek"`,
	`summary.verdict == "broken"`, `summary.verdict < "leak"`, `summary.verdict == 3`, `summary.verdict == summary.verdict`, `-summary.verdict == "leak"`,
	`summary.verdict + 1 == 2`, `not head.bytes`, `head.bytes and head.bytes > 0`, `(head.bytes > 0) == (base.bytes > 0)`,
	`delta.retained_byte <= 8MiB`, `retained_bytes <= 8MiB`, `nonsense <= 8MiB`, `delta.retained_bytes{stat="closed"} <= 8MiB`,
	`delta.retained_bytes{colour="closed"} <= 8MiB`, `summary.elapsed_seconds{state="closed"} > 1s`, `delta.retained_bytes{state="peer_closed"} <= 8MiB`,
	`delta.retained_bytes{state="nowhere"} <= 8MiB`, `delta.retained_bytes{fate="pool-free"} <= 8MiB`, `findings{cause="no-keepalife"} == 0`,
	`findings{id="no-idea/x"} == 0`, `delta.retained_bytes{state="closed", fate="lost"} <= 8MiB`, `delta.retained_bytes{state="closed", state="idle"} <= 8MiB`,
	`delta.retained_bytes{holder="a", holder="b"} <= 8MiB`, `delta.retained_bytes{state=~"nothing"} <= 8MiB`, `delta.retained_bytes{state=~"("} <= 8MiB`,
	`delta.retained_bytes{state=="closed"} <= 8MiB`, `delta.retained_bytes{state=closed} <= 8MiB`, `delta.retained_bytes{state="closed" <= 8MiB`,
	`delta.retained_bytes{state="closed} <= 8MiB`, `delta.retained_bytes{"closed"} <= 8MiB`, `delta.retained_bytes{state="a\d"} <= 8MiB`,
	`head.counter_bytes <= 8MiB`, `head.counter_bytes{counter=~"rss"} <= 8MiB`, `slope.retained_bytes_per_second{state="closed", state="idle"} <= 1B/s`,
	`heda.bytes <= 30s and haed.bytes <= 8MiB`, "héad.bytes < 1B", `"ü" == "ü" and haed.bytes <= 8MiB`, "head.bytes < \xff", strings.Repeat("(", 60), strings.Repeat("not ", 60) + "head.bytes < 1B",
	`head.bytes < ` + strings.Repeat("9", 400) + `B`, `head.bytes < 99999999TiB`, strings.Repeat("x", 5000),
}

func TestExpressionErrors(t *testing.T) {
	var b strings.Builder
	for _, text := range faultyExpressions {
		_, err := FromExpressions([]string{text})
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		if len(text) > 120 {
			text = text[:50] + "…"
		}
		fmt.Fprintf(&b, "%s\n%s\n\n", strings.ToValidUTF8(text, "?"), err)
	}
	golden(t, "expression-errors.golden", b.String())
}

func TestFailOnNamesWhichExpression(t *testing.T) {
	_, err := FromExpressions([]string{`summary.verdict == "leak"`, `haed.bytes > 1B`})
	want := `--fail-on 2: column 1: unknown metric "haed.bytes"; did you mean "head.bytes"?`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func FuzzExpression(f *testing.F) {
	for _, text := range faultyExpressions {
		f.Add(text)
	}
	for _, m := range Catalogue() {
		f.Add(m.Name + " > 0 and " + m.Name + `{state="closed", holder=~"x"} <= 8MiB/s`)
	}
	r := leaky(f)
	in := read(r)
	f.Fuzz(func(t *testing.T, text string) {
		e, faults := parseExpression(text)
		if (e == nil) != (len(faults) > 0) {
			t.Fatalf("expression %v with faults %v", e, faults)
		}
		for _, f := range faults {
			if f.at < 0 || f.at > len([]rune(text)) || f.message == "" {
				t.Fatalf("fault at %d of %q: %q", f.at, text, f.message)
			}
		}
		if e == nil {
			return
		}
		again, faults := parseExpression(e.String())
		if len(faults) > 0 {
			t.Fatalf("%q was written as %q, which has faults: %s", text, e, faults[0].message)
		}
		if again.String() != e.String() {
			t.Fatalf("%q, then %q", e, again)
		}
		one := in.judge(&Rule{Expr: e})
		two := in.judge(&Rule{Expr: again})
		if one.Status != two.Status {
			t.Fatalf("%q: %s; as %q: %s", text, one.Status, e, two.Status)
		}
		if len(one.Reasons) == 0 {
			t.Fatalf("%q is %s without a reason", text, one.Status)
		}
	})
}
