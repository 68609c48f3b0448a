package report

import (
	"fmt"
	"strings"

	"github.com/fatih/color"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// column is one column of a grid.
type column struct {
	title string
	right bool // figures stand at the right
	gap   int  // spaces before it
	flex  bool // it gives way, wrapped, where the grid is too wide
}

// cell is the text of one place and its colour.
type cell struct {
	text  string
	color *color.Color
}

// grid is a table that fits a width: figures are never cut, texts wrap.
type grid struct {
	columns []column
	rows    [][]cell
	total   []cell // nil: none
}

func text(s string) cell { return cell{text: s} }

func painted(s string, c *color.Color) cell { return cell{s, c} }

// The kinds of column: of texts, of figures, of changes beside figures, and of
// texts that wrap.

func left(title string) column { return column{title: title, gap: 2} }

func figure(title string) column { return column{title: title, right: true, gap: 2} }

func delta() column { return column{title: "Δ", right: true, gap: 1} }

func flexible(title string) column { return column{title: title, gap: 2, flex: true} }

func (g *grid) add(cells ...cell) { g.rows = append(g.rows, cells) }

// all is every row and the total.
func (g *grid) all() [][]cell {
	return append(g.rows[:len(g.rows):len(g.rows)], g.totals()...)
}

func (g *grid) totals() [][]cell {
	if g.total == nil {
		return nil
	}
	return [][]cell{g.total}
}

// minFlex is the least width of a column that wraps.
const minFlex = 14

// layout gives the width of each column, and of the gaps before them.
func (g *grid) layout(width int) (widths, gaps []int) {
	widths, gaps = make([]int, len(g.columns)), make([]int, len(g.columns))
	sum := 0
	for i, c := range g.columns {
		widths[i] = columns(c.title)
		for _, row := range g.all() {
			widths[i] = max(widths[i], columns(row[i].text))
		}
		if i > 0 {
			gaps[i] = c.gap
		}
		sum += widths[i] + gaps[i]
	}
	for i := range gaps {
		if sum > width && gaps[i] > 1 {
			sum -= gaps[i] - 1
			gaps[i] = 1
		}
	}
	for sum > width { // the widest column that may wrap gives way
		widest := -1
		for i, c := range g.columns {
			if c.flex && widths[i] > minFlex && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		sum--
	}
	return widths, gaps
}

// render writes the grid. Widths are settled here, so that the drawing library
// neither wraps nor guesses.
func (g *grid) render(b *strings.Builder, width int, p palette) error {
	fixWidths()
	widths, gaps := g.layout(width)
	section := func(c *color.Color) []cell {
		header := make([]cell, len(g.columns))
		for i := range g.columns {
			header[i] = cell{g.columns[i].title, c}
		}
		return header
	}
	aligned := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off},
		Padding:    tw.CellPadding{Global: tw.PaddingNone},
		Alignment:  tw.CellAlignment{Global: tw.AlignLeft},
	}
	var drawn strings.Builder
	table := tablewriter.NewTable(&drawn,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Symbols: tw.NewSymbols(tw.StyleLight),
			Settings: tw.Settings{
				Separators: tw.SeparatorsNone,
				Lines:      tw.Lines{ShowTop: tw.Off, ShowBottom: tw.Off, ShowHeaderLine: tw.On, ShowFooterLine: tw.On},
			},
		})),
		tablewriter.WithConfig(tablewriter.Config{
			Header: aligned, Row: aligned, Footer: aligned,
			Behavior: tw.Behavior{TrimSpace: tw.Off, TrimLine: tw.Off, TrimTab: tw.Off, AutoHide: tw.Off},
		}),
	)
	table.Header(g.padded(section(p.faint), widths, gaps))
	for _, row := range g.rows {
		if err := table.Append(g.padded(row, widths, gaps)); err != nil {
			return fmt.Errorf("table: %w", err)
		}
	}
	if g.total != nil {
		table.Footer(g.padded(g.total, widths, gaps))
	}
	if err := table.Render(); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	for line := range strings.Lines(drawn.String()) {
		b.WriteString(strings.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
	return nil
}

// padded is a row with every line of every cell at its full width.
func (g *grid) padded(row []cell, widths, gaps []int) []string {
	lines := make([][]string, len(row))
	height := 1
	for i, c := range row {
		lines[i] = []string{c.text}
		if columns(c.text) > widths[i] {
			lines[i] = wrap(c.text, widths[i])
		}
		height = max(height, len(lines[i]))
	}
	out := make([]string, len(row))
	for i := range row {
		cellLines := make([]string, height)
		for n := range cellLines {
			s := ""
			if n < len(lines[i]) {
				s = lines[i][n]
			}
			fill := strings.Repeat(" ", max(widths[i]-columns(s), 0))
			s = paint(row[i].color, s)
			if g.columns[i].right {
				s = fill + s
			} else {
				s += fill
			}
			cellLines[n] = strings.Repeat(" ", gaps[i]) + s
		}
		out[i] = strings.Join(cellLines, "\n")
	}
	return out
}
