#!/usr/bin/env bash
#
# A router that drops pings still answers mapping requests (N14): they are taken before its firewall.
#
#   en ── inet ── router1: fw4 drops echo requests ──┬── alice
#   stranger ──────┘                                 '── bob
. "$(dirname "$0")/lib.sh"
need_daemons

web() {
	on en curl -sS --max-time 3 "http://$1.home.example.net/"
}

ping_router() {
	on "$1" ping -c 1 -W 1 "${@:2}" 203.0.113.2
}

# Sends what looks like a mapping request from a node without a key, with this key id; fails where nothing comes back.
forged_request() {
	on stranger /usr/bin/python3 -c '
import os, socket, struct, sys
message = struct.pack("!4sBBHQ", b"NATf", 1, 1, int(sys.argv[1]), 1 << 60) + os.urandom(168)
echo = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + message
total = sum(struct.unpack("!%dH" % (len(echo) // 2), echo))
while total > 0xffff:
    total = (total & 0xffff) + (total >> 16)
link = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
link.settimeout(0.7)
link.sendto(echo[:2] + struct.pack("!H", total ^ 0xffff) + echo[4:], ("203.0.113.2", 0))
try:
    print(link.recv(2000).hex())
except TimeoutError:
    sys.exit("nothing came back")' "$1"
}

# Pings that router1's firewall dropped.
dropped() {
	on router1 nft list chain inet fw4 input_wan | sed -n 's/.*icmp type echo-request counter packets \([0-9]*\).*Allow-Ping.*/\1/p'
}

negotiates() {
	on en natf-endd ping "$1.home.example.net:$2"
}

lab_up --echo-drop
check "router1 drops pings before anything of ours runs" not ping_router en
lab start routerd router1
lab start endd en

before=$(dropped)
check "TCP is mapped: alice's web server answers (N14)" prints "server of alice" web alice
check "and bob's (N14)" prints "server of bob" web bob
check "UDP is mapped (N14)" prints '^hello$' on en sh -c 'echo hello | socat -t 1 - UDP4:alice.home.example.net:7'
check "requests and ends travel by ICMP echo (N5)" prints 'request sent to 203.0.113.2 by icmp' negotiates alice 22
check "the firewall saw none of them (N14)" test "$(dropped)" = "$before"

check "a ping is still dropped, from this node" not ping_router en
check "a ping is still dropped, from another" not ping_router stranger
check "a ping of a request's size is dropped" not ping_router stranger -s 184
check "a forged request with a key id that exists is dropped like a ping (N15)" not forged_request 4711
check "a forged request with one that does not exist, too (N15)" not forged_request 999
check "the firewall counted those five" test "$(dropped)" = $((before + 5))
check "the daemon counted the two that looked like requests (N15)" prints '"forged":1,.*"unknown_key":1,' on router1 natf-routerd counters --json
check "the mappings work on" prints "server of alice" web alice
check "no virtual and no private address was seen on the internet" nothing_leaked
