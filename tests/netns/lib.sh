# shellcheck shell=bash
# For every scenario in this directory: source it, then `lab_up`, then checks. At the end the lab is taken
# down, whatever happened. Exit status: 0 passed, 77 skipped, anything else failed.
set -euo pipefail

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export NATF_LAB=${NATF_LAB:-natf$$}
checks=0 failures=0 skipped=

lab() {
	"$tests/lab/lab.sh" "$@"
}

# on NODE COMMAND...
on() {
	lab exec "$@"
}

lab_up() {
	lab up "$@"
}

# check SENTENCE COMMAND...: runs the command (or function) and says whether the sentence is true.
check() {
	local sentence=$1 output
	shift
	checks=$((checks + 1))
	# In a subshell with -e off, as any condition is; functions say && between their steps.
	if output=$("$@" 2>&1); then
		echo "ok      $sentence"
	else
		failures=$((failures + 1))
		echo "not ok  $sentence"
		printf '        command: %s\n' "$*"
		if [[ -n $output ]]; then printf '%s\n' "$output" | tail -n 15 | sed 's/^/        | /'; fi
	fi
}

# To be put before a command in a check: the command has to fail.
not() {
	! "$@"
}

# exits STATUS COMMAND...: the command ends with exactly this status.
exits() {
	local wanted=$1 status=0
	shift
	"$@" || status=$?
	((status == wanted)) || {
		echo "exit status $status instead of $wanted"
		return 1
	}
}

# prints REGEX COMMAND...: the command succeeds and its output has a match.
prints() {
	local regex=$1 output
	shift
	output=$("$@") || return 1
	grep -qE -- "$regex" <<<"$output" || {
		printf 'no match for %s in:\n%s\n' "$regex" "$output"
		return 1
	}
}

# eventually SECONDS COMMAND...
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.1
	done
}

# counter NAME: packets that the internet saw and should not have (virtual_leaked, private_leaked).
leaked() {
	on inet nft list counter ip watch "$1" | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}

nothing_leaked() {
	[[ $(leaked virtual_leaked) == 0 && $(leaked private_leaked) == 0 ]] || {
		echo "virtual $(leaked virtual_leaked), private $(leaked private_leaked) packets"
		return 1
	}
}

# last_visitor NODE ADDRESS: the web server on the node was asked last from this address.
last_visitor() {
	# lighttpd keeps its log in memory for seconds; a hangup makes it write.
	kill -HUP "$(lab pid lighttpd "$1")"
	eventually 3 grep -q . "$(lab dir)/$1/lighttpd-access.log"
	sleep 0.2
	prints "^$2 " tail -n 1 "$(lab dir)/$1/lighttpd-access.log"
}

skip() {
	skipped=$*
	echo "skip    $skipped"
	exit 77
}

need_root() {
	((EUID == 0)) || skip "network namespaces need root"
}

# need_daemons [PROGRAM...]: by default those of NAT-f.
need_daemons() {
	local daemon
	(($#)) || set -- natf-routerd natf-endd
	for daemon; do
		[[ -x ${NATF_BIN:=${CARGO_TARGET_DIR:-$tests/../target}/release}/$daemon ]] || {
			echo "not ok  $daemon is built (looked in $NATF_BIN; set NATF_BIN)"
			exit 1
		}
	done
	export NATF_BIN
}

show_logs() {
	local directory log
	directory=$(lab dir 2>/dev/null) || return 0
	for log in "$directory"/*/{routerd,endd,dnsd}.log; do
		[[ -s $log ]] || continue
		echo "        --- ${log#"$directory"/}"
		tail -n 25 "$log" | sed 's/^/        | /'
	done
}

finish() {
	local status=$?
	trap '' INT TERM
	if ((status == 0 && failures > 0)); then status=1; fi
	if ((status == 0 && checks == 0)); then
		echo "not ok  the scenario checks something"
		status=1
	fi
	if ((status != 0 && status != 77)); then show_logs; fi
	lab down || status=1
	exit "$status"
}
trap finish EXIT
trap 'echo "not ok  ends in time and undisturbed"; exit 124' INT TERM
need_root
