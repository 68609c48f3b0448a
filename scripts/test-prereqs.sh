#!/bin/sh
# Installs what the tests need beyond Go: a JDK, the libraries that the
# scenarios under testdata/scenarios run on, and a few tools. Does nothing when
# everything is there. Without root it says what to install, and fails.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
libraries=$root/testdata/scenarios/libraries.tsv
jars=/usr/share/java
missing=

need() { # need PACKAGES…: these are not there yet
	for package in "$@"; do
		case " $missing " in
		*" $package "*) ;;
		*) missing="$missing $package" ;;
		esac
	done
}

has_jdk17() {
	for home in /usr/lib/jvm/*; do
		[ -x "$home/bin/javac" ] && grep -q '^JAVA_VERSION="17[".]' "$home/release" 2>/dev/null && return 0
	done
	return 1
}

has_jdk17 || need openjdk-17-jdk-headless
command -v gcc >/dev/null || need gcc libc6-dev # go test -race
command -v ip >/dev/null || need iproute2
command -v nsenter >/dev/null || need util-linux
command -v jq >/dev/null || need jq
command -v unzip >/dev/null || need unzip
while IFS='	' read -r library _ _ packages names; do
	case $library in '#'*) continue ;; esac
	[ "$names" != - ] || continue
	for name in $names; do
		# shellcheck disable=SC2086 # packages are several words
		[ -e "$jars/$name.jar" ] || need $packages
	done
done <"$libraries"

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
	echo "installing:$missing" >&2
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 || {
		apt-get update -qq
		apt-get install -qq -y --no-install-recommends $missing >/dev/null
	}
	exit 0
fi
cat >&2 <<MESSAGE
$0: error: packages that the tests need are missing
$0: hint: on Debian, as root: apt-get install --no-install-recommends$missing
MESSAGE
exit 1
