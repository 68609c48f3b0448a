package launch

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
)

const (
	keptLines    = 20
	maxLine      = 64 << 10 // a longer one is passed on in pieces
	maxKeptRunes = 400
)

// lines passes the output of a command on, line by line, and keeps the last.
type lines struct {
	to   io.Writer
	tell func(string)

	mu   sync.Mutex
	kept []string
}

func newLines(to io.Writer, tell func(string)) *lines {
	if to == nil {
		to = io.Discard
	}
	if tell == nil {
		tell = func(string) {}
	}
	return &lines{to: to, tell: tell}
}

// copy reads to the end. Where the writer fails, the command must not be held
// up by a full pipe: the rest is read all the same.
func (l *lines) copy(from io.Reader) {
	in := bufio.NewReaderSize(from, maxLine)
	for {
		piece, err := in.ReadSlice('\n')
		if len(piece) > 0 {
			text := strings.TrimRight(string(piece), "\r\n")
			l.keep(text)
			l.tell(text)
			if piece[len(piece)-1] != '\n' {
				piece = append(slices.Clone(piece), '\n')
			}
			_, _ = l.to.Write(piece)
		}
		if err != nil && err != bufio.ErrBufferFull { //nolint:errorlint // bufio returns it as it is
			return
		}
	}
}

func (l *lines) keep(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == keptLines {
		l.kept = slices.Delete(l.kept, 0, 1)
	}
	l.kept = append(l.kept, printable(text))
}

func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept)
}

// printable makes a line of somebody else's safe to repeat in a message.
func printable(text string) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	if len(runes) > maxKeptRunes {
		runes = append(runes[:maxKeptRunes], '…')
	}
	for i, r := range runes {
		if r == '\t' {
			runes[i] = ' '
		} else if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes)
}
