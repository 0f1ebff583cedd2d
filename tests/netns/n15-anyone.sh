#!/usr/bin/env bash
#
# Hosts that are open to `anyone` (N15): a node without a key is served after a cookie round trip, other hosts are refused
# to it without a word about why; while no host is open, it gets nothing of ours at all.
#
#   stranger 198.51.101.10: natf-endd, home without a key ──┐          ┌── alice  open to anyone: tcp:80 and udp:7
#                                                          inet ── router1 ── bob     for enrolled peers
#   en: enrolled ──────────────────────────────────────────┘          └── mallory  denied
. "$(dirname "$0")/lib.sh"
need_daemons

web() {
	on "$1" curl -sS --max-time 5 "http://$2.home.example.net${3:-}/"
}

# counter NAME: of router1.
counter() {
	on router1 natf-routerd counters --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# steps NODE NAME:PORT: what a ping of that node went through.
steps() {
	on "$1" sh -c 'natf-endd ping "$1" --json || true' sh "$2" |
		/usr/bin/python3 -c 'import json, sys; print(*[step.get("reason", step["step"]) for step in json.load(sys.stdin)["steps"]])'
}

udp_echo() {
	[[ $(on stranger sh -c 'echo hello | socat -t 1 - UDP4:alice.home.example.net:7') == hello ]]
}

# refused_at_once COMMAND...: fails with "connection refused", within a second.
refused_at_once() {
	local begin=${EPOCHREALTIME/./} status=0
	"$@" || status=$?
	echo "status $status after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
	((status == 7 && ${EPOCHREALTIME/./} - begin < 1000000))
}

logged() {
	prints "$1" tail -n 3 "$(lab dir)/stranger/endd.log"
}

# Bytes of the longest question and of the longest answer on the stranger's line.
message_sizes() {
	on stranger timeout 3 tcpdump -i eth0 -nn -l -c 4 'icmp' 2>/dev/null >"$(lab dir)/wire" &
	sleep 0.7
	steps stranger alice.home.example.net:80 >/dev/null
	wait $! || true
	sed -n 's/.*ICMP echo \(request\|reply\).*length \([0-9]*\)$/\1 \2/p' "$(lab dir)/wire" | sort -u | tr '\n' ' '
}

reload_router() {
	kill -HUP "$(lab pid routerd router1)"
	sleep 0.3
	# What was refused, and who is no NAT-f router, is not asked for again for a while; a restart forgets that.
	lab stop endd stranger
	lab start endd stranger
}

lab_up
printf "config end 'end'\n\tlist upstream '192.0.2.53'\n\nconfig home 'home'\n\toption domain 'home.example.net'\n" |
	on stranger tee /etc/config/natf >/dev/null
lab start routerd router1
lab start endd stranger
lab start endd en

check "without a host open to anyone, the stranger gets an ordinary echo reply (N10, N15)" prints '^asked mirrored plain' steps stranger alice.home.example.net:80
check "and reaches nothing but what the router's firewall lets in" exits 7 web stranger alice
check "no cookie was baked for it" test "$(counter cookies) $(counter mapped)" = "0 0"
check "the router counts it" prints '^[1-9]' counter anonymous_ignored

on router1 sed -i "/config host 'alice'/a\\	list peer 'anyone'\\n\\tlist service 'tcp:80'\\n\\tlist service 'udp:7'" /etc/config/natf
reload_router
check "with alice open to anyone, the stranger is served after a cookie (N15)" prints '^asked cookie asked granted ended$' steps stranger alice.home.example.net:80
check "the stranger's curl reaches alice (N15)" prints "server of alice" web stranger alice
check "and UDP does (N15)" udp_echo
check "cookies were baked" prints '^[1-9]' counter cookies
check "the router calls the owner of that mapping anyone" prints '^[0-9]+ +alice +anyone ' on router1 natf-routerd mappings
check "the answers are not larger than the questions (N15)" prints '^reply 192 request 192 $' message_sizes
check "an enrolled node is not asked for a cookie" prints '^asked granted ended$' steps en alice.home.example.net:80

check "a host for enrolled peers is refused to the stranger, at once (N6, N15)" refused_at_once web stranger bob
check "the reason is denied" logged 'bob.home.example.net tcp/80: the router refused: access to this host is denied'
for name in mallory nobody bob; do
	check "$name is refused in the same words, whether there or not (N15)" prints '^asked cookie asked denied$' steps stranger "$name.home.example.net:80"
done
check "so is another service of alice (N15)" prints '^asked cookie asked denied$' steps stranger alice.home.example.net:22
check "the stranger's application is refused at once (N15)" refused_at_once web stranger alice :22

on router1 sed -i "/list peer 'anyone'/d" /etc/config/natf
kill -HUP "$(lab pid routerd router1)"
check "when alice is closed to anyone, the stranger's mappings end" eventually 3 not prints ' anyone ' on router1 natf-routerd mappings
check "no virtual and no private address was seen on the internet" nothing_leaked
