#!/usr/bin/env bash
# Makes sure that the demo finds a JDK: installs one where that is possible,
# else says what to install. The demo then runs on recorded snapshots.
set -euo pipefail

if command -v java >/dev/null || [ -x "${JAVA_HOME:-/none}/bin/java" ] || compgen -G '/usr/lib/jvm/*/bin/java' >/dev/null; then
	exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "demo: no JDK found: installing openjdk-17-jdk-headless" >&2
	export DEBIAN_FRONTEND=noninteractive
	if apt-get update -q >&2 && apt-get install -qy --no-install-recommends openjdk-17-jdk-headless >&2; then
		exit 0
	fi
fi
echo "demo: no JDK found, so the demo shows recorded snapshots" >&2
echo "demo: for a live target install one: apt-get install openjdk-17-jdk-headless" >&2
