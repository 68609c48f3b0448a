#!/usr/bin/env bash
# Generates heap dumps on a real JVM, runs the Go benchmarks, and compares whole
# processes on one dump: leakscope beside a plain read of the same bytes, and
# zcat for the gzipped form. Figures of one run are ratios; quote them with the
# machine and the date.
#   SIZE=1000 SHAPE=plain BUFFERS=10000 RUNS=3 scripts/bench.sh
set -euo pipefail
cd "$(dirname "$0")/.."

size=${SIZE:-1000} # MB of heap
shape=${SHAPE:-plain}
buffers=${BUFFERS:-10000}
runs=${RUNS:-3}
javac=$(command -v javac || compgen -G '/usr/lib/jvm/*/bin/javac' | head -n 1)
java=${javac%c}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$javac" -encoding UTF-8 -nowarn -d "$dir" testdata/heapgen/HeapGen.java
echo "generating a dump: shape $shape, $size MB, $buffers buffers" >&2
"$java" "-Xmx$((size * 2 + 512))m" -XX:MaxDirectMemorySize=8g -cp "$dir" HeapGen "$dir/heap.hprof" "$shape" "$size" "$buffers" >&2
gzip -1 -k "$dir/heap.hprof"
go build -o "$dir/leakscope" ./cmd/leakscope

# measure NAME BYTES COMMAND...: the best of the runs.
measure() {
	local name=$1 bytes=$2 best='' line
	shift 2
	for _ in $(seq "$runs"); do
		rm -f "$dir/out.lscope"
		line=$( { /usr/bin/time -f '%e %U %S %M' "$@" >/dev/null 2>"$dir/log"; } 2>&1; tail -n 1 "$dir/log")
		if [ -z "$best" ] || awk -v a="${line%% *}" -v b="${best%% *}" 'BEGIN { exit !(a < b) }'; then best=$line; fi
	done
	echo "$best" | awk -v name="$name" -v bytes="$bytes" '{ printf "%-28s %8.2f %8.2f %10.1f %8.2f\n", name, $1, $2 + $3, $4 / 1024, bytes / 1e9 / ($1 > 0 ? $1 : 0.01) }'
}

plain=$(stat -c %s "$dir/heap.hprof")
printf '\n%s, %s cores, %s, %s\ndump of %s bytes\n\n' "$(uname -m)" "$(nproc)" "$(date -u +%F)" "$(git rev-parse --short HEAD)" "$plain"
printf '%-28s %8s %8s %10s %8s\n' process 'wall s' 'cpu s' 'peak MiB' 'GB/s'
cat "$dir/heap.hprof" >/dev/null # warm the cache
measure 'cat (plain read)' "$plain" cat "$dir/heap.hprof"
measure leakscope "$plain" "$dir/leakscope" capture --heap-dump "$dir/heap.hprof" -o "$dir/out.lscope"
measure 'leakscope, gzip' "$plain" "$dir/leakscope" capture --heap-dump "$dir/heap.hprof.gz" -o "$dir/out.lscope"
measure zcat "$plain" zcat "$dir/heap.hprof.gz"
"$dir/leakscope" capture --heap-dump "$dir/heap.hprof" -o "$dir/objects.lscope" >/dev/null 2>&1
unzip -p "$dir/objects.lscope" heap.json | awk -F'[:,]' '/"objects"/ { print "\nobjects:" $2 }'

go test ./heap -run '^$' -bench . -benchmem
