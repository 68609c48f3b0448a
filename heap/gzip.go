package heap

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/leakscope/leakscope/heap/hprof"
)

// readGzip reads a compressed dump as a stream. Where records turn out to go
// on from one segment to the next, it is read once more with a single decoder.
func readGzip(ctx context.Context, r io.ReaderAt, size int64, o Options) (*Result, error) {
	for _, serial := range []bool{false, true} {
		p, err := gzipPass(ctx, r, size, o, serial)
		if err != nil {
			return nil, err
		}
		if p.carry && !serial && p.report.truncatedAt < 0 {
			continue
		}
		again := &gzipRows{r: r, size: size, options: o, red: p.red, serial: serial}
		return p.red.result(ctx, again, p.report)
	}
	return nil, errors.New("unreachable")
}

func gzipPass(ctx context.Context, r io.ReaderAt, size int64, o Options, serial bool) (*streamPass, error) {
	z, err := hprof.NewGzipReader(ctx, r, size, o.workers(), o.Progress)
	if err != nil {
		return nil, err
	}
	defer func() { _ = z.Close() }()
	br := bufio.NewReaderSize(z, 64<<10)
	head, err := br.Peek(hprof.MaxHeaderSize)
	if len(head) == 0 && err != nil {
		return nil, err
	}
	h, err := hprof.ParseHeader(head)
	if err != nil {
		return nil, err
	}
	if _, err := br.Discard(h.Size); err != nil {
		return nil, err
	}
	rep := &report{truncatedAt: -1}
	rep.advance(int64(h.Size))
	p := &streamPass{
		ctx: ctx, red: newReduction(h.IDSize, o.rowBudget()), report: rep,
		workers: o.workers(), serial: serial,
	}
	p.read(br, int64(h.Size), true)
	if p.red.pages == nil {
		p.red.start(0)
	}
	return p, ctx.Err()
}

// gzipRows gives the rows of a compressed dump by reading it again.
type gzipRows struct {
	r       io.ReaderAt
	size    int64
	options Options
	red     *reduction
	serial  bool
}

func (g *gzipRows) stored() bool { return false }

func (g *gzipRows) each(ctx context.Context, _ bool, visit func(c *chunk)) error {
	for _, c := range g.red.statics.chunks {
		visit(c)
	}
	z, err := hprof.NewGzipReader(ctx, g.r, g.size, g.options.workers(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }()
	br := bufio.NewReaderSize(z, 64<<10)
	head, _ := br.Peek(hprof.MaxHeaderSize)
	h, err := hprof.ParseHeader(head)
	if err != nil {
		return err
	}
	if _, err := br.Discard(h.Size); err != nil {
		return err
	}
	p := &streamPass{
		ctx: ctx, red: g.red, report: &report{truncatedAt: 0},
		workers: g.options.workers(), serial: g.serial, visit: visit,
	}
	p.read(br, int64(h.Size), true)
	return ctx.Err()
}
