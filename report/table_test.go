package report

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/units"
	"github.com/leakscope/leakscope/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (go test ./report -update writes it anew):\n%s", path, diff)
	}
}

func sortedKeys[T any](m map[string]T) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func table(t testing.TB, r *analyze.Result, gate *policy.Outcome, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Table(&b, r, gate, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var narrow = &runewidth.Condition{EastAsianWidth: false, StrictEmojiNeutral: true}

// checkLines holds every line to the width, and to what a terminal may get.
func checkLines(t *testing.T, out string, width int) {
	t.Helper()
	for n, line := range strings.Split(out, "\n") {
		if w := narrow.StringWidth(line); w > width {
			t.Errorf("line %d takes %d of %d columns: %q", n+1, w, width, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("line %d ends in spaces: %q", n+1, line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !harmless(r) }) {
			t.Errorf("line %d has control characters: %q", n+1, line)
		}
	}
}

func TestTableGolden(t *testing.T) {
	all := shapes()
	for _, name := range sortedKeys(all) {
		for _, width := range []int{80, 120} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				out := table(t, all[name], nil, Options{Width: width})
				checkLines(t, out, width)
				golden(t, fmt.Sprintf("%s.table-%d.txt", name, width), []byte(out))
			})
		}
	}
	for _, name := range sortedKeys(gates()) {
		t.Run("gate-"+name, func(t *testing.T) {
			out := table(t, structure(), gates()[name], Options{})
			checkLines(t, out, 80)
			golden(t, "structure.gate-"+name+".table-80.txt", []byte(out))
		})
	}
}

func TestTableFitsEveryWidth(t *testing.T) {
	for name, r := range shapes() {
		for _, width := range []int{74, 77, 79, 80, 81, 100, 160, 240} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				checkLines(t, table(t, r, gates()["failed"], Options{Width: width, Top: -1}), width)
			})
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Colour adds escapes and changes nothing else.
func TestTableColor(t *testing.T) {
	for name, r := range shapes() {
		plain := table(t, r, gates()["failed"], Options{})
		colored := table(t, r, gates()["failed"], Options{Color: true})
		if plain == colored {
			t.Errorf("%s: no colour", name)
		}
		if diff := cmp.Diff(plain, escapes.ReplaceAllString(colored, "")); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	golden(t, "structure.table-80.color.txt", []byte(table(t, structure(), nil, Options{Color: true})))
}

func TestTableIsDeterministicAndLeavesItsInputAlone(t *testing.T) {
	for name, r := range shapes() {
		before := rewritten(r, nil)
		first := table(t, r, nil, Options{Color: true})
		for range 5 {
			if table(t, r, nil, Options{Color: true}) != first {
				t.Fatalf("%s: the same result gave other bytes", name)
			}
		}
		if diff := cmp.Diff(before, rewritten(r, nil), compareAddresses); diff != "" {
			t.Errorf("%s: the result was changed:\n%s", name, diff)
		}
	}
}

// section cuts one section out of a table report.
func section(t *testing.T, out, title string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(out, "\n"+title)
	if !ok {
		return nil
	}
	_, rest, _ = strings.Cut(rest, "\n")
	body, _, _ := strings.Cut(rest, "\n\n")
	return strings.Split(strings.TrimRight(body, "\n"), "\n")
}

// figures reads the table of a section back: rows of cells cut at the starts
// of columns is not possible for right-aligned ones, so cells are taken where
// two spaces or a sign separate them.
var amount = regexp.MustCompile(`[+-]?[0-9][0-9.,]*(?: (?:B|[KMGTPE]iB)\b|[kM]\b)?|–`)

// value is what an amount in a table says, and how far rounding may be off.
func value(t *testing.T, text string) (v, slack float64, known bool) {
	t.Helper()
	if text == unknown {
		return 0, 0, false
	}
	sign := 1.0
	bare := strings.ReplaceAll(strings.TrimLeft(text, "+"), ",", "")
	if strings.HasPrefix(bare, "-") {
		sign, bare = -1, bare[1:]
	}
	switch {
	case strings.HasSuffix(bare, "B"):
		n, err := units.ParseBytes(bare)
		if err != nil {
			t.Fatal(err)
		}
		v = float64(n)
		if !strings.HasSuffix(bare, " B") {
			slack = v*0.006 + 1
			if !strings.Contains(bare, ".") {
				slack = v * 0.006
			}
			number, unit, _ := strings.Cut(bare, " ")
			if step, err := units.ParseBytes("1" + unit); err == nil {
				half := 0.5
				if strings.Contains(number, ".") {
					half = 0.05
				}
				slack = half*float64(step) + 1
			}
		}
	case strings.HasSuffix(bare, "k"), strings.HasSuffix(bare, "M"):
		scale := 1e3
		if strings.HasSuffix(bare, "M") {
			scale = 1e6
		}
		var n float64
		if _, err := fmt.Sscanf(bare, "%g", &n); err != nil {
			t.Fatal(err)
		}
		v, slack = n*scale, scale/2
	default:
		if _, err := fmt.Sscanf(bare, "%g", &v); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	}
	return sign * v, slack, true
}

// What the tables promise: in each of them, every column of figures sums to
// the total below it, within the rounding that is shown.
func TestColumnsSum(t *testing.T) {
	checked := 0
	for name, r := range shapes() {
		out := table(t, r, nil, Options{Top: -1, Width: 200})
		for _, title := range []string{"Connections by state", "From state to state", "What became of every byte", "Resident memory"} {
			lines := section(t, out, title)
			if len(lines) < 4 {
				continue
			}
			rule := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "─") })
			last := rule + 1 + slices.IndexFunc(lines[rule+1:], func(l string) bool { return strings.HasPrefix(l, "─") })
			header := lines[0]
			for _, col := range figureColumns(header) {
				var sum, slack float64
				ok, found := true, false
				for _, line := range lines[rule+1 : last] {
					if text := cellAt(line, col); text != "" {
						v, s, known := value(t, text)
						sum, slack, ok, found = sum+v, slack+s, ok && known, true
					}
				}
				if !found {
					continue // no row has such a figure, as connections when there are none
				}
				total, s, known := value(t, cellAt(lines[last+1], col))
				if ok != known {
					t.Errorf("%s, %s, column ending at %d: rows known %v, total known %v:\n%s", name, title, col, ok, known, strings.Join(lines, "\n"))
				}
				if ok && (sum-total > slack+s || total-sum > slack+s) {
					t.Errorf("%s, %s, column ending at %d: rows sum to %.0f, the total says %.0f (±%.0f):\n%s", name, title, col, sum, total, slack+s, strings.Join(lines, "\n"))
				}
				checked++
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d columns were found", checked)
	}
}

// figureColumns gives the columns where right-aligned titles of figures end.
func figureColumns(header string) []int {
	var ends []int
	for _, m := range regexp.MustCompile(`\S+( before| after)?`).FindAllStringIndex(header, -1) {
		switch header[m[0]:m[1]] {
		case "conns", "buffers", "retained", "bytes", "Δ", "held before", "held after", "kept", "before", "after":
			ends = append(ends, len([]rune(header[:m[1]])))
		}
	}
	return ends
}

// cellAt is the figure of a line that ends at a column.
func cellAt(line string, end int) string {
	for _, m := range amount.FindAllStringIndex(line, -1) {
		if len([]rune(line[:m[1]])) == end {
			return line[m[0]:m[1]]
		}
	}
	return ""
}

func TestTop(t *testing.T) {
	r := structure()
	for top, want := range map[int]int{0: 10, 3: 3, -1: 23, 100: 23} {
		out := table(t, r, nil, Options{Top: top})
		if got := len(regexp.MustCompile(`(?m)^ +[^ ].*→ 10\.20\.1\.`).FindAllString(out, -1)); got != want {
			t.Errorf("top %d: %d connections, want %d", top, got, want)
		}
	}
	out := table(t, r, nil, Options{Top: 20})
	if !strings.Contains(out, "3 more connections: ") {
		t.Errorf("no line for the rest:\n%s", out)
	}
}

func TestUnknownHasAReason(t *testing.T) {
	for name, r := range shapes() {
		for _, block := range strings.Split(table(t, r, nil, Options{}), "\n\n") {
			if strings.Contains(block, unknown) && !regexp.MustCompile(`(?m)^– |Evidence|not known`).MatchString(block) && name != "dump-file" && name != "blank" {
				t.Errorf("%s: a dash without a reason:\n%s", name, block)
			}
		}
	}
}

func TestShortNamesStayUnambiguous(t *testing.T) {
	out := table(t, longNames(), nil, Options{Width: 200})
	for _, want := range []string{"io.grpc.netty.shaded.io.netty.buffer.PoolArena.chunks →", " io.netty.buffer.PoolArena.chunks →", `\u001b[31mred`, `a\u202eb.c`, "工作线程-1"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// failing refuses everything after n bytes.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}

func TestWriteErrorsAreReturned(t *testing.T) {
	for _, f := range Formats() {
		if err := Write(f.Name, &failing{10}, structure(), gates()["failed"], Options{}); err == nil {
			t.Errorf("%s: no error", f.Name)
		}
	}
}
