#!/usr/bin/env bash
#
# A flood of requests that are none: a download goes on, honest peers are served, and memory stays where it was (N15).
#
#   en 198.51.100.10 ─────── inet ── router1 (natf-routerd) ── alice 192.168.1.10, bob 192.168.1.11
#   stranger 198.51.101.10 ──'       203.0.113.2
#   sends 20,000 messages of noise behind the magic number, then 5,000 that only opening them shows as forged, from
#   its own address, from en's and from many others; then it asks as `anyone` for a host that is open to anyone.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/downloads.bash"
need_daemons
packets=$(realpath "$(dirname "$0")/packets.py")

web() {
	on en curl -sS --max-time 4 "http://$1/"
}

counter() {
	on router1 natf-routerd counters --json | /usr/bin/python3 -c 'import json, sys; all = json.load(sys.stdin); print(sum(all[name] for name in sys.argv[1:]))' "$@"
}

resident() {
	awk '/VmRSS/ { print $2 }' "/proc/$(lab pid routerd router1)/status"
}

# flood KIND COUNT [OPTION...]: in the background; `flooded` waits for its end.
flood() {
	rm -f "$dir/flooded"
	(on stranger /usr/bin/python3 "$packets" bad "$1" --count "$2" "${@:3}" 203.0.113.2 && touch "$dir/flooded") &
	sleep 0.2
}

under_flood() {
	! test -e "$dir/flooded" && "$@" && ! test -e "$dir/flooded"
}

flooded() {
	eventually 20 test -e "$dir/flooded"
}

# Milliseconds that a new connection took.
connecting() {
	on en curl -sS --max-time 4 -o /dev/null -w '%{time_total}' "http://$1/" | awk '{ print int(1000 * $1) }'
}

lab_up
dir=$(lab dir)
large_file alice
lab start routerd router1
lab start endd en
on stranger /usr/bin/python3 "$packets" bad forged --count 1000 203.0.113.2
warm=$(resident)
download en alice.home.example.net 300

flood anything 20000
check "under 20,000 messages of noise bob is reached (N15)" under_flood prints "server of bob" web bob.home.example.net
check "and the download goes on" goes_on en alice.home.example.net
check "the noise comes to its end" flooded
check "every message is counted" eventually 3 test "$(counter malformed unexpected_kind unknown_key)" -ge 20000

before=$(counter forged)
flood forged 5000
check "under 5,000 forged requests bob is reached (N15)" under_flood prints "server of bob" web bob.home.example.net
check "within a second" test "$(connecting bob.home.example.net)" -lt 1000
check "the flood comes to its end" flooded
check "every message is counted" test "$(($(counter forged) - before))" == 5000

before=$(counter forged)
flood forged 5000 --from 198.51.100.10
check "with en's own address as its source en is served all the same" under_flood prints "server of bob" web bob.home.example.net
check "the flood comes to its end" flooded
check "every message is counted" test "$(($(counter forged) - before))" == 5000
check "none of them made a mapping" test "$(on router1 natf-routerd mappings --json | grep -o '"peer"' | wc -l)" -le 6
check "none was answered as a peer is: what came back is the kernel's echo of a ping" test "$(counter mapped)" -le 8

# Whoever is not enrolled costs a cookie, and not often.
on router1 sed -i "/config host 'bob'/,/^\$/ s/option access 'allow'/option access 'allow'\n\tlist peer 'anyone'/" /etc/config/natf
kill -HUP "$(lab pid routerd router1)"
sleep 0.2
flood anonymous 5000
check "under 5,000 requests of nobody, with a host open to anyone, bob is reached" under_flood prints "server of bob" web bob.home.example.net
check "the flood comes to its end" flooded
check "most of it went unanswered (N15)" test "$(counter rate_limited)" -ge 4000
check "cookies were few" test "$(counter cookies)" -le 1000

echo "        resident: $warm KiB before the floods, $(resident) KiB after 35,000 messages"
check "memory stays where it was" test "$(resident)" -le "$((warm + 256))"
check "the kernel dropped no packet of the queue" \
	prints '"queue_full":0' on router1 natf-routerd status --json
check "the download runs through all of it to its end" ends_whole en alice.home.example.net
