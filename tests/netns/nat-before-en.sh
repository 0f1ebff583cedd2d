#!/usr/bin/env bash
#
# An external node behind an ordinary NAT that changes ports: nobody can say beforehand which source port the home
# router will see, so its mapping awaits the first packet from the NAT's address (N7).
#
#   en3 10.0.3.10 ---- nat3 ------------------ inet --------------- router1 --- alice 192.168.1.10
#   (a second host:    masquerade, random        |                  203.0.113.2 '- bob 192.168.1.11
#    10.0.3.12)        ports, 203.0.116.2        '-- stranger 198.51.101.10
#
# nat3 can hold the first packet back, so that the state before it can be looked at.
. "$(dirname "$0")/lib.sh"
need_daemons
packets=$(realpath "$(dirname "$0")/packets.py")

web() {
	on "$1" curl -sS --max-time 4 "${@:3}" "http://$2/"
}

udp_echo() {
	[[ $(on en3 sh -c "(echo one; sleep 0.1; echo two; sleep 0.1; echo three) |
		socat -t 1 - UDP4:$1:7,sourceport=$2" | tr '\n' ' ') == "one two three " ]]
}

both_at_once() {
	local dir
	dir=$(lab dir)
	web en3 alice.home.example.net >"$dir/web.1" &
	web en3 bob.home.example.net >"$dir/web.2" &
	web en3 alice.home.example.net >"$dir/web.3" &
	wait
	grep -q "server of alice" "$dir/web.1" && grep -q "server of bob" "$dir/web.2" && grep -q "server of alice" "$dir/web.3"
}

counter() {
	on router1 natf-routerd counters --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# mapping FIELD CONDITION: of a mapping that meets the condition on `row`.
mapping() {
	on router1 natf-routerd mappings --json | /usr/bin/python3 -c '
import json, sys
rows = [row for row in json.load(sys.stdin)["mappings"] if eval(sys.argv[2])]
print(rows[0][sys.argv[1]]) if rows else sys.exit(1)' "$1" "$2"
}

awaiting() {
	mapping "$1" 'row["state"] == "awaits first packet"'
}

hold_back() {
	on nat3 nft add table ip hold '{ chain forward { type filter hook forward priority -10; ip saddr 10.0.3.10 tcp dport 16384-32767 drop; }; }'
}

let_go() {
	on nat3 nft delete table ip hold
}

# What somebody gets who connects to router1 while a mapping waits: the router's own answer, as without us.
refused_by_router() {
	prints '^ConnectionRefusedError' on "$1" /usr/bin/python3 "$packets" flow tcp 203.0.113.2 "${@:2}"
}

lab_up
on nat3 sysctl -qw net.ipv4.ip_forward=1
ip -n "$NATF_LAB-en3" addr add 10.0.3.12/24 dev eth0
lab start routerd router1
lab start endd en3

check "en3 reaches alice from behind a NAT (N7)" prints "server of alice" web en3 alice.home.example.net
check "en3 reaches bob on the same port (N11)" prints "server of bob" web en3 bob.home.example.net
check "the mapping's source is what the NAT made of it" prints '^203\.0\.116\.2:[1-9]' mapping source 'row["state"] == "live"'
check "alice sees the NAT's address" last_visitor alice 203.0.116.2
check "no SYN was sent again (N4)" prints '^0$' on en3 sh -c "nstat -az TcpRetransSegs | awk '/Retrans/ { print \$2 }'"
check "three connections at once find their hosts (N11)" both_at_once
check "UDP goes and comes back, in order (N4, N9)" udp_echo alice.home.example.net 6000
check "a second UDP flow works as well" udp_echo bob.home.example.net 6001
check "each of them spent one awaited packet" test "$(counter first_packets)" == 7
check "'natf-endd ping' says that a NAT stands before the node" prints "NAT stands before us" on en3 natf-endd ping alice.home.example.net:80

# The state between answer and first packet.
hold_back
web en3 alice.home.example.net >"$(lab dir)/held" &
held=$!
check "until its first packet comes the mapping awaits it (N7)" eventually 2 awaiting mapped
mapped=$(awaiting mapped || echo 203.0.113.2:1)
before=$(counter first_packets_unmatched)
check "whose source port is not known yet" prints '^203\.0\.116\.2:0$' awaiting source
check "another host's connection from the NAT's address to another port is the firewall's business" \
	refused_by_router en3 80 5000 --from 10.0.3.12
check "so is a stranger's to the mapped port (N7)" refused_by_router stranger "${mapped#*:}" 5000
check "neither of them spent the awaited packet" prints "$mapped" awaiting mapped
check "nor reached the daemon" test "$(counter first_packets_unmatched)" == "$before"
let_go
check "the first packet, let go, makes the mapping live" \
	eventually 3 prints live mapping state "row['mapped'] == '$mapped' and row['state'] == 'live'"
wait $held || true
check "and the connection works" grep -q "server of alice" "$(lab dir)/held"
check "a stranger cannot enter by the port of a live mapping either (N7)" refused_by_router stranger "${mapped#*:}" 5001

hold_back
web en3 bob.home.example.net >/dev/null 2>&1 &
held=$!
check "another one waits" eventually 2 awaiting mapped
lab stop endd en3 KILL
check "a mapping whose first packet never comes ends by itself" eventually 8 not awaiting mapped
let_go
wait $held || true
check "no virtual and no private address was seen on the internet" nothing_leaked
