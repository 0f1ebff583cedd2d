#!/usr/bin/env bash
#
# The second carrier (N5): where the path eats ICMP, the same messages travel over UDP to a port of the router.
#
#   en 198.51.100.10 ───────────────┐
#                                 inet: drops every echo request and reply of router1 ── router1 ──┬── alice
#   en3 10.0.3.10 ── nat3 (NAT) ────┤                                            UDP port 4451     └── bob
#   stranger ───────────────────────┘
. "$(dirname "$0")/lib.sh"
need_daemons
port=4451

# timed COMMAND...: what it prints goes to `page`, its time in milliseconds to `took`.
timed() {
	local begin=${EPOCHREALTIME/./}
	page=$("$@" 2>&1) || page="status $?: $page"
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
}

web() {
	on "$1" curl -sS --max-time 8 "http://$2.home.example.net/"
}

page_is() {
	echo "$page"
	[[ $page == *"$1"* ]] && ((took < $2))
}

# The steps of a ping, and by which carrier it asked.
steps() {
	on "$1" natf-endd ping "$2.home.example.net:80" --json | /usr/bin/python3 -c '
import json, sys
print(*[step["step"] + (":" + step["carrier"] if "carrier" in step else "") for step in json.load(sys.stdin)["steps"]])'
}

udp_echo() {
	[[ $(on en sh -c 'echo hello | socat -t 1 - UDP4:alice.home.example.net:7') == hello ]]
}

# no_answer LENGTH: a datagram of that length which begins like a message; neither an answer nor an error comes back.
no_answer() {
	on stranger /usr/bin/python3 -c '
import os, socket, struct, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("203.0.113.2", int(sys.argv[1])))
client.settimeout(0.5)
client.send((struct.pack("!4sBBHQ", b"NATf", 1, 1, 4711, 1 << 60) + os.urandom(1400))[:int(sys.argv[2])])
try:
    print(client.recv(2000))
except TimeoutError:
    sys.exit(0)
sys.exit(1)' "$port" "$1"
}

counted() {
	prints "\"$1\":[1-9]" on router1 natf-routerd counters --json
}

use_udp_port() {
	local node
	on router1 sed -i "/config router/a\\	option udp_port '$port'" /etc/config/natf
	for node in en en3; do on "$node" sed -i "/option domain 'home.example.net'/a\\	option udp_port '$port'" /etc/config/natf; done
}

lab_up
on inet nft -f - <<'RULES'
table ip eats_icmp {
	counter eaten { }
	chain forward {
		type filter hook forward priority filter;
		icmp type { echo-request, echo-reply } counter name eaten drop
	}
}
RULES
lab start routerd router1
lab start endd en
check "the path eats pings" not on en ping -qc 1 -W 1 203.0.113.2
timed web en alice
check "with ICMP alone the connection is refused, after $took ms" page_is "status 7" 6000

lab stop endd en
use_udp_port
kill -HUP "$(lab pid routerd router1)"
eventually 3 on router1 sh -c "nft list table ip natf 2>/dev/null | grep -q 'udp dport $port'"
lab start endd en
timed web en alice
check "with a UDP port on both sides it works: the first connection takes $took ms (N5)" page_is "server of alice" 2000
timed web en bob
check "what is known to work is asked first: the next takes $took ms (N5)" page_is "server of bob" 500
check "ping shows the carrier, and the end goes by it, too (N5, N9)" prints "^asked:udp/$port granted ended\$" steps en alice
check "UDP flows are mapped by it (N5)" udp_echo
check "many connections are" on en sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do curl -sS --max-time 3 http://bob.home.example.net/ >/dev/null || exit 1; done'
lab start endd en3
timed web en3 bob
check "a node behind a NAT uses it as well, after $took ms" page_is "server of bob" 2000
check "the mapping of a closed connection ends (N9)" eventually 6 not prints '192.168.1.11:80 .*live' on router1 natf-routerd mappings

check "a forged message gets no answer and no error (N15)" no_answer 184
check "nor does a shortened one (N15)" no_answer 100
check "nor an oversized one (N15)" no_answer 1400
check "the router counts forged (N15)" counted forged
check "the router counts malformed (N15)" counted malformed
check "the mappings work on" prints "server of alice" web en alice
check "ICMP was tried and eaten" prints 'packets [1-9]' on inet nft list counter ip eats_icmp eaten
check "no virtual and no private address was seen on the internet" nothing_leaked
