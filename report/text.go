package report

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// fixWidths makes the width of a character the same everywhere: the library
// that draws the tables guesses it from the locale otherwise, and the same
// result would give other bytes on another machine.
var fixWidths = sync.OnceFunc(func() {
	twwidth.SetOptions(twwidth.Options{EastAsianWidth: false, ForceNarrowBorders: true})
})

// columns is the number of terminal columns that text takes.
func columns(text string) int {
	fixWidths()
	return twwidth.Width(text)
}

// unknown stands for a figure that is not known.
const unknown = "–"

// visible makes the control characters of text harmless and visible: text of a
// target or a file must not steer the terminal. Line ends and tabs become
// spaces.
func visible(text string) string {
	clean := true
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 || !harmless(r) {
			clean = false
			break
		}
		i += n
	}
	if clean {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError || harmless(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// harmless refuses controls, and the format characters that turn the direction
// of text or hide parts of it.
func harmless(r rune) bool {
	return !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) && r != '\u2028' && r != '\u2029'
}

// wrap breaks text into lines of at most width columns: at spaces where there
// are any, inside a word only where it is longer than a line.
func wrap(text string, width int) []string { return wrapWords(words(text), width) }

// words are the words of a text, a number and its unit together.
func words(text string) []string {
	var all []string
	for _, f := range strings.Fields(text) {
		if n := len(all); n > 0 && endsInDigit(all[n-1]) && unitWord.MatchString(f) {
			all[n-1] += " " + f
			continue
		}
		all = append(all, f)
	}
	return all
}

var unitWord = regexp.MustCompile(`^(?:B|[KMGTPE]iB|µs|ms|s|min|h|d|%)(?:/s)?[),;:.\]]*$`)

func endsInDigit(word string) bool {
	return word != "" && word[len(word)-1] >= '0' && word[len(word)-1] <= '9'
}

func wrapWords(words []string, width int) []string {
	var lines []string
	line, used := "", 0
	flush := func() {
		if used > 0 {
			lines = append(lines, line)
		}
		line, used = "", 0
	}
	for _, word := range words {
		n := columns(word)
		if used > 0 && used+1+n <= width {
			line, used = line+" "+word, used+1+n
			continue
		}
		flush()
		for n > width {
			head, tail := breakWord(word, width)
			lines = append(lines, head)
			word, n = tail, columns(tail)
		}
		line, used = word, n
	}
	flush()
	if len(lines) == 0 {
		return []string{""}
	}
	return lines
}

// breakWord takes as much of a word as width columns hold, preferably up to a
// separator of names.
func breakWord(word string, width int) (head, tail string) {
	used, hard, soft := 0, 0, 0
	for i, r := range word {
		n := columns(string(r))
		if used+n > width {
			break
		}
		used += n
		hard = i + utf8.RuneLen(r)
		if strings.ContainsRune("./$:,;-_=&|", r) {
			soft = hard
		}
	}
	if hard == 0 { // a character wider than the line: better too wide than never done
		_, n := utf8.DecodeRuneInString(word)
		return word[:n], word[n:]
	}
	if soft > hard/3 {
		hard = soft
	}
	return word[:hard], word[hard:]
}

// writeWrapped writes text in lines of at most width columns, the first after
// first and the others after rest, which are of equal width.
func writeWrapped(b *strings.Builder, first, rest, text string, width int) {
	for i, line := range wrap(text, max(width-columns(first), 10)) {
		if i == 0 {
			b.WriteString(first)
		} else {
			b.WriteString(rest)
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
}

func plural(n int64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
