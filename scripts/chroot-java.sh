#!/bin/sh
# Starts a tool of a JDK that lives in a root of its own; scripts/jdks.sh copies
# this to DIR/jdkN/bin. The JVM keeps the process id of this script and runs in a
# mount namespace of its own, as in a container: another root, another /tmp. The
# machine's files are below /host there, and so are the working directory and
# the class path. LEAKSCOPE_JDK_USER=UID:GID has it run as somebody else.
set -eu

bin=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$bin")")/root
tool=/$(cat "$bin/../inside")/bin/$(basename "$0")

exec unshare -m --propagation private sh -c '
	root=$1 tool=$2 work=$PWD
	shift 2
	mount --bind "$root" "$root" || exit 1
	for folder in proc dev sys; do
		mount --rbind "/$folder" "$root/$folder" || exit 1
	done
	if [ -d /run/netns ]; then # scenarios with a network of their own
		mkdir -p "$root/run/netns" && mount --rbind /run/netns "$root/run/netns" || exit 1
	fi
	cd "$root" && pivot_root . host && cd "/host$work" || exit 1
	# Class path entries are of this machine.
	count=$# path=
	while [ "$count" -gt 0 ]; do
		argument=$1
		shift
		if [ -n "$path" ]; then
			argument=$(printf %s "$argument" | sed "s#\(^\|:\)/#\1/host/#g")
			path=
		else
			case $argument in -cp | -classpath | --class-path) path=next ;; esac
		fi
		set -- "$@" "$argument"
		count=$((count - 1))
	done
	# chroot(1) may go to the root directory: it is a second shell that goes back.
	exec chroot ${LEAKSCOPE_JDK_USER:+"--userspec=$LEAKSCOPE_JDK_USER"} --skip-chdir / "$tool" "$@"' \
	sh "$root" "$tool" "$@"
