package vmstructs

// HeapBytes is the size of the heap between the bounds of its regions. The error
// wraps [ErrUnsupported] where the collector's heap can't be read as a whole.
func (t *Target) HeapBytes() (int64, error) {
	runs, err := t.j.extents()
	return total(runs), err
}

// The seconds that a reading takes for each GiB of the heap, and those added:
// 3.9 GiB with 30 million objects take 0.6 s to read, 1.5 s with the scans for
// what may be garbage, and 0.8 to 1.3 s to copy, on two processors.
const (
	readRate  = 0.35
	fixedRead = 0.1
	copyRate  = 0.3
	fixedCopy = 0.02
)

// ReadSeconds is about how long one try of a reading takes.
func ReadSeconds(heapBytes int64) float64 { return fixedRead + readRate*float64(heapBytes)/(1<<30) }

// CopySeconds is about how long a target stands still with [Options.Hold].
func CopySeconds(heapBytes int64) float64 { return fixedCopy + copyRate*float64(heapBytes)/(1<<30) }

// CopyBytes is the memory that a copy takes.
func CopyBytes(heapBytes int64) int64 { return heapBytes + heapBytes/8 + room }
