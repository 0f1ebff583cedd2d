#!/usr/bin/env bash
#
# The lab behaves like the internet that it stands for, before any daemon of ours runs.
#
#   en, stranger, dns --- inet --- router1 (fw4) --- alice, bob, mallory
#                           |----- router2 (fw4) --- carol, dave
#                           |----- plain (a router with its own web server)
#                           '----- nat3 (random ports) --- en3
. "$(dirname "$0")/lib.sh"

resolves() {
	prints "^$3\$" on "$1" dig +short "$2"
}

web() {
	on "$1" curl -sS --max-time 2 "http://$2/"
}

# The source port under which the stranger sees a datagram that en3 sends from port 5000.
port_seen_by_stranger() {
	local seen=$NATF_LAB_DIR/seen
	rm -f "$seen"
	on stranger timeout 3 /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 9)); open(sys.argv[1] + ".ready", "w")
print(s.recvfrom(99)[1][1], file=open(sys.argv[1], "w"))' "$seen" &
	eventually 3 test -e "$seen.ready"
	rm -f "$seen.ready"
	on en3 sh -c 'echo x | socat - UDP4-SENDTO:198.51.101.10:9,sourceport=5000'
	wait $!
	cat "$seen"
}

nat3_changes_ports() {
	local ports
	ports="$(port_seen_by_stranger) $(on nat3 conntrack -F 2>/dev/null) $(port_seen_by_stranger)"
	echo "$ports"
	[[ -n $(tr -d ' ' <<<"$ports") && $ports != "5000  5000" ]]
}

seen_as() {
	web alice www.example.org >/dev/null && last_visitor stranger "$1"
}

forced_mapping() {
	on router1 conntrack -I -p "$1" -s 198.51.100.10 -d 203.0.113.2 --sport "$2" --dport "$3" \
		--dst-nat "$4" -u SEEN_REPLY -t 20 $([[ $1 == udp ]] || echo --state NONE)
}

udp_echo() {
	[[ $(on "$1" sh -c "echo $4 | socat -t 1 - UDP4:$2:$3,sourceport=6000") == "$4" ]]
}

tcp_by_forced_mapping() {
	forced_mapping tcp 6000 20001 192.168.1.10:80 >/dev/null &&
		prints "web server of alice" on en curl -sS --max-time 2 --local-port 6000 http://203.0.113.2:20001/
}

udp_by_forced_mapping() {
	forced_mapping udp 6000 20002 192.168.1.10:7 >/dev/null && udp_echo en 203.0.113.2 20002 hello
}

ftp() {
	local name=$1
	shift
	on "$name" curl -sS --max-time 5 "$@"
}

lab_up
NATF_LAB_DIR=$(lab dir)

check "a wildcard A names every host of the first home (N1)" resolves en anything.home.example.net 203.0.113.2
check "a CNAME per host leads to the first home (N1)" resolves en alice.cname.example.net 203.0.113.2
check "an A per host leads to the first home (N1)" resolves en bob.multi.example.net 203.0.113.2
check "the second home has its own wildcard" resolves en carol.home2.example.net 203.0.114.2
check "an ordinary name resolves" resolves en www.example.org 198.51.101.10
check "dave resolves through his router's dnsmasq" resolves dave alice.home.example.net 203.0.113.2
check "names resolve over TCP" prints 203.0.113.2 on en dig +tcp +short alice.home.example.net

check "en reaches an ordinary web server" prints "server of stranger" web en www.example.org
check "the router without NAT-f has a web server of its own" prints "server of plain" web en x.plain.example.net
check "alice reaches the internet, masqueraded by router1" seen_as 203.0.113.2
check "bob's web server has another page than alice's" prints "server of bob" web alice 192.168.1.11
check "router1's own web server is refused to the internet at once" exits 7 web en 203.0.113.2
check "router1 answers a ping" on en ping -qc 1 -W 1 203.0.113.2

check "nat3 masquerades en3" prints "server of stranger" web en3 www.example.org
check "nat3 changes the source port" nat3_changes_ports

check "a conntrack entry passes fw4 without any rule, TCP (N7)" tcp_by_forced_mapping
check "a conntrack entry passes fw4 without any rule, UDP (N7)" udp_by_forced_mapping
check "alice's FTP server gives a file, passive" prints "file on alice" ftp bob ftp://192.168.1.10/readme.txt
check "alice's FTP server gives a file, active" prints "file on alice" ftp bob --ftp-port - ftp://192.168.1.10/readme.txt
check "bob's iperf3 server measures" on alice iperf3 -c 192.168.1.11 -n 10M
check "alice and carol have the same address" prints 192.168.1.10/24 on carol ip -br addr show eth0
check "no virtual and no private address was seen on the internet" nothing_leaked
# fw4 answers with a reset in the LAN host's name: the internet drops it, so this comes after the check above.
on inet ip route add 192.168.1.0/24 via 203.0.113.2
check "fw4 lets nothing through to a LAN host unasked" exits 28 web inet 192.168.1.10

lab down
lab_up --echo-drop --no-offload
check "with --echo-drop router1 ignores a ping" not on en ping -qc 1 -W 1 203.0.113.2
check "with --echo-drop the plain router still answers" on en ping -qc 1 -W 1 203.0.115.2
check "with --no-offload checksums are computed" prints "tx-checksumming: off" on en ethtool -k eth0
