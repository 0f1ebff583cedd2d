#!/usr/bin/env bash
#
# Connections (N4-N9, N11): real programs on the outside node reach two hosts behind one NAT, on the same port, at the
# same time; nothing is lost, repeated or reordered by the holding, and nobody else can use what was mapped.
#
#   en 198.51.100.10 ──────┐
#   curl, iperf3, sockets  inet ── router1 203.0.113.2 ──┬── alice: web :80, UDP echo :7, TCP echo :2222
#                          │       m, m+1, …             '── bob:   web :80, UDP echo :7, iperf3 :5201
#   stranger ──────────────┘
#   198.51.101.10, tries the mapped ports
. "$(dirname "$0")/lib.sh"
need_daemons

web() {
	on en curl -sS --max-time 5 "http://$1.home.example.net/$2"
}

# mappings EXPRESSION: one line for each mapping, a Python expression over `row`, in order.
mappings() {
	on router1 natf-routerd mappings --json | /usr/bin/python3 -c '
import json, sys
for line in sorted(str(eval(sys.argv[1])) for row in json.load(sys.stdin)["mappings"]):
    print(line)' "$1"
}

# counter_of_end NAME
counter_of_end() {
	on en natf-endd status --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"][sys.argv[1]])' "$1"
}

# What this node's TCP sent again, since its start.
retransmitted() {
	on en nstat -asz TcpRetransSegs TcpExtTCPSynRetrans TcpExtTCPTimeouts | awk '/^Tcp/ { sum += $2 } END { print sum + 0 }'
}

nothing_retransmitted() {
	on en nstat -asz TcpRetransSegs TcpExtTCPSynRetrans TcpExtTCPTimeouts
	[[ $(retransmitted) == 0 ]]
}

# SYNs that the internet carried to router1.
watch_syns() {
	on inet nft -f - <<-'RULES'
		table ip syns {
			counter to_router1 { }
			chain prerouting {
				type filter hook prerouting priority -200;
				ip daddr 203.0.113.2 tcp flags syn / syn,ack counter name to_router1
			}
		}
	RULES
}

syns() {
	on inet nft reset counter ip syns to_router1 | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}

both_at_once() {
	local host
	for host in alice bob; do
		on en curl -sS --max-time 20 --limit-rate 8M -o "$directory/$host.got" "http://$host.home.example.net/large.bin" &
	done
	sleep 0.7
	mappings 'row["host"] + " " + row["inside"] + " " + row["mapped"]' >"$directory/at-once"
	wait
	for host in alice bob; do cmp "$directory/$host.got" "$directory/$host/www/large.bin"; done
}

kept_apart() {
	cat "$directory/at-once"
	grep -q '^alice 192.168.1.10:80 ' "$directory/at-once" && grep -q '^bob 192.168.1.11:80 ' "$directory/at-once" &&
		[[ $(grep ':80 ' "$directory/at-once" | cut -d ' ' -f 3 | sort -u | wc -l) == 2 ]]
}

# Connections that differ in nothing but the host's name: two hosts of one home, and one of another, where alice's
# private address is carol's.
from_one_source_port() {
	on en /usr/bin/python3 -c '
import socket
links = {}
for name in "alice.home", "bob.home", "carol.home2":
    links[name] = socket.socket()
    links[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    links[name].bind(("", 5555))
    links[name].settimeout(3)
    links[name].connect((name + ".example.net", 80))
for name, link in links.items():
    link.sendall(b"GET / HTTP/1.0\r\n\r\n")
    host = name.split(".")[0].encode()
    assert b"web server of " + host in b"".join(iter(lambda: link.recv(999), b"")), name'
}

# Fifty downloads start at the same moment, half to each host; every page has to be the right one.
fifty_at_once() {
	on en sh -c '
		for i in $(seq 25); do
			for host in alice bob; do
				curl -sS --max-time 10 -o "$1/$host.$i.page" "http://$host.home.example.net/" &
			done
		done
		wait' sh "$directory"
	local i host
	for host in alice bob; do
		for i in {1..25}; do
			[[ $(<"$directory/$host.$i.page") == "This is the web server of $host." ]] || {
				echo "page $i of $host is wrong"
				return 1
			}
		done
	done
}

whole() {
	local sent got
	on en curl -sS --max-time 20 -o "$directory/got" "http://alice.home.example.net/large.bin"
	sent=$(sha256sum <"$directory/alice/www/large.bin")
	got=$(sha256sum <"$directory/got")
	echo "$got"
	[[ $got == "$sent" ]]
}

# udp_client COUNT [PROCESS]: sends numbered datagrams in a burst from a new socket, and wants them back in their order,
# from the address that it sent to. With PROCESS, that is stopped meanwhile, so that all of them are held.
udp_client() {
	on en /usr/bin/python3 -c '
import os, signal, socket, sys, time
count, daemon = int(sys.argv[1]), int(sys.argv[2])
there = (socket.gethostbyname("alice.home.example.net"), 7)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(3)
if daemon:
    os.kill(daemon, signal.SIGSTOP)
for number in range(count):
    client.sendto(b"%d" % number, there)
if daemon:
    time.sleep(0.1)
    os.kill(daemon, signal.SIGCONT)
answers, senders = [], set()
try:
    while len(answers) < count:
        data, sender = client.recvfrom(100)
        answers.append(int(data))
        senders.add(sender)
except TimeoutError:
    pass
print(answers, senders)
sys.exit(answers != list(range(count)) or senders != {there})' "$1" "${2:-0}"
}

# udp_flood COUNT PROCESS: while the process is stopped, a new socket with a large buffer sends more than can be held.
# Prints how many come back, in order or not, and whether the socket heard of an error.
udp_flood() {
	on en /usr/bin/python3 -c '
import os, signal, socket, sys, time
count, daemon = int(sys.argv[1]), int(sys.argv[2])
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)
client.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
client.connect((socket.gethostbyname("alice.home.example.net"), 7))
client.settimeout(1)
os.kill(daemon, signal.SIGSTOP)
answers, error = [], "no error"
try:
    for number in range(count):
        client.send(b"%d" % number)
        if number % 32 == 31:
            time.sleep(0.003)
    time.sleep(0.1)
finally:
    os.kill(daemon, signal.SIGCONT)
try:
    while True:
        answers.append(int(client.recv(100)))
except TimeoutError:
    pass
except OSError as found:
    error = type(found).__name__
print(len(answers), "in order" if answers == list(range(len(answers))) else answers, error)' "$1" "$2"
}

# The first datagram is longer than any packet.
udp_in_fragments() {
	on en /usr/bin/python3 -c '
import os, socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(2)
client.connect((socket.gethostbyname("alice.home.example.net"), 7))
sent = os.urandom(20000)
client.send(sent)
assert client.recv(30000) == sent'
}

# Streams of datagrams: the first ones are held, and the others come while these are let go. Prints how many streams
# came back out of order; of a stream that a busy machine holds too long, some may be missing.
disordered_streams() {
	on en /usr/bin/python3 -c '
import socket, sys, time
there, count, disordered = (socket.gethostbyname("bob.home.example.net"), 7), 100, 0
for stream in range(int(sys.argv[1])):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client.settimeout(0.3)
    answers = []
    for number in range(count):
        client.sendto(b"%d" % number, there)
        time.sleep(0.00005)
    try:
        while len(answers) < count:
            answers.append(int(client.recv(100)))
    except TimeoutError:
        pass
    disordered += answers != sorted(answers) or not answers
print(disordered)' "$1"
}

# strangers_get_nothing PORT: neither TCP nor UDP from another node, nor from another port of the right one.
strangers_get_nothing() {
	local node
	on alice nft -f - <<<'table ip seen { counter strange { }; chain input { type filter hook input priority 0; ip saddr { 198.51.100.10, 198.51.101.10 } counter name strange; }; }'
	for node in stranger en; do
		not on "$node" curl -sS --max-time 2 "http://203.0.113.2:$1/" || return 1
		on "$node" sh -c "echo intruder | socat -t 0.3 - UDP4:203.0.113.2:$1" || true
	done
	prints 'packets 0 ' on alice nft list counter ip seen strange
}

# A connection to a port of alice that answers nothing; its program gives up after a second.
give_up_connecting() {
	on alice nft -f - <<<'table ip deaf { chain input { type filter hook input priority 0; tcp dport 4444 drop; }; }'
	on en /usr/bin/python3 -c '
import socket
client = socket.socket()
client.settimeout(1)
client.connect(("alice.home.example.net", 4444))'
}

start_terminal() {
	on alice setsid socat TCP-LISTEN:2222,fork,reuseaddr EXEC:cat </dev/null >/dev/null 2>&1 &
	eventually 3 on alice sh -c 'ss -Hltn sport = :2222 | grep -q .'
	mkfifo "$directory/keys"
	on en socat -t 0.2 - TCP4:alice.home.example.net:2222 <"$directory/keys" >"$directory/screen" 2>&1 &
	exec 7>"$directory/keys"
}

types() {
	echo "$1" >&7
	eventually 3 grep -qx "$1" "$directory/screen"
}

mapped() {
	prints "$1" mappings 'row["host"] + " " + row["inside"] + " " + row["state"]'
}

unmapped() {
	not mapped "$1"
}

# The lifetimes that a request is granted (N8) are those of the router's kernel.
granted_lifetime() {
	on en natf-endd ping "alice.home.example.net:$1" --json | /usr/bin/python3 -c '
import json, sys
granted = [step for step in json.load(sys.stdin)["steps"] if step["step"] == "granted"]
print(granted)
sys.exit(granted[0]["lifetime"] != int(sys.argv[1]))' "$(on router1 sysctl -n "net.netfilter.nf_conntrack_$2")"
}

measures() {
	on en iperf3 -c bob.home.example.net -t 1 "$@"
}

lab_up
directory=$(lab dir)
for host in alice bob; do head -c 16777216 /dev/urandom >"$directory/$host/www/large.bin"; done
watch_syns
lab start routerd router1
lab start routerd router2
lab start endd en

start_terminal
check "a terminal session on alice answers" types first
idle=$SECONDS
check "alice and bob are downloaded from at once, on the same port (N11)" both_at_once
check "they had a mapped port each (N7, N11)" kept_apart
check "even from one source port they are told apart (N11)" from_one_source_port
syns >/dev/null
held=$(counter_of_end held)
check "fifty connections opened at once get the right pages (N4, N11)" fifty_at_once
check "the network saw 50 SYN, no one twice (N4)" test "$(syns)" = 50
check "the daemon saw one packet of each: the data is only translated (N9)" test $(($(counter_of_end held) - held)) = 50
check "nothing was retransmitted by the outside node (N4)" nothing_retransmitted
check "a download of 16 MiB is whole (N9)" whole
check "the application talks to the virtual address and no other (N2, N9)" prints "^$(on en dig +short alice.home.example.net) " \
	on en curl -sS --max-time 3 -o /dev/null -w '%{remote_ip} ' http://alice.home.example.net/
check "the web server sees the outside node's real address (N7)" last_visitor alice 198.51.100.10

check "UDP goes and comes back, from the virtual address (N9)" udp_client 1
check "a first datagram of 20,000 bytes does, too (N4)" udp_in_fragments
check "a burst of 20 datagrams, all held, arrives in order (N4)" udp_client 20 "$(lab pid routerd router1)"
check "of 300 that come at 10,000 a second, the oldest 256 are held, in order, and nobody is told of an error (N4)" \
	prints '^256 in order no error$' udp_flood 300 "$(lab pid routerd router1)"
check "those dropped are counted" prints '^44$' counter_of_end held_too_many_of_flow
disordered=$(disordered_streams 100)
# Three are allowed (3 of 1,000 were seen): if a busy machine leaves the daemon waiting between its last look at the queue
# and the end of queueing, and the stream goes on at that moment after a pause, a datagram is overtaken.
check "of 100 streams whose first datagrams are held, $disordered come out of order (N4)" test "$disordered" -le 3

check "iperf3 sends to bob" measures
check "iperf3 receives from bob" measures --reverse
check "iperf3 sends UDP to bob" measures --udp --bitrate 20M --length 1400
check "the granted lifetime of TCP is the kernel's (N8)" granted_lifetime 80 tcp_timeout_established
check "the granted lifetime of UDP is the kernel's (N8)" granted_lifetime 7/udp udp_timeout_stream
check "ping tells the request, the answer and the end (N5, N8, N9)" prints 'mapped to 203.0.113.2:[0-9]+' on en natf-endd ping bob.home.example.net:80

check "a ping to a virtual address stays on the node" not on en ping -qc 1 -W 1 alice.home.example.net
port=$(mappings 'row["mapped"].split(":")[1]' | sed -n 1p)
check "nobody else can use a mapped port, nor another source port of the same node (N7)" strangers_get_nothing "$port"

check "a connection that nobody answers is given up" not give_up_connecting
check "the mappings of closed TCP connections end at the router (N9)" eventually 13 unmapped '192.168.1.1[01]:80 '
check "so does that of the one given up, which nobody closed (N9)" eventually 10 unmapped ':4444 '
check "and leave its connection tracking" prints '^$' on router1 sh -c 'conntrack -L -p tcp --orig-src 198.51.100.10 2>/dev/null | grep dport=80 || echo'
check "the terminal's mapping is still there" mapped 'alice 192.168.1.10:2222 live'
check "the terminal session answers after $((SECONDS - idle)) s of idleness (N9)" types last
exec 7>&-
check "its mapping ends when it closes (N9)" eventually 13 unmapped ':2222 '
check "no virtual and no private address was seen on the internet" nothing_leaked
