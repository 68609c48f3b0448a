// Package arrows holds the import arrows of doc/architecture.md by a test.
package arrows
