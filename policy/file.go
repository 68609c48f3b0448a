package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leakscope/leakscope/analyze"
)

// Version is the version of the policy file format.
const Version = 1

// The limits of a policy file: it is written by people, and read before
// anything is known of it.
const (
	maxFileBytes = 256 << 10
	maxRules     = 500
	maxWaivers   = 500
	maxText      = 2000 // of a description or a reason, in bytes
	maxDepth     = 8
	maxSamples   = 10000
)

// Parse reads a policy file. The name is used in errors alone; they are
// [Errors], all faults of the file together.
func Parse(text []byte, name string) (*Policy, error) {
	f := &file{name: name, policy: &Policy{Origin: name}}
	f.lines = strings.SplitAfter(string(text), "\n")
	if root := f.document(text); root != nil {
		f.root(root)
	}
	if len(f.errs) > 0 {
		return nil, f.errs.sorted()
	}
	return f.policy, nil
}

// file is the reading of one policy file.
type file struct {
	name   string
	lines  []string
	policy *Policy
	errs   Errors
}

func (f *file) errorf(n *yaml.Node, hint, format string, args ...any) {
	f.errs = append(f.errs, &Error{Origin: f.name, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (f *file) whole(line int, message, hint string) *yaml.Node {
	f.errs = append(f.errs, &Error{Origin: f.name, Line: line, Column: min(line, 1), Message: message, Hint: hint})
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?:column \d+: )?`)

// document reads the one YAML document and refuses what a policy does not need.
func (f *file) document(text []byte) *yaml.Node {
	if len(text) > maxFileBytes {
		return f.whole(0, fmt.Sprintf("the file has %d bytes, at most %d are read", len(text), maxFileBytes), "")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return f.whole(0, "the policy is empty", `a policy starts with "version: 1"`)
	} else if err != nil {
		return f.syntax(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		f.errorf(&second, "one file is one policy", "a second document")
	} else if !errors.Is(err, io.EOF) {
		return f.syntax(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return f.whole(0, "the policy is empty", `a policy starts with "version: 1"`)
	}
	if !f.plain(doc.Content[0], 0) {
		return nil
	}
	return doc.Content[0]
}

func (f *file) syntax(err error) *yaml.Node {
	message := err.Error()
	line := 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		message = message[len(m[0]):]
	}
	return f.whole(line, "not YAML: "+message, "")
}

// plain refuses anchors, aliases, merge keys, custom tags and deep nesting.
func (f *file) plain(n *yaml.Node, depth int) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		f.errorf(n, "write the value out", "an alias is not accepted in a policy")
		return false
	case n.Anchor != "":
		f.errorf(n, "write the value out where it is needed", "an anchor is not accepted in a policy")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		f.errorf(n, "", "tag %q is not accepted in a policy", n.Tag)
		return false
	case depth > maxDepth:
		f.errorf(n, "", "nested deeper than %d", maxDepth)
		return false
	}
	ok := true
	for _, child := range n.Content {
		ok = f.plain(child, depth+1) && ok
	}
	return ok
}

// mapping calls set for each key, and reports unknown and repeated ones.
func (f *file) mapping(n *yaml.Node, what string, known []string, set func(key string, value *yaml.Node)) map[string]bool {
	if n.Kind != yaml.MappingNode {
		f.errorf(n, "", "%s must be a mapping, not %s", what, kindName(n))
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			hint := didYouMean(key.Value, known)
			if hint == "" {
				hint = "known are " + strings.Join(known, ", ")
			}
			f.errorf(key, hint, "unknown key %q in %s", key.Value, what)
		case seen[key.Value]:
			f.errorf(key, "", "key %q occurs twice", key.Value)
		default:
			seen[key.Value] = true
			set(key.Value, value)
		}
	}
	return seen
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return "a single value"
}

func (f *file) list(n *yaml.Node, what string, limit int) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		f.errorf(n, "", "%s must be a list, not %s", what, kindName(n))
		return nil
	}
	if len(n.Content) > limit {
		f.errorf(n.Content[limit], "", "%s has %d entries, at most %d are read", what, len(n.Content), limit)
		return nil
	}
	return n.Content
}

// text reads a scalar as it is written; what is empty is an error.
func (f *file) text(n *yaml.Node, key string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		f.errorf(n, "", "%s must be a text, not %s", key, kindName(n))
	case strings.TrimSpace(n.Value) == "":
		f.errorf(n, "", "%s is empty", key)
	case len(n.Value) > maxText && key != "expr":
		f.errorf(n, "", "%s has %d bytes, at most %d are read", key, len(n.Value), maxText)
	default:
		return n.Value, true
	}
	return "", false
}

// choice reads one of a closed set.
func choice[T ~string](f *file, n *yaml.Node, key string, known ...T) T {
	v, ok := f.text(n, key)
	if !ok || slices.Contains(known, T(v)) {
		return T(v)
	}
	names := words(known)
	hint := didYouMean(v, names)
	if hint == "" {
		hint = "it is one of " + strings.Join(names, ", ")
	}
	f.errorf(n, hint, "unknown %s %q", key, v)
	return ""
}

func (f *file) root(n *yaml.Node) {
	var rules, waivers *yaml.Node
	seen := f.mapping(n, "the policy", []string{"version", "rules", "waivers"}, func(key string, v *yaml.Node) {
		switch key {
		case "version":
			if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || v.Value != strconv.Itoa(Version) {
				f.errorf(v, fmt.Sprintf("this leakscope reads version: %d", Version), "unknown version %q", v.Value)
			}
		case "rules":
			rules = v
		case "waivers":
			waivers = v
		}
	})
	if seen == nil {
		return
	}
	if !seen["version"] {
		f.errorf(n, fmt.Sprintf(`add "version: %d"`, Version), "the policy has no version")
	}
	if rules == nil {
		f.errorf(n, "", "the policy has no rules")
		return
	}
	ids := map[string]int{}
	all := f.list(rules, "rules", maxRules)
	if all != nil && len(all) == 0 || rules.Kind == yaml.SequenceNode && len(rules.Content) == 0 {
		f.errorf(rules, "", "the policy has no rules")
	}
	for _, r := range all {
		f.rule(r, ids)
	}
	if waivers == nil {
		return
	}
	for _, w := range f.list(waivers, "waivers", maxWaivers) {
		f.waiver(w, ids)
	}
}

var ruleID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$`)

// rule reads one rule; ids maps those read so far to their lines.
func (f *file) rule(n *yaml.Node, ids map[string]int) {
	r := Rule{Level: LevelError, OnMissing: MissingFails, Origin: f.name, Line: n.Line, Column: n.Column}
	keys := []string{"id", "description", "expr", "level", "on_missing", "min_samples", "confidence"}
	seen := f.mapping(n, "a rule", keys, func(key string, v *yaml.Node) {
		switch key {
		case "id":
			id, ok := f.text(v, key)
			switch {
			case !ok:
			case !ruleID.MatchString(id):
				f.errorf(v, "letters, digits, and . _ / - are, up to 100", "id %q has characters that are not accepted", id)
			case ids[id] > 0:
				f.errorf(v, "", "id %q is taken by the rule of line %d", id, ids[id])
			default:
				ids[id], r.ID = n.Line, id
			}
		case "description":
			r.Description, _ = f.text(v, key)
		case "expr":
			if text, ok := f.text(v, key); ok {
				r.Expr = f.expression(v, text)
			}
		case "level":
			r.Level = choice(f, v, key, LevelError, LevelWarning, LevelNote)
		case "on_missing":
			r.OnMissing = choice(f, v, key, MissingFails, MissingSkips)
		case "min_samples":
			samples, err := strconv.Atoi(v.Value)
			if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || err != nil || samples < 1 || samples > maxSamples {
				f.errorf(v, "", "min_samples must be a whole number from 1 to %d", maxSamples)
				return
			}
			r.MinSamples = samples
		case "confidence":
			r.Confidence = choice(f, v, key, analyze.Exact, analyze.Inferred)
		}
	})
	if seen == nil {
		return
	}
	for _, key := range []string{"id", "expr"} {
		if !seen[key] {
			f.errorf(n, "", "a rule has no %s", key)
		}
	}
	f.policy.Rules = append(f.policy.Rules, r)
}

// expression parses the condition in a scalar; faults are placed in the file.
func (f *file) expression(n *yaml.Node, text string) *Expr {
	e, faults := parseExpression(text)
	if len(faults) == 0 {
		return e
	}
	places := f.places(n)
	for _, x := range faults {
		line, column := n.Line, n.Column
		if x.at < len(places) {
			line, column = places[x.at].line, places[x.at].column
		}
		f.errs = append(f.errs, &Error{Origin: f.name, Line: line, Column: column, Message: x.message, Hint: x.hint})
	}
	return nil
}

func (f *file) waiver(n *yaml.Node, ids map[string]int) {
	w := Waiver{Line: n.Line, Column: n.Column}
	seen := f.mapping(n, "a waiver", []string{"rule", "until", "reason"}, func(key string, v *yaml.Node) {
		switch key {
		case "rule":
			id, ok := f.text(v, key)
			if ok && ids[id] == 0 {
				known := make([]string, 0, len(ids))
				for _, r := range f.policy.Rules {
					known = append(known, r.ID)
				}
				f.errorf(v, didYouMean(id, known), "a waiver for an unknown rule %q", id)
			}
			w.Rule = id
		case "until":
			text, ok := f.text(v, key)
			if !ok {
				return
			}
			until, err := parseUntil(text)
			if err != nil {
				f.errorf(v, "write 2027-01-31T00:00:00Z, or 2027-01-31 for the end of that day in UTC", "until %q is not an RFC 3339 date", text)
			}
			w.Until = until
		case "reason":
			w.Reason, _ = f.text(v, key)
		}
	})
	if seen == nil {
		return
	}
	for _, key := range []string{"rule", "until", "reason"} {
		if !seen[key] {
			f.errorf(n, "", "a waiver has no %s", key)
		}
	}
	f.policy.Waivers = append(f.policy.Waivers, w)
}

// parseUntil reads a time, or a day, which lasts until its end in UTC.
func parseUntil(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return time.Parse(time.RFC3339, text)
}
