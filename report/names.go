package report

import (
	"strings"
	"unicode"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/snapshot"
)

// classNames writes class names without their package where that is not
// ambiguous within one report.
type classNames struct{ full map[string]map[string]bool } // short → every full name

func namesOf(r *analyze.Result) classNames {
	n := classNames{full: map[string]map[string]bool{}}
	for i := range r.Holders {
		for _, step := range r.Holders[i].Path {
			if class, _, ok := splitStep(step); ok {
				n.note(class)
			}
		}
	}
	eachRetainer(r.Retainers, func(of *snapshot.Retainer) {
		if class, _, ok := splitStep(of.Step); ok {
			n.note(class)
		}
	})
	for i := range r.Connections {
		n.note(r.Connections[i].Class)
	}
	return n
}

func (n classNames) note(class string) {
	short := class[strings.LastIndexByte(class, '.')+1:]
	if n.full[short] == nil {
		n.full[short] = map[string]bool{}
	}
	n.full[short][class] = true
}

// class shortens a class name.
func (n classNames) class(name string) string {
	short := name[strings.LastIndexByte(name, '.')+1:]
	if len(n.full[short]) > 1 {
		return name
	}
	return short
}

// step shortens a step of a holder path, "package.Class.field".
func (n classNames) step(step string) string {
	class, field, ok := splitStep(step)
	if !ok {
		return step
	}
	return n.class(class) + field
}

// path is a holder path in words that wrap: each step but the last ends in an
// arrow.
func (n classNames) path(steps []string) []string {
	var words []string
	for i, s := range steps {
		fields := strings.Fields(n.step(s))
		if len(fields) == 0 {
			continue
		}
		if i < len(steps)-1 {
			fields[len(fields)-1] += " →"
		}
		words = append(words, fields...)
	}
	return words
}

// splitStep takes a step apart into its class and the rest (".field", with what
// follows it, "[]" or "…"). A step of another form is not taken apart.
func splitStep(step string) (class, rest string, ok bool) {
	end := strings.IndexFunc(step, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '$' && r != '.'
	})
	if end < 0 {
		end = len(step)
	}
	if rest := step[end:]; rest != "" && !strings.HasPrefix(rest, "[]") && !strings.HasPrefix(rest, "…") {
		return "", "", false
	}
	field := strings.LastIndexByte(step[:end], '.')
	if field <= 0 {
		return "", "", false
	}
	return step[:field], step[field:], true
}
