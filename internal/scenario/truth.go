package scenario

import "fmt"

// Truth is what a scenario says of itself at the end of a phase, from its own
// books: what a correct report of the process contains. Sizes are bytes.
type Truth struct {
	Scenario string `json:"scenario"`
	Phase    int    `json:"phase"`
	PID      int    `json:"pid"` // as the program sees it
	Verdict  string `json:"verdict"`
	Leaking  bool   `json:"leaking"`
	// Complete says that the books name every off-heap byte of the process: a
	// fate that is not in Fates holds nothing.
	Complete    bool                `json:"complete"`
	Fates       map[string]Sum      `json:"fates"`
	States      map[string]StateSum `json:"states"`
	Connections []Connection        `json:"connections"`
	// Counters are figures the runtime keeps; null where it does not:
	// bits_reserved_bytes, bits_count, collections, and with Netty
	// netty_used_direct_bytes, pool_chunk_bytes, pool_free_bytes. hidden_bytes
	// are those that the books name and no counter of the JDK counts.
	Counters map[string]*int64 `json:"counters"`
}

// Sum counts allocations. Of fates that stand for parts of a pool's chunk
// (lost, thread-cache, pool-free) only the bytes are comparable.
type Sum struct {
	Allocations int64 `json:"allocations"`
	Bytes       int64 `json:"bytes"`
}

// StateSum counts the connections of one lifecycle state and what they hold.
type StateSum struct {
	Connections int64 `json:"connections"`
	Allocations int64 `json:"allocations"`
	Bytes       int64 `json:"bytes"`
}

// Connection is one connection of the program, named by its ports.
type Connection struct {
	LocalPort   int    `json:"local_port"`
	RemotePort  int    `json:"remote_port"`
	State       string `json:"state"`
	Allocations int64  `json:"allocations"`
	Bytes       int64  `json:"bytes"`
}

// slackBytes is what Java and Netty allocate for themselves: a probe of one
// byte, constants of HTTP/2.
const slackBytes = 8 << 10

// check compares the books with the counters of the JDK and of Netty.
func (t Truth) check() error {
	if !t.Complete {
		return nil
	}
	var books, counted int64
	for _, sum := range t.Fates {
		books += sum.Bytes
	}
	for _, name := range []string{"bits_reserved_bytes", "netty_used_direct_bytes", "hidden_bytes"} {
		if value := t.Counters[name]; value != nil {
			counted += *value
		}
	}
	if off := counted - books; off < -slackBytes || off > slackBytes {
		return fmt.Errorf("the books name %d bytes, the counters %d", books, counted)
	}
	return nil
}
