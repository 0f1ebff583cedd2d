#!/usr/bin/env bash
#
# Calls to the kernel that fail now and then (memory is short, an answer is lost) end no daemon: it goes on, counts
# them, and leaves nothing behind.
#
#   en 198.51.100.10 (natf-endd) ─ inet ─ router1 (natf-routerd) ─ alice 192.168.1.10      strace has sendto(2) fail
. "$(dirname "$0")/lib.sh"
need_daemons

tracers=()

# disturb NODE DAEMON: every 17th message to the kernel gets ENOBUFS, until calm.
disturb() {
	strace -f -qq -o /dev/null -e trace=sendto -e 'inject=sendto:error=ENOBUFS:when=3+17' \
		-p "$(lab pid "$2" "$1")" </dev/null >/dev/null 2>&1 &
	tracers+=($!)
}

calm() {
	kill "${tracers[@]}" 2>/dev/null || true
	wait "${tracers[@]}" 2>/dev/null || true
	tracers=()
}

web() {
	on en curl -sS --max-time 4 http://alice.home.example.net/
}

# counter NODE PROGRAM NAME
counter() {
	on "$1" "$2" status --json | jq --arg name "$3" '[.. | objects | .[$name]? // empty][0]'
}

# has_counted NODE PROGRAM NAME
has_counted() {
	local value
	value=$(counter "$@")
	echo "$3: $value"
	((value > 0))
}

lab_up
lab start routerd router1
lab start endd en
router=$(lab pid routerd router1) end=$(lab pid endd en)
check "a host is reached" web

for place in router1/routerd en/endd; do
	disturb "${place%/*}" "${place#*/}"
	sleep 1
	good=0
	for _ in {1..20}; do
		if web >/dev/null 2>&1; then good=$((good + 1)); fi
	done
	calm
	check "connections come through while calls of ${place#*/} fail ($good of 20)" test "$good" -ge 10
done

check "natf-routerd is the same process as before" kill -0 "$router"
check "natf-endd is the same process as before" kill -0 "$end"
check "natf-routerd has counted failed calls" has_counted router1 natf-routerd kernel_failed
check "natf-endd has counted failed calls" has_counted en natf-endd kernel_calls_failed
check "then every connection comes through again" web
