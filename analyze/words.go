package analyze

import "strings"

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// shortStep leaves the package out of a "package.Class.field" step.
func shortStep(step string) string {
	field := strings.LastIndexByte(step, '.')
	if field < 0 {
		return step
	}
	return shortClass(step[:field]) + step[field:]
}

func shortClass(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}
