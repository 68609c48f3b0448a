package vmstructs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leakscope/leakscope/internal/scenario"
)

var updateImages = flag.Bool("update-images", false, "record testdata/*.image.zst from JVMs that run now")

const maxImageFile = 200 << 10

// recording is the memory of a process, of which it keeps what is read.
type recording struct {
	memory
	mu    sync.Mutex
	pages map[uint64][]byte // by address; bytes that were not read are zero
	texts map[uint64]bool   // pages of names
	ended bool
}

func newRecording(m memory) *recording {
	return &recording{memory: m, pages: map[uint64][]byte{}, texts: map[uint64]bool{}}
}

func (r *recording) read(spans []span) error {
	if err := r.memory.read(spans); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	for _, s := range spans {
		if m, ok := r.mapped(s.address); ok && m.path != "" && len(s.into) == pageSize && s.address%pageSize == 0 {
			r.texts[s.address] = true
		}
		for b, at := s.into, s.address; len(b) > 0; {
			page := r.pages[at&^(pageSize-1)]
			if page == nil {
				page = make([]byte, pageSize)
				r.pages[at&^(pageSize-1)] = page
			}
			n := copy(page[at%pageSize:], b)
			b, at = b[n:], at+uint64(n)
		}
	}
	return nil
}

// clear zeroes a range of what was read.
func (r *recording) clear(at, end uint64) {
	for at < end {
		n := min(end-at, pageSize-at%pageSize)
		if page := r.pages[at&^(pageSize-1)]; page != nil {
			clear(page[at%pageSize:][:n])
		}
		at += n
	}
}

// kept are the classes whose objects and fields are in an image. Of others
// there are the names, and how large their objects are.
var kept = regexp.MustCompile(`^(Owners|(java|jdk\.internal|sun)\.(nio|ref|misc)\.(ch\.|channels\.)?(spi\.)?[A-Z]|java\.net\.(Inet|Socket|ServerSocket)|java\.io\.File|` +
	`java\.lang\.(Object|Class|VirtualThread|Thread|ThreadLocal|ThreadGroup|Number|Long|Integer|ref\.)|jdk\.internal\.(module\.SystemModuleFinders|jimage|vm\.(Continuation|StackChunk))|` +
	`java\.util\.(Array|Hash|Linked|Collections\$Sync)|java\.util\.concurrent\.(locks|atomic|ConcurrentHash|CopyOnWrite))`)

func cut(name string) bool {
	return !kept.MatchString(name) || strings.HasPrefix(name, "java.util.Immutable")
}

// stripTexts leaves in the pages of names only what is referred to.
func (r *recording) stripTexts() {
	kept := map[uint64][]byte{}
	for at := range r.texts {
		kept[at] = make([]byte, pageSize)
	}
	for at, page := range r.pages {
		if r.texts[at] {
			continue
		}
		for ; len(page) >= 8; page = page[8:] {
			text := binary.LittleEndian.Uint64(page)
			for r.texts[text&^(pageSize-1)] {
				c := r.pages[text&^(pageSize-1)][text%pageSize]
				kept[text&^(pageSize-1)][text%pageSize] = c
				if text++; c == 0 {
					break
				}
			}
		}
	}
	maps.Copy(r.pages, kept)
}

// strip takes out what a reading does not need: the contents of arrays of
// primitives, which are the strings of the program, and of stacks all but what
// may refer to the heap.
func (r *recording) strip(t *testing.T, j *jvm, runs []extent) {
	t.Helper()
	r.ended = true
	l := j.layout
	err := j.scan(t.Context(), runs, 1, visitor{visit: func(_ int, _ *scanner, o *object) (uint64, error) {
		mark := o.address
		if j.layout.compactHeaders {
			r.clear(mark, mark+5) // identity hashes; the class is above
		} else {
			r.clear(mark, mark+8)
		}
		name := j.classes[o.class.id].Name
		if o.class.helper > 0 && (cut(name) || o.class.isClass) {
			at := o.address + l.smallest() - 4*map[bool]uint64{true: 1}[l.narrowKlasses && !l.compactHeaders]
			for _, m := range o.class.maps {
				at := o.address + uint64(m.offset)
				r.clear(at, at+uint64(m.count)*uint64(l.oopSize()))
			}
			if !o.class.isClass {
				r.clear(at, o.address+o.size)
			}
		}
		if o.class.array && cut(name) {
			r.clear(o.address+arrayBase(o.class), o.address+o.size)
		}
		// A byte array of 16 may be an address, which is read.
		if o.class.helper < 0 && !o.class.array && (o.length != 16 || name != "byte[]") {
			r.clear(o.address+arrayBase(o.class), o.address+o.size)
		}
		return o.address + o.size, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	k := &j.layout.klass
	used := []uint64{
		k.name, k.super, k.subklass, k.sibling, k.layoutHelper, k.mirror, k.vtableLen, k.arrayKlasses,
		k.higherDimension, k.itableLen, k.oopMapSize, k.constants, k.javaFields, k.fieldStream, k.fieldsCount,
	}
	for _, class := range j.klasses {
		if at := class.address + k.javaFields + k.fieldStream; class.helper >= 0 && cut(j.classes[class.id].Name) {
			binary.LittleEndian.PutUint64(r.pages[at&^(pageSize-1)][at%pageSize:], j.byPlace[l.objectKlass].fields) // none
			r.clear(class.address+k.fieldsCount, class.address+k.fieldsCount+2)
		}
		for at := uint64(0); at < k.size; at++ {
			if !slices.ContainsFunc(used, func(o uint64) bool { return o <= at && at < o+8 }) {
				r.clear(class.address+at, class.address+at+1)
			}
		}
	}
	threads, err := j.threads()
	if err != nil {
		t.Fatal(err)
	}
	inHeap := func(a uint64) bool {
		return slices.ContainsFunc(runs, func(e extent) bool { return e.start <= a && a < e.end })
	}
	for _, thread := range threads {
		for at := thread.stack - thread.size; at < thread.stack; at += 8 {
			page := r.pages[at&^(pageSize-1)]
			if page == nil {
				at |= pageSize - 8
				continue
			}
			w := binary.LittleEndian.Uint64(page[at%pageSize:])
			if !inHeap(w) && !inHeap(j.layout.decode(w&0xffffffff)) && !inHeap(j.layout.decode(w>>32)) {
				clear(page[at%pageSize:][:8])
			}
		}
	}
}

// image returns what was recorded, without names of this machine's files.
func (r *recording) image(t *testing.T, mappings []mapping) *image {
	t.Helper()
	m := &image{pages: r.pages}
	for _, in := range mappings {
		used := strings.HasSuffix(in.path, "/libjvm.so")
		for at := range r.pages {
			used = used || in.start <= at && at < in.end
		}
		if !used {
			continue
		}
		if in.path != "" {
			in.path = in.path[strings.LastIndex(in.path, "/")+1:]
		}
		in.inode = 0
		m.mappings = append(m.mappings, in)
	}
	host, _ := os.Hostname()
	for at, page := range m.pages {
		for _, word := range []string{host, "/tmp/", "/work", "/root", "/home/", "PATH="} {
			if len(word) > 3 && bytes.Contains(page, []byte(word)) {
				t.Errorf("the page at 0x%x holds %q", at, word)
			}
		}
	}
	return m
}

// readAll reads a JVM, and the fields of all classes that are not cut: which
// ones a walk asks for changes.
func readAll(t *testing.T, j *jvm, target *Target) *Reading {
	t.Helper()
	_ = target.Facts()
	reading, err := target.Read(t.Context(), Options{Workers: 1})
	if err != nil || reading.Tries != 1 {
		t.Fatalf("%v, %d tries: %q", err, reading.Tries, reading.Rejected)
	}
	if err := j.loadFields(slices.DeleteFunc(slices.Clone(j.klasses), func(k *klass) bool { return cut(j.classes[k.id].Name) })); err != nil {
		t.Fatal(err)
	}
	return reading
}

// TestRecordImages makes the images anew, with -update-images.
func TestRecordImages(t *testing.T) {
	if !*updateImages {
		t.Skip("the images are made anew with -update-images")
	}
	classes := compile(t, "Owners")
	flags := map[string][]string{
		"jdk17-serial":     {"-XX:+UseSerialGC"},
		"jdk25-g1-compact": {"-XX:+UseG1GC", "-XX:G1HeapRegionSize=1m", "-XX:+UseCompactObjectHeaders"},
	}
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			var feature int
			_, _ = fmt.Sscanf(name, "jdk%d-", &feature)
			jdks := scenario.JDKs(t)
			at := slices.IndexFunc(jdks, func(j scenario.JDK) bool { return j.Feature == feature })
			if at < 0 {
				t.Fatalf("no JDK %d", feature)
			}
			small := []string{"-Xmx16m", "-Xms16m", "-Dmegabytes=0", "-Xshare:off", "--limit-modules=java.base", "-XX:TieredStopAtLevel=1", "-XX:+UseCompressedOops"}
			pid := start(t, jdks[at], classes, slices.Concat(small, flags[name], []string{"Owners"})...)
			p, err := openProcess("", pid)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			r := newRecording(p)
			j, err := openJVM(r, p.mappings)
			if err != nil {
				t.Fatal(err)
			}
			target := &Target{j: j, refresh: func() error { clear(r.pages); return p.refresh() }, same: p.same}
			reading := readAll(t, j, target)
			runs, err := j.extents()
			if err != nil {
				t.Fatal(err)
			}
			r.strip(t, j, runs)
			r.stripTexts()
			truth := summary(reading.Heap)
			if !slices.Equal(truth, ownersTruth) {
				t.Errorf("the program holds %q, read %q", ownersTruth, truth)
			}
			// What is read of a stripped image is less.
			m := r.image(t, p.mappings)
			again := newRecording(m)
			if j, err = openJVM(again, m.mappings); err != nil {
				t.Fatal(err)
			}
			readAll(t, j, &Target{j: j, refresh: p.refresh, same: p.same})
			m.pages = again.pages
			file := m.encode()
			t.Logf("%d pages, %d bytes, %+v", len(r.pages), len(file), reading.Cost)
			replayed, err := decodeImage(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rows(reading.Heap), readImage(t, replayed)); diff != "" {
				t.Errorf("the image gives another result than the process:\n%s", diff)
			}
			if len(file) > maxImageFile {
				t.Errorf("the image has %d bytes", len(file))
			}
			text, _ := json.MarshalIndent(rows(reading.Heap), "", " ")
			if err := os.WriteFile(imageFile(name), file, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(truthFile(name), append(text, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}
