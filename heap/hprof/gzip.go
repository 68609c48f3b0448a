package hprof

// IsGzip reports whether b is the start of a gzip file.
func IsGzip(b []byte) bool { return len(b) >= 3 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8 }
