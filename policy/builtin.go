package policy

import _ "embed"

// builtin.yaml is the policy that applies when none is given; Parse reads it
// like any other.
//
//go:embed builtin.yaml
var builtinText []byte

// BuiltinOrigin names the origin of the built-in rules.
const BuiltinOrigin = "built-in"

// Default is the policy that applies when no file and no expression is given:
// it fails on the verdict leak, and cannot be judged where a leak is neither
// proven nor excluded.
func Default() *Policy {
	p, err := Parse(builtinText, BuiltinOrigin)
	if err != nil {
		panic("policy: the built-in policy does not parse: " + err.Error()) // a test parses it
	}
	for i := range p.Rules {
		p.Rules[i].Line, p.Rules[i].Column = 0, 0 // in no file of the user's
	}
	return p
}

// DefaultText is the built-in policy as a file.
func DefaultText() []byte { return append([]byte(nil), builtinText...) }
