package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/internal/scenario"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/snapshot"
)

func written(t testing.TB, format string, r *analyze.Result, gate *policy.Outcome, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(format, &b, r, gate, o); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

// every calls f for each shape of result with each kind of gate, nil among
// them.
func every(f func(name string, r *analyze.Result, gate *policy.Outcome)) {
	all, outcomes := shapes(), gates()
	for _, name := range sortedKeys(all) {
		f(name, all[name], nil)
		for _, gate := range sortedKeys(outcomes) {
			f(name+" "+gate, all[name], outcomes[gate])
		}
	}
}

func TestFormatsGolden(t *testing.T) {
	for _, f := range Formats() {
		if f.Binary || f.Name == "table" || f.Name == "json" {
			continue
		}
		golden(t, "structure.gate-failed."+f.Name+f.Extension, []byte(written(t, f.Name, structure(), gates()["failed"], Options{Top: 5})))
		golden(t, "no-heap.gate-unjudged."+f.Name+f.Extension, []byte(written(t, f.Name, noHeap(), gates()["unjudged"], Options{Top: 5})))
		golden(t, "long-names.gate-passed."+f.Name+f.Extension, []byte(written(t, f.Name, longNames(), gates()["passed"], Options{})))
	}
	golden(t, "structure.markdown.md", []byte(written(t, "markdown", structure(), nil, Options{ShowAddresses: true, Top: 3})))
	golden(t, "trend.github.txt", []byte(written(t, "github", trend(), nil, Options{})))
}

func TestFormatsAreDeterministic(t *testing.T) {
	every(func(name string, r *analyze.Result, gate *policy.Outcome) {
		for _, f := range Formats() {
			var first, second bytes.Buffer
			errFirst, errSecond := Write(f.Name, &first, r, gate, Options{}), Write(f.Name, &second, r, gate, Options{})
			if !bytes.Equal(first.Bytes(), second.Bytes()) || (errFirst == nil) != (errSecond == nil) {
				t.Errorf("%s of %s: the same result gave other bytes", f.Name, name)
			}
		}
	})
}

func TestRegistry(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Formats() {
		if seen[f.Name] || f.Name == "" || f.Description == "" || !strings.HasPrefix(f.Extension, ".") {
			t.Errorf("format %+v", f)
		}
		seen[f.Name] = true
		err := Write(f.Name, io.Discard, structure(), nil, Options{})
		if f.NeedsGate != errors.Is(err, ErrNeedsGate) || !f.NeedsGate && err != nil {
			t.Errorf("%s without a gate: %v", f.Name, err)
		}
	}
	var missing *UnknownFormatError
	if err := Write("yaml", io.Discard, structure(), nil, Options{}); !errors.As(err, &missing) || !strings.Contains(err.Error(), "table, json, markdown") {
		t.Errorf("error %v", err)
	}
}

// compiled reads a JSON schema of testdata.
func compiled(t testing.TB, path string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSARIFFollowsTheStandard(t *testing.T) {
	schema := compiled(t, "testdata/third-party/sarif-schema-2.1.0.json")
	every(func(name string, r *analyze.Result, gate *policy.Outcome) {
		if gate == nil {
			return
		}
		out := written(t, "sarif", r, gate, Options{})
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	if v, _ := jsonschema.UnmarshalJSON(strings.NewReader(`{"version":"2.1.0","runs":[{"results":[]}]}`)); schema.Validate(v) == nil {
		t.Error("the schema takes a run without a tool: it is not in force")
	}
}

func TestSARIFPlaces(t *testing.T) {
	var log sarifLog
	if err := json.Unmarshal([]byte(written(t, "sarif", structure(), gates()["failed"], Options{})), &log); err != nil {
		t.Fatal(err)
	}
	results := log.Runs[0].Results
	if len(results) != 3 {
		t.Fatalf("%d results, want one for each rule that failed or was waived", len(results))
	}
	for i, want := range []struct {
		rule, level string
		line        int
		suppressed  bool
	}{{"no-leak", "error", 7, false}, {"peer-closed", "warning", 12, false}, {"findings", "error", 20, true}} {
		got := results[i]
		at := got.Locations[0].Physical
		if got.RuleID != want.rule || got.Level != want.level || at.Region.StartLine != want.line || at.Artifact.URI != "ci/leak%20policy.yaml" || (len(got.Suppressions) > 0) != want.suppressed {
			t.Errorf("result %d: %+v", i, got)
		}
		if log.Runs[0].Tool.Driver.Rules[got.RuleIndex].ID != want.rule {
			t.Errorf("rule index %d is not %s", got.RuleIndex, want.rule)
		}
	}
	if err := json.Unmarshal([]byte(written(t, "sarif", noHeap(), gates()["unjudged"], Options{})), &log); err != nil {
		t.Fatal(err)
	}
	if r := log.Runs[0].Results; len(r) != 1 || r[0].Kind != "fail" || r[0].Level != "error" || r[0].Locations[0].Physical.Artifact.URI != "second.lscope" {
		t.Errorf("a rule that could not be judged, and is in no file: %+v", r)
	}
}

func TestSARIFURI(t *testing.T) {
	for origin, want := range map[string]string{
		"policy.yaml": "policy.yaml", "./ci/a b%.yaml": "ci/a%20b%25.yaml", "/etc/p.yaml": "file:///etc/p.yaml",
		`C:\ci\p.yaml`: "file:///C:/ci/p.yaml", "a:b.yaml": "./a:b.yaml", "../p.yaml": "../p.yaml",
	} {
		if got := sarifURI(&policy.RuleOutcome{Origin: origin, Line: 1}, structure()); got != want {
			t.Errorf("%s: %s, want %s", origin, got, want)
		}
	}
}

// The JDK validates every JUnit report against Jenkins' schema.
func TestJUnitFollowsTheSchema(t *testing.T) {
	jdk := scenario.JDKs(t)[0]
	dir := t.TempDir()
	var files []string
	every(func(name string, r *analyze.Result, gate *policy.Outcome) {
		if gate == nil {
			return
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".xml")
		if err := os.WriteFile(file, []byte(written(t, "junit", r, gate, Options{})), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	})
	for name, p := range proofs() {
		file := filepath.Join(dir, "proof-"+name+".xml")
		if err := os.WriteFile(file, []byte(proofWritten(t, "junit", p, Options{})), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	bad := filepath.Join(dir, "bad.xml")
	if err := os.WriteFile(bad, []byte(`<testsuites><testsuite name="x" tests="1"><testcase><failure/></testcase></testsuite></testsuites>`), 0o600); err != nil {
		t.Fatal(err)
	}
	validate := func(files ...string) (string, error) {
		args := append([]string{"testdata/ValidateXML.java", "testdata/third-party/jenkins-junit.xsd"}, files...)
		out, err := exec.Command(filepath.Join(jdk.Home, "bin", "java"), args...).CombinedOutput()
		return string(out), err
	}
	if out, err := validate(files...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := validate(bad); err == nil || !strings.Contains(out, "testcase") {
		t.Errorf("a case without a name was taken: the schema is not in force: %v\n%s", err, out)
	}
}

func TestJUnitCounts(t *testing.T) {
	for name, want := range map[string][4]int{"failed": {5, 1, 0, 3}, "unjudged": {1, 0, 1, 0}, "passed": {1, 0, 0, 0}} {
		var suites junitSuites
		if err := xml.Unmarshal([]byte(written(t, "junit", structure(), gates()[name], Options{})), &suites); err != nil {
			t.Fatal(err)
		}
		s := suites.Suites[0]
		if got := [4]int{s.Tests, s.Failures, s.Errors, s.Skipped}; got != want || len(s.Cases) != s.Tests {
			t.Errorf("%s: tests, failures, errors, skipped are %v, want %v", name, got, want)
		}
	}
	skipped := &policy.Outcome{Gate: policy.Unjudged, Reasons: []string{"nothing was judged"}, Rules: []policy.RuleOutcome{
		{ID: "a", Level: policy.LevelError, Status: policy.StatusSkipped},
	}}
	if out := written(t, "junit", structure(), skipped, Options{}); !strings.Contains(out, `errors="1"`) || !strings.Contains(out, "nothing was judged") {
		t.Errorf("an unjudged gate looks like a pass:\n%s", out)
	}
}

func TestPprofIsTheDifference(t *testing.T) {
	for name, r := range shapes() {
		p, err := differenceProfile(r)
		head, okHead := r.Summary.Bytes.Head.Get()
		base, okBase := r.Summary.Bytes.Base.Get()
		if !okHead || len(r.Inputs) > 1 && !okBase {
			if !errors.Is(err, ErrNoHeap) {
				t.Errorf("%s: error %v, want ErrNoHeap", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := p.CheckValid(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var count, bytes, down int64
		for _, s := range p.Sample {
			count, bytes = count+s.Value[0], bytes+s.Value[1]
			if (s.Value[1] < 0) != (len(s.Label[baseLabel]) == 1) {
				t.Errorf("%s: sample %v with labels %v", name, s.Value, s.Label)
			}
			if s.Value[1] < 0 {
				down += s.Value[1]
			}
		}
		if bytes != head-base || -down != base || count != r.Summary.Allocations.Head.Or(0)-r.Summary.Allocations.Base.Or(0) {
			t.Errorf("%s: samples sum to %d bytes and %d buffers, base %d; want %d − %d", name, bytes, count, -down, head, base)
		}
	}
}

func TestPprofOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "diff.pb.gz")
	if err := os.WriteFile(path, []byte(written(t, "pprof", structure(), nil, Options{})), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := profile.Parse(f); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-cum", "-unit=B", "-nodefraction=0", "-tagroot=fate", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The difference, and percentages of the base, as with -diff_base.
	s := structure().Summary.Bytes
	accounted := fmt.Sprintf("%dB, %.2f%% of %dB total", change(s.Base, s.Head).Or(0), 100*float64(change(s.Base, s.Head).Or(0))/float64(s.Base.Or(0)), s.Base.Or(0))
	for _, want := range []string{accounted, "connection", "io.netty.channel.ChannelOutboundBuffer$Entry.msg"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

var commandLine = regexp.MustCompile(`^::(error|warning|notice) (?:[a-z]+=[^,:\n]*)(?:,[a-z]+=[^,:\n]*)*::[^\n\r]+$`)

func TestGitHubCommands(t *testing.T) {
	every(func(name string, r *analyze.Result, gate *policy.Outcome) {
		out := written(t, "github", r, gate, Options{})
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		for _, line := range lines {
			if !commandLine.MatchString(line) {
				t.Errorf("%s: no workflow command: %q", name, line)
			}
		}
	})
	out := written(t, "github", structure(), gates()["failed"], Options{})
	for _, want := range []string{
		"::error file=ci/leak policy.yaml,line=7,col=5,title=leakscope%3A no-leak failed::",
		"::warning file=ci/leak policy.yaml,line=12,col=5,title=leakscope%3A peer-closed failed::", "100%25 more|worse",
		"::notice file=ci/leak policy.yaml,line=20,col=5,title=leakscope%3A findings is waived::until 2026-06-01",
		"::warning file=ci/leak policy.yaml,line=33,col=3,title=leakscope%3A the waiver of no-leak has expired::",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestGitHubKeepsItsLimits(t *testing.T) {
	gate := gates()["failed"]
	for i := range 60 {
		rule := gate.Rules[i%2]
		rule.ID, rule.Reasons = fmt.Sprintf("rule-%d", i), []string{strings.Repeat("reason\r\n", 5000)}
		gate.Rules = append(gate.Rules, rule)
	}
	r := structure()
	for range 40 {
		r.Findings = append(r.Findings, r.Findings[0])
	}
	out := written(t, "github", r, gate, Options{})
	for _, level := range []string{"error", "warning", "notice"} {
		if n := strings.Count(out, "::"+level+" "); n != annotationsPerLevel {
			t.Errorf("%d of level %s, want %d", n, level, annotationsPerLevel)
		}
	}
	if !strings.Contains(out, "::error title=leakscope%3A 22 more::") {
		t.Errorf("the rest is not counted:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if len(line) > 3*annotationRunes {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

func TestMarkdownFits(t *testing.T) {
	r := structure()
	for i := range 4000 {
		c := r.Connections[0]
		c.ID, c.Reason = fmt.Sprint(i), strings.Repeat("x", 300)
		r.Connections = append(r.Connections, c)
	}
	for format, limit := range map[string]int{"comment": 65_536, "summary": 1 << 20} {
		var b bytes.Buffer
		write := Markdown
		if format == "summary" {
			write = GitHubSummary
		}
		if err := write(&b, r, gates()["failed"], Options{Top: -1}); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if len(out) > limit || !strings.HasSuffix(out, cutNote) || strings.Count(out, "<details>") != strings.Count(out, "</details>") {
			t.Errorf("%s: %d bytes of %d, ends in %q, %d open and %d close", format, len(out), limit, out[len(out)-80:], strings.Count(out, "<details>"), strings.Count(out, "</details>"))
		}
	}
}

// Where addresses are masked none is left, the same one has the same name
// everywhere, and --show-addresses shows them.
func TestMasking(t *testing.T) {
	r := structure()
	r.Summary.Reasons = append(r.Summary.Reasons, "10.20.1.33:40000 talks to db.internal.example.com:5432 and [2001:db8::1]:443, 2001:db8::1 again; http://ci:secret@build-7.corp/x; not 127.0.0.1:80, ::1, java.nio.Bits or policy.yaml:7")
	r.Warnings = append(r.Warnings, "0123456789ab: unreadable")
	r.Inputs[1].Target.ContainerID = "0123456789abcdef0123456789abcdef"
	for _, format := range []string{"markdown", "github", "sarif"} {
		out := written(t, format, r, gates()["failed"], Options{})
		for _, secret := range []string{"10.20.", "2001", "db.internal", "build-7", "secret", "0123456789ab"} {
			if strings.Contains(out, secret) {
				t.Errorf("%s shows %s:\n%s", format, secret, out)
			}
		}
		shown := written(t, format, r, gates()["failed"], Options{ShowAddresses: true})
		if !strings.Contains(shown, "10.20.1.33") {
			t.Errorf("%s hides addresses that were asked for", format)
		}
	}
	out := written(t, "markdown", r, gates()["failed"], Options{Top: -1})
	for _, want := range []string{
		"host-1:8080 → host-2:40000", "host-1:9090 → host-4:40000", "from host-2:40000", // row, row, and a rule's reason
		"host-2:40000 talks to name-3:5432 and host-6:443, host-6 again; http&#58;//name-2/x; not 127.0.0.1:80, ::1, java.nio.Bits or policy.yaml:7",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(written(t, "prometheus", r, gates()["failed"], Options{}), "10.20.") {
		t.Error("prometheus shows addresses")
	}
	r.Connections[0].Socket = &snapshot.Socket{Remote: netip.MustParseAddrPort("[::ffff:10.20.1.33]:40000")}
	if _, _, m := masked(r, nil, false); m.address(netip.MustParseAddr("::ffff:10.20.1.33")) != m.address(netip.MustParseAddr("10.20.1.33")) {
		t.Error("one host in two forms has two names")
	}
}

func FuzzMask(f *testing.F) {
	f.Add("10.20.1.33:40000 [2001:db8::1%eth0]:443")
	f.Add("a.b.c:1 http://x/ :::: 1.2.3.4.5 fe80::%")
	f.Fuzz(func(t *testing.T, s string) {
		r := &analyze.Result{Warnings: []string{s}}
		out, _, m := masked(r, nil, false)
		for a := range m.addresses {
			if again := m.text(out.Warnings[0]); again != out.Warnings[0] && strings.Contains(again, a.String()) {
				t.Errorf("%q became %q and still has %s", s, out.Warnings[0], a)
			}
		}
	})
}

func TestEscaping(t *testing.T) {
	out := written(t, "markdown", longNames(), gates()["failed"], Options{})
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cells < 3 {
			t.Errorf("a row of %d bars: %q", cells, line)
		}
	}
	if strings.Contains(out, "<b>") || !strings.Contains(out, "&#60;b&#62;the") || strings.Contains(out, "*rest*") {
		t.Errorf("not escaped:\n%s", out)
	}
	if x := written(t, "junit", longNames(), gates()["failed"], Options{}); strings.ContainsRune(x, 0x1b) || strings.Contains(x, "&#x1B;") || strings.Contains(x, "&#x7;") {
		t.Errorf("control characters in XML:\n%s", x)
	}
	for _, text := range []string{"- x", "+ x", "1. x", "12) x", "# x", "> x", "=== x"} {
		if first := guarded(escaped(text)); slices.Contains([]byte("-+=#>"), first[0]) || regexp.MustCompile(`^\d+[.)]`).MatchString(first) {
			t.Errorf("%q begins a block: %q", text, first)
		}
	}
}
