#!/usr/bin/env bash
#
# The demonstration takes its lab down, whenever and however it is interrupted. (Topology: ../lab/lab.sh)
# time limit: 240 s
. "$(dirname "$0")/lib.sh"
need_daemons

log=$(mktemp)
trap 'rm -f "$log"; finish' EXIT

# interrupted SIGNAL TEXT: starts the demonstration as a terminal would (a process group of its own, which
# gets the signal) and interrupts it when its output has the text; succeeds when nothing is left of it.
interrupted() {
	local signal=$1 text=$2 group status=0
	: >"$log"
	# What bash starts in the background ignores SIGINT unless told otherwise.
	env --default-signal=INT setsid "$tests/lab/demo.sh" >"$log" 2>&1 &
	group=$!
	eventually 40 has_begun "$text" || {
		echo "never came to: $text"
		kill -s TERM -- "-$group"
		return 1
	}
	kill -s "$signal" -- "-$group"
	wait "$group" || status=$?
	((status != 0)) || {
		echo "ended by itself before it was interrupted"
		return 1
	}
	nothing_left
}

has_begun() {
	if [[ $1 == "lab being built" ]]; then
		[[ -e /run/netns/$NATF_LAB-nat3 ]]
	else
		grep -q -- "$1" "$log"
	fi
}

nothing_left() {
	local left
	left=$(
		ls -d "/run/netns/$NATF_LAB"-* "/run/natf-lab/$NATF_LAB" "${TMPDIR:-/tmp}/$NATF_LAB".* 2>/dev/null
		# Everything on a node has its state directory or its control socket in its arguments or environment.
		grep -lsz "^NATF_LAB=$NATF_LAB\$" /proc/[0-9]*/environ | while read -r file; do
			ours "${file%/environ}" || tr '\0' ' ' <"${file%environ}cmdline"
		done
	)
	[[ -z $left ]] || {
		echo "left: $left"
		return 1
	}
}

# This scenario itself, and whoever started it, have the variable too.
ours() {
	[[ $(awk '{ print $6 }' "$1/stat" 2>/dev/null) == "$(awk '{ print $6 }' "/proc/$$/stat")" ]]
}

complete() {
	"$tests/lab/demo.sh" >"$log" 2>&1 && grep -q "whole start-up overhead" "$log" && nothing_left
}

check "leaves nothing when interrupted while the lab is built" interrupted INT "lab being built"
check "leaves nothing when interrupted before the daemons run" interrupted INT "Without NAT-f"
check "leaves nothing when interrupted during a transfer" interrupted INT "natf-routerd mappings"
check "leaves nothing when interrupted during iperf3" interrupted INT "iperf3 to bob"
check "leaves nothing when terminated" interrupted TERM "UDP: datagrams"
check "runs to its end and leaves nothing" complete
check "shows both web servers" grep -q "web server of bob" "$log"
check "shows both ways of FTP" test "$(grep -c 'file on alice' "$log")" = 2
