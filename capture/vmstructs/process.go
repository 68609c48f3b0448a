package vmstructs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// process is the memory of a running process, read by process_vm_readv(2).
type process struct {
	pid      int
	dir      string // its folder in /proc
	mappings []mapping
	pagemap  *os.File
	counted

	mu    sync.RWMutex
	pages map[uint64]*pageBits // by number of the chunk
}

// pageBits tells which pages of a chunk of memory are in memory.
type pageBits struct{ present pageSet }

// Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
const (
	present = 1 << 63
	swapped = 1 << 62
)

type pageSet [chunkPages / 64]uint64

func (s *pageSet) has(page uint64) bool { return s[page/64]>>(page%64)&1 != 0 }

const (
	chunkPages = 512

	maxMaps     = 64 << 20 // bytes of /proc/PID/maps
	maxMappings = 1 << 20
	maxVector   = 1024 // spans in one call: UIO_MAXIOV
)

// openProcess opens the memory of a process. procfs is where its /proc is.
func openProcess(procfs string, pid int) (*process, error) {
	if procfs == "" {
		procfs = "/proc"
	}
	dir := filepath.Join(procfs, strconv.Itoa(pid))
	p := &process{pid: pid, dir: dir, pages: map[uint64]*pageBits{}}
	var err error
	if p.mappings, err = readMaps(filepath.Join(dir, "maps")); err != nil {
		return nil, err
	}
	if p.pagemap, err = os.Open(filepath.Join(dir, "pagemap")); err != nil {
		return nil, procError(err)
	}
	return p, nil
}

func (p *process) close() { _ = p.pagemap.Close() }

func procError(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// readMaps reads /proc/PID/maps, by address.
func readMaps(file string) ([]mapping, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, procError(err)
	}
	defer func() { _ = f.Close() }()
	var all []mapping
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 8192), 64<<10)
	for read := 0; lines.Scan() && read < maxMaps && len(all) < maxMappings; read += len(lines.Bytes()) {
		if m, ok := parseMapping(lines.Text()); ok {
			all = append(all, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, procError(err))
	}
	slices.SortFunc(all, func(a, b mapping) int { return int(int64(a.start>>1) - int64(b.start>>1)) })
	return all, nil
}

// parseMapping reads "start-end perms offset device inode path".
func parseMapping(line string) (m mapping, ok bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 || len(fields[1]) < 2 {
		return m, false
	}
	low, high, _ := strings.Cut(fields[0], "-")
	var err1, err2, err3, err4 error
	m.start, err1 = strconv.ParseUint(low, 16, 64)
	m.end, err2 = strconv.ParseUint(high, 16, 64)
	m.offset, err3 = strconv.ParseUint(fields[2], 16, 64)
	m.inode, err4 = strconv.ParseUint(fields[4], 10, 64)
	m.readable = fields[1][0] == 'r'
	if len(fields) == 6 {
		m.path = strings.TrimSuffix(strings.TrimLeft(fields[5], " "), " (deleted)")
	}
	return m, err1 == nil && err2 == nil && err3 == nil && err4 == nil && m.start < m.end
}

func (p *process) mapped(address uint64) (mapping, bool) { return findMapping(p.mappings, address) }

func findMapping(all []mapping, address uint64) (mapping, bool) {
	i, _ := slices.BinarySearchFunc(all, address, func(m mapping, a uint64) int {
		if m.end <= a {
			return -1
		}
		return 1
	})
	if i < len(all) && all[i].start <= address {
		return all[i], true
	}
	return mapping{}, false
}

// read implements memory. Nothing is read that is not in memory: what the
// target has mapped from a file and not touched is read from the file, what it
// has never touched is zero, and what is swapped out fails.
func (p *process) read(spans []span) error {
	local := make([]unix.Iovec, 0, min(len(spans), maxVector))
	remote := make([]unix.RemoteIovec, 0, cap(local))
	flush := func() error {
		err := p.readVector(local, remote)
		local, remote = local[:0], remote[:0]
		return err
	}
	for _, s := range spans {
		if len(s.into) == 0 {
			continue
		}
		present, err := p.present(s.address, len(s.into))
		if err != nil {
			return err
		}
		if !present {
			if err := p.readPages(s); err != nil {
				return err
			}
			continue
		}
		v := unix.Iovec{Base: &s.into[0]}
		v.SetLen(len(s.into))
		local = append(local, v)
		remote = append(remote, unix.RemoteIovec{Base: uintptr(s.address), Len: len(s.into)})
		if len(local) == maxVector {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// readPresent reads what is present, by one call.
func (p *process) readPresent(address uint64, into []byte) error {
	v := unix.Iovec{Base: &into[0]}
	v.SetLen(len(into))
	return p.readVector([]unix.Iovec{v}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(into)}})
}

func (p *process) readVector(local []unix.Iovec, remote []unix.RemoteIovec) error {
	if len(local) == 0 {
		return nil
	}
	want := 0
	for _, v := range remote {
		want += v.Len
	}
	got, err := unix.ProcessVMReadv(p.pid, local, remote, 0)
	p.calls.Add(1)
	p.bytes.Add(int64(max(got, 0)))
	switch {
	case errors.Is(err, unix.ESRCH):
		return ErrGone
	case errors.Is(err, unix.EPERM):
		return ErrDenied
	case err != nil:
		return fmt.Errorf("process_vm_readv: %w", err)
	case got != want:
		return fmt.Errorf("process_vm_readv: %d bytes of %d: %w", got, want, unix.EFAULT)
	}
	return nil
}

// present tells whether a range can be read at once.
func (p *process) present(address uint64, n int) (bool, error) {
	if address+uint64(n) < address || address >= 1<<47 {
		return false, fmt.Errorf("0x%x: %w", address, unix.EFAULT)
	}
	var c *pageBits
	for page, first := address/pageSize, true; page <= (address+uint64(n)-1)/pageSize; page, first = page+1, false {
		if first || page%chunkPages == 0 {
			var err error
			if c, err = p.chunk(page / chunkPages); err != nil {
				return false, err
			}
		}
		if !c.present.has(page % chunkPages) {
			return false, nil
		}
	}
	return true, nil
}

// readPages reads a span some pages of which are not present: those that are,
// a run of them at once.
func (p *process) readPages(s span) error {
	at, from := 0, 0 // of the span, and of the run
	flush := func() error {
		if from == at {
			return nil
		}
		return p.readPresent(s.address+uint64(from), s.into[from:at])
	}
	for at < len(s.into) {
		address := s.address + uint64(at)
		n := min(len(s.into)-at, int(pageSize-address%pageSize))
		page := address / pageSize
		c, err := p.chunk(page / chunkPages)
		if err != nil {
			return err
		}
		if !c.present.has(page % chunkPages) {
			if err := flush(); err != nil {
				return err
			}
			if err := p.readAbsent(address, s.into[at:at+n]); err != nil {
				return err
			}
			from = at + n
		}
		at += n
	}
	return flush()
}

// readAbsent reads of a page that was not present when its chunk was first
// looked at. The target may have touched it since: then it is no more zero.
func (p *process) readAbsent(address uint64, into []byte) error {
	var raw [8]byte
	if n, err := p.pagemap.ReadAt(raw[:], int64(address/pageSize)*8); n == 0 && errors.Is(err, io.EOF) {
		return errOther
	} else if err != nil {
		return fmt.Errorf("pagemap at 0x%x: %w", address, procError(err))
	}
	now := binary.LittleEndian.Uint64(raw[:])
	m, ok := p.mapped(address)
	switch {
	case now&present != 0:
		return p.readPresent(address, into)
	case !ok || !m.readable:
		return fmt.Errorf("0x%x: %w", address, unix.EFAULT)
	case now&swapped != 0:
		return fmt.Errorf("0x%x: %w", address, ErrNotResident)
	case strings.HasPrefix(m.path, "/"):
		if at, ok := p.elsewhere(m, address); ok {
			return p.readPresent(at, into)
		}
		return p.readFile(m, address, into)
	}
	clear(into)
	return nil
}

// elsewhere returns another place where the target has mapped the same part of a
// file, and where it is present: ZGC without generations has its heap at three
// places, and touches what it reads at one of them.
func (p *process) elsewhere(m mapping, address uint64) (uint64, bool) {
	at := address - m.start + m.offset
	for _, other := range p.mappings {
		if other.inode != m.inode || other.path != m.path || other.start == m.start || at < other.offset || at-other.offset >= other.end-other.start {
			continue
		}
		place := other.start + at - other.offset
		if here, err := p.present(place, 1); err == nil && here {
			return place, true
		}
	}
	return 0, false
}

// readFile reads what the target has mapped and never touched.
func (p *process) readFile(m mapping, address uint64, into []byte) error {
	f, err := p.openMapped(m)
	if err != nil {
		return fmt.Errorf("0x%x of %s: %w: %w", address, m.path, ErrNotResident, err)
	}
	defer func() { _ = f.Close() }()
	n, err := f.ReadAt(into, int64(address-m.start+m.offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("0x%x of %s: %w", address, m.path, err)
	}
	clear(into[n:]) // the last page of a file is filled up with zeros
	return nil
}

// openMapped opens the file of a mapping, by its path in the target's root
// (openat2(2), RESOLVE_IN_ROOT: no link of the target leads out of it). What
// stands in its place now may be anything: a FIFO must not block.
func (p *process) openMapped(m mapping) (*os.File, error) {
	root, err := unix.Open(filepath.Join(p.dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(root) }()
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	at, err := unix.Openat2(root, m.path, &how)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(at) }()
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, err
	}
	if st.Ino != m.inode || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("another file is in its place now")
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(at))
}

// chunk returns which pages of a piece of memory are resident, as of the first
// time it was asked: what becomes resident later is not needed.
func (p *process) chunk(at uint64) (*pageBits, error) {
	p.mu.RLock()
	c, ok := p.pages[at]
	p.mu.RUnlock()
	if ok {
		return c, nil
	}
	if at >= 1<<47/pageSize/chunkPages {
		return nil, fmt.Errorf("0x%x: %w", at*chunkPages*pageSize, unix.EFAULT)
	}
	c = new(pageBits)
	raw := make([]byte, chunkPages*8)
	n, err := p.pagemap.ReadAt(raw, int64(at)*chunkPages*8)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, errOther
	case n == 0 && err != nil:
		return nil, fmt.Errorf("pagemap at 0x%x: %w", at*chunkPages*pageSize, procError(err))
	}
	for i := range uint64(n / 8) {
		entry := binary.LittleEndian.Uint64(raw[i*8:])
		if entry&present != 0 {
			c.present[i/64] |= 1 << (i % 64)
		}
	}
	p.mu.Lock()
	p.pages[at] = c
	p.mu.Unlock()
	return c, nil
}

// errOther says that the memory that was opened is there no more: its pagemap
// is of that memory, whatever its number runs now, and has come to its end.
var errOther = fmt.Errorf("%w, or runs another program", ErrGone)

// same checks that the process has still the memory that was opened.
func (p *process) same() error {
	var entry [8]byte
	if n, err := p.pagemap.ReadAt(entry[:], 0); n == 0 && errors.Is(err, io.EOF) {
		return errOther
	} else if err != nil {
		return procError(err)
	}
	return nil
}

// refresh has mappings and residency read anew: for another try.
func (p *process) refresh() error {
	all, err := readMaps(filepath.Join(p.dir, "maps"))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.pages)
	p.mappings = all
	return p.same()
}

func (p *process) residentPages(address uint64, n int, out []bool) error {
	first := address / pageSize
	for i := range n {
		page := first + uint64(i)
		c, err := p.chunk(page / chunkPages)
		if err != nil {
			return err
		}
		out[i] = c.present.has(page % chunkPages)
	}
	return nil
}
