package heap

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// read encodes a model and reads it back.
func (b *builder) read(t *testing.T) *Result {
	t.Helper()
	dump, _ := b.build().encode(shape{idSize: 8, segment: 1 << 20})
	r, err := ReadAt(t.Context(), bytes.NewReader(dump), int64(len(dump)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBufferCleaner reads buffers as JDK 26 and later keep them: the Cleaners
// are not a chain, but elements of arrays in one.
func TestBufferCleaner(t *testing.T) {
	b := newBuilder()
	b.class("java.nio.BufferCleaner$PhantomCleaner", "java.lang.ref.PhantomReference", "action", "node", "index:10")
	b.class("java.nio.BufferCleaner$CleanerList$Node", "java.lang.Object", "arr", "size:10", "next")
	list := b.object("java.nio.BufferCleaner$CleanerList$Node", nil)
	var cleaners []uint64
	buffer := func(address, size, list uint64) uint64 {
		thunk := b.object("java.nio.DirectByteBuffer$Deallocator", map[string]uint64{"address": address, "size": size})
		cleaner := b.object("java.nio.BufferCleaner$PhantomCleaner", map[string]uint64{"action": thunk, "node": list})
		n := b.object("java.nio.DirectByteBuffer", map[string]uint64{"address": address, "capacity": size, "cleaner": cleaner})
		b.set(cleaner, "referent", n)
		cleaners = append(cleaners, cleaner)
		return n
	}
	channel := b.object("sun.nio.ch.SocketChannelImpl", map[string]uint64{"fdVal": 9, "state": 2, "extra": buffer(0x1000000, 100, list)})
	b.root(channel, 0x01)
	kept := b.object("app.Node", map[string]uint64{"a": buffer(0x2000000, 200, list)})
	b.static("app.Registry", "byName", kept)
	buffer(0x3000000, 300, list) // garbage
	b.set(kept, "b", buffer(0x4000000, 400, 0))
	b.set(list, "arr", b.array(cleaners[:3]...)) // the fourth has run
	b.root(list, 0x01)

	var got []string
	for _, a := range b.read(t).Allocations {
		got = append(got, fmt.Sprintf("%d %s", a.Bytes, a.Fate))
	}
	if want := []string{"100 connection", "200 application", "300 unreachable"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestUnopenedSocket holds that a socket that was never opened is no connection,
// as JDK 8 to 12 make one for each server socket channel.
func TestUnopenedSocket(t *testing.T) {
	b := newBuilder()
	b.class("java.io.FileDescriptor", "java.lang.Object", "fd:10")
	b.class("java.net.SocketImpl", "java.lang.Object", "fd", "port:10", "localport:10", "serverSocket")
	b.class("java.net.PlainSocketImpl", "java.net.SocketImpl", "closePending:4")
	b.class("java.net.SocksSocketImpl", "java.net.PlainSocketImpl")
	unused := b.object("java.lang.Object", nil) // the ServerSocket of it
	open := b.object("java.io.FileDescriptor", map[string]uint64{"fd": 7})
	for _, fields := range []map[string]uint64{
		{"serverSocket": unused},             // never opened
		{"fd": open, "localport": 80},        // open
		{"closePending": 1, "localport": 81}, // closed
	} {
		b.root(b.object("java.net.SocksSocketImpl", fields), 0x01)
	}
	var got []string
	for _, c := range b.read(t).Connections {
		got = append(got, fmt.Sprintf("port %d closed %v", c.Local.Port(), *c.Closed))
	}
	if want := []string{"port 80 closed false", "port 81 closed true"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
