// Command walk is the yardstick of scripts/bench.sh: it passes through the
// records of a heap dump in one goroutine and keeps nothing of them.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/leakscope/leakscope/heap/hprof"
)

type nothing struct{ records int }

func (n *nothing) Root(byte, uint64)              { n.records++ }
func (n *nothing) Class(*hprof.ClassDump)         { n.records++ }
func (n *nothing) Instance(_, _ uint64, _ []byte) { n.records++ }
func (n *nothing) ObjectArray(_, _ uint64, _ []byte, first, _ bool) {
	if first {
		n.records++
	}
}
func (n *nothing) PrimitiveArray(uint64, uint8, uint32, []byte) { n.records++ }

func walk(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReaderSize(f, 1<<20)
	head, _ := r.Peek(hprof.MaxHeaderSize)
	h, err := hprof.ParseHeader(head)
	if err != nil {
		return 0, err
	}
	if _, err := r.Discard(h.Size); err != nil {
		return 0, err
	}
	n := &nothing{}
	window := make([]byte, 1<<20)
	for {
		var record [hprof.RecordHeaderSize]byte
		if _, err := io.ReadFull(r, record[:]); errors.Is(err, io.EOF) {
			return n.records, nil
		} else if err != nil {
			return n.records, err
		}
		left := int(binary.BigEndian.Uint32(record[5:]))
		if tag := record[0]; tag != hprof.TagHeapDump && tag != hprof.TagHeapDumpSegment {
			if _, err := r.Discard(left); err != nil {
				return n.records, err
			}
			continue
		}
		d := hprof.Decoder{IDSize: h.IDSize}
		have := 0
		for left > 0 {
			k, err := io.ReadFull(r, window[have:min(len(window), have+left)])
			if err != nil {
				return n.records, err
			}
			have, left = have+k, left-k
			used, err := d.Feed(window[:have], n)
			if err != nil {
				return n.records, err
			}
			have = copy(window, window[used:have])
		}
	}
}

func main() {
	n, err := walk(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "walk:", err)
		os.Exit(1)
	}
	fmt.Println(n)
}
