// Command waits copies its input to its output until the input ends. It catches
// no signal itself; Go's runtime catches SIGQUIT, and dies of it.
package main

import (
	"io"
	"os"
)

func main() {
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		panic(err)
	}
}
