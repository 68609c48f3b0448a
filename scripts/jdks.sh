#!/bin/sh
# Sets up the JDKs that one release of a distribution does not have together:
# Debian sid in a folder of its own, and for each JDK a home that the tests use
# like an installed one.
#
#   scripts/jdks.sh [FEATURE…]      default: 8 11 21 25 27, those that sid has
#
#   DIR/root          Debian sid with the JDKs
#   DIR/jdkN/bin/java starts that JDK in a mount namespace of its own, with
#                     DIR/root as its root
#
# DIR is LEAKSCOPE_JDKS, or leakscope-jdks below XDG_CACHE_HOME, or
# /var/tmp/leakscope-jdks. What is there is kept: a second run only adds what is
# missing. The mirror is that of this machine's apt; LEAKSCOPE_DEBIAN_MIRROR
# overrides it. Needs root and about 3 GiB. Nothing stays mounted.
set -eu

fail() { # fail ERROR HINT
	echo "$0: error: $1" >&2
	echo "$0: hint: $2" >&2
	exit 1
}

if [ -n "${LEAKSCOPE_JDKS:-}" ]; then
	dir=$LEAKSCOPE_JDKS
elif [ -n "${XDG_CACHE_HOME:-}" ]; then
	dir=$XDG_CACHE_HOME/leakscope-jdks
else
	dir=/var/tmp/leakscope-jdks
fi
case $dir in
/*) ;;
*) fail "LEAKSCOPE_JDKS is $dir" "give an absolute path" ;;
esac
wanted=${*:-8 11 21 25 27}
for feature in $wanted; do
	case $feature in
	*[!0-9]*) fail "\"$feature\" is no feature version" "e.g. $0 8 27" ;;
	esac
done
root=$dir/root
complete=$root/.leakscope-base # the base system is whole
here=$(cd "$(dirname "$0")" && pwd)

# ready FEATURE: its home is there, and starts the JDK that it says.
ready() {
	[ -x "$dir/jdk$1/bin/java" ] && cmp -s "$here/chroot-java.sh" "$dir/jdk$1/bin/java" &&
		[ -d "$root/$(cat "$dir/jdk$1/inside" 2>/dev/null)/bin" ]
}

missing=
for feature in $wanted; do
	ready "$feature" || missing="$missing $feature"
done
if [ -z "$missing" ]; then
	echo "$dir"
	exit 0
fi

[ "$(id -u)" -eq 0 ] || fail "not root, and the JDKs$missing are not in $dir yet" "run it as root, once"
for tool in debootstrap unshare chroot pivot_root; do
	command -v "$tool" >/dev/null || fail "no $tool" "apt-get install --no-install-recommends debootstrap util-linux"
done
unshare -m true 2>/dev/null || fail "this root may make no mount namespace" "give the container CAP_SYS_ADMIN, or run it on the machine itself"

# mirror: the first Debian archive with a main component among apt's sources.
mirror() {
	if [ -n "${LEAKSCOPE_DEBIAN_MIRROR:-}" ]; then
		echo "$LEAKSCOPE_DEBIAN_MIRROR"
		return
	fi
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
	apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
		awk -v codename="$codename" '($2 == codename || $2 == "sid" || $2 == "unstable") && $3 == "main" { print $1; exit }'
}

# inside COMMAND…: in the root, with what packages need to configure
# themselves, in a mount namespace that ends with the command.
inside() {
	DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 unshare -m sh -c '
		root=$1
		shift
		mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" && mount --rbind /sys "$root/sys" || exit
		exec chroot "$root" "$@"' sh "$root" "$@"
}

log=$dir/jdks.log
mkdir -p "$dir"
if [ ! -e "$complete" ]; then
	. /etc/os-release
	[ "${ID:-}" = debian ] || [ -n "${LEAKSCOPE_DEBIAN_MIRROR:-}" ] ||
		fail "this machine's apt has no Debian archive" "set LEAKSCOPE_DEBIAN_MIRROR to the address of one"
	from=$(mirror)
	[ -n "$from" ] || fail "apt's sources name no Debian archive" "set LEAKSCOPE_DEBIAN_MIRROR to the address of one"
	echo "$0: Debian sid into $root" >&2
	rm -rf "$root"
	debootstrap --variant=minbase --include=ca-certificates,iproute2,procps,util-linux sid "$root" "$from" >"$log" 2>&1 ||
		fail "debootstrap: $(tail -n 1 "$log")" "the whole log is $log"
	# A frozen mirror's Release file is past its date.
	echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90leakscope"
	apt-config dump 2>/dev/null | grep -i '^Acquire::https\?::Proxy ' >>"$root/etc/apt/apt.conf.d/90leakscope" || true
	mkdir -p "$root/host"
	touch "$complete"
fi

inside apt-get update -q >"$log" 2>&1 || fail "apt-get update: $(tail -n 1 "$log")" "the whole log is $log"
absent=
for feature in $missing; do
	package=openjdk-$feature-jdk-headless
	if ! inside apt-cache show "$package" >/dev/null 2>&1; then
		absent="$absent $feature"
		continue
	fi
	echo "$0: $package" >&2
	inside apt-get install -qy --no-install-recommends "$package" >"$log" 2>&1 ||
		fail "install $package: $(tail -n 1 "$log")" "the whole log is $log"
	home=$(cd "$root" && ls -d usr/lib/jvm/java-"$feature"-openjdk-* 2>/dev/null | head -n 1)
	[ -n "$home" ] && [ -x "$root/$home/bin/java" ] || fail "$package has no bin/java" "look below $root/usr/lib/jvm"
	mkdir -p "$dir/jdk$feature/bin"
	cp "$root/$home/release" "$dir/jdk$feature/release" 2>/dev/null ||
		inside "/$home/bin/java" -version 2>&1 | sed -n 's/^openjdk version "\([^"]*\)".*/JAVA_VERSION="\1"/p' >"$dir/jdk$feature/release"
	echo "$home" >"$dir/jdk$feature/inside"
	for tool in java jcmd; do
		cp "$here/chroot-java.sh" "$dir/jdk$feature/bin/$tool"
		chmod 755 "$dir/jdk$feature/bin/$tool"
	done
done
inside apt-get clean
rm -f "$log"
[ -z "$absent" ] || fail "sid has no JDK$absent" "leave it out, or give other feature versions: $0 8 11 21"
echo "$dir"
