#!/usr/bin/env bash
# Generates heap dumps on a real JVM and compares whole processes on them:
# leakscope beside a plain read of the same bytes, a walk of their records,
# zcat for the gzipped forms, and hprof-slurp and Eclipse MAT where they are
# installed (MAT_HOME). Then heaps made to be hard, two dumps and their diff, one
# heap at several sizes, the pause of a JVM whose dump is streamed beside the same
# dump thrown away, and the Go benchmarks. Figures of one run are ratios;
# quote them with the machine and the date, which are printed.
#   SIZE=1000 BUFFERS=10000 RUNS=3 SCALE="100 1000 3000 8000" scripts/bench.sh > out.txt
# SIZE and SCALE are MB of heap; SCALE=, SHAPES= or STREAM= leave their part out.
# Disk: about four times the largest size.
set -euo pipefail
cd "$(dirname "$0")/.."

size=${SIZE:-1000}
buffers=${BUFFERS:-10000}
runs=${RUNS:-3}
scale=${SCALE-100 1000 3000}
shapes=${SHAPES-deep array chain buffers}
stream=${STREAM-$size}
javac=$(command -v javac || compgen -G '/usr/lib/jvm/*/bin/javac' | head -n 1)
java=${javac%c}
command -v /usr/bin/time >/dev/null || { echo 'needs /usr/bin/time (Debian: time)' >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/leakscope-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$javac" -encoding UTF-8 -nowarn -d "$dir" testdata/heapgen/HeapGen.java
go build -o "$dir/leakscope" ./cmd/leakscope
go build -o "$dir/walk" ./testdata/heapgen/walk

# generate FILE SHAPE MB BUFFERS
generate() {
	echo "generating $2, $3 MB" >&2
	"$java" "-Xmx$(($3 * 3 / 2 + 768))m" -XX:MaxDirectMemorySize=8g -cp "$dir" HeapGen "$1" "$2" "$3" "$4" >&2
	cat "$1" >/dev/null # warm the cache
}

# measure NAME BYTES OBJECTS COMMAND...: the fastest of the runs. OBJECTS is 0
# where memory is not to be divided by them.
measure() {
	local name=$1 bytes=$2 objects=$3 best='' line
	shift 3
	for _ in $(seq "$runs"); do
		rm -f "$dir"/out*.lscope
		if ! /usr/bin/time -o "$dir/time" -f '%e %U %S %M' "$@" >/dev/null 2>"$dir/log"; then
			printf '%-34s failed: %s\n' "$name" "$(tail -n 1 "$dir/log")"
			return
		fi
		line=$(tail -n 1 "$dir/time")
		if [ -z "$best" ] || awk -v a="${line%% *}" -v b="${best%% *}" 'BEGIN { exit !(a < b) }'; then best=$line; fi
	done
	echo "$best" | awk -v name="$name" -v bytes="$bytes" -v objects="$objects" '{
		wall = $1 > 0 ? $1 : 0.01
		printf "%-34s %8.2f %8.2f %10.1f %8.2f %8.2f %8s\n", name, $1, $2 + $3, $4 / 1024, bytes / 1e9 / wall, wall / (bytes / 1e9), (objects > 0 ? sprintf("%.1f", $4 * 1024 / objects) : "")
	}'
}

title() {
	printf '\n%s\n%-34s %8s %8s %10s %8s %8s %8s\n' "$1" process 'wall s' 'cpu s' 'peak MiB' 'GB/s' 's/GB' 'B/object'
}

objects() {
	"$dir/walk" "$1"
}

capture() {
	measure "$1" "$(stat -c %s "$2")" "$(objects "$2")" "$dir/leakscope" capture --heap-dump "$2" -o "$dir/out.lscope"
}

printf '%s, %s cores, %s, Linux %s, %s, commit %s\n' "$(uname -m)" "$(nproc)" "$(date -u +%F)" "$(uname -r)" "$(go version | cut -d' ' -f3)" "$(git rev-parse --short HEAD)"
printf 'load before: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"

heap=$dir/heap.hprof
generate "$heap" plain "$size" "$buffers"
bytes=$(stat -c %s "$heap")
count=$(objects "$heap")
title "one dump of $bytes bytes, $count records, $buffers buffers"
measure 'cat (plain read)' "$bytes" 0 cat "$heap"
measure 'walk of all records, 1 goroutine' "$bytes" 0 "$dir/walk" "$heap"
capture leakscope "$heap"
measure 'leakscope --max-memory 64MiB' "$bytes" "$count" "$dir/leakscope" capture --heap-dump "$heap" --max-memory 64MiB -o "$dir/out.lscope"
if command -v hprof-slurp >/dev/null; then
	measure hprof-slurp "$bytes" "$count" hprof-slurp -i "$heap"
fi
if [ -n "${MAT_HOME:-}" ]; then
	measure 'Eclipse MAT, index' "$bytes" "$count" "$MAT_HOME/ParseHeapDump.sh" "$heap"
fi
gzip -1 -k "$heap"
# Members as HotSpot writes them with -gz: up to 1 MiB each, the first with a comment.
python3 - "$heap" "$dir/members.hprof.gz" <<'PY'
import sys, zlib, struct
source, target = open(sys.argv[1], 'rb'), open(sys.argv[2], 'wb')
first = True
while block := source.read(1 << 20):
    flags, comment = (16, b'HPROF BLOCKSIZE=1048576\0') if first else (0, b'')
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    target.write(b'\x1f\x8b\x08' + bytes([flags]) + b'\0' * 6 + comment + deflate.compress(block) + deflate.flush()
                 + struct.pack('<II', zlib.crc32(block), len(block)))
    first = False
PY
measure 'zcat, one member' "$bytes" 0 zcat "$heap.gz"
measure 'leakscope, one member' "$bytes" "$count" "$dir/leakscope" capture --heap-dump "$heap.gz" -o "$dir/out.lscope"
measure 'zcat, members of 1 MiB' "$bytes" 0 zcat "$dir/members.hprof.gz"
measure 'leakscope, members of 1 MiB' "$bytes" "$count" "$dir/leakscope" capture --heap-dump "$dir/members.hprof.gz" -o "$dir/out.lscope"
rm -f "$dir"/*.gz

second=$dir/second.hprof
generate "$second" plain "$size" "$((buffers * 2))"
title 'two dumps: capture both, and diff'
both() {
	"$dir/leakscope" capture --heap-dump "$heap" --force -o "$dir/out-1.lscope"
	"$dir/leakscope" capture --heap-dump "$second" --force -o "$dir/out-2.lscope"
	"$dir/leakscope" diff "$dir/out-1.lscope" "$dir/out-2.lscope"
}
export -f both
export dir heap second
measure 'leakscope, both and diff' "$((bytes + $(stat -c %s "$second")))" 0 bash -c both
rm -f "$heap" "$second"

title 'hard heaps'
for shape in $shapes; do
	generate "$heap" "$shape" "$((size / 2))" "$buffers"
	capture "leakscope, $shape" "$heap"
	rm -f "$heap"
done

title 'one heap at several sizes'
for mb in $scale; do
	generate "$heap" plain "$mb" "$buffers"
	capture "leakscope, $mb MB" "$heap"
	rm -f "$heap"
done

if [ -n "$stream" ]; then
	printf '\nstreamed from a running JVM, %s MB\n' "$stream"
	LEAKSCOPE_BENCH_HEAP=$stream go test ./capture -run '^$' -bench StreamedDump -benchtime 5x | grep -E '^Benchmark'
fi

printf '\nload after: %s\n\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
go test ./heap -run '^$' -bench . -benchmem
