# shellcheck shell=bash
# For every scenario in this directory: source it, then `lab_up`, then checks. At the end the lab is taken
# down, whatever happened. Exit status: 0 passed, 77 skipped, anything else failed.
set -euo pipefail

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export NATF_LAB=${NATF_LAB:-natf$$}
# shellcheck source=tests/checks.sh
. "$tests/checks.sh"

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

# key_hex ROUTER PEER: the enrolled key in hexadecimal, as natf-bench takes it.
key_hex() {
	on "$1" cat /etc/natf/keys | /usr/bin/python3 -c '
import base64, sys
key = [line.split()[2] for line in sys.stdin if line.startswith(sys.argv[1] + " ")][0]
print(base64.urlsafe_b64decode(key + "=").hex())' "$2"
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
