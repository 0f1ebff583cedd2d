#!/usr/bin/env bash
#
# At home: the outside node comes home and leaves again. The same names work in both places, without a restart: at home
# the router answers with the host's own address, as no NAT stands between.
#
#   away                                    at home
#   en 198.51.100.10 ─ inet ─ router1       router1 ─┬─ alice 192.168.1.10
#      eth0                                  br-lan  ├─ bob   192.168.1.11
#                                                    '─ en    192.168.1.50 (eth1)
#
# Moving = the one interface goes down, the other one comes up with its address and default route, as with Wi-Fi.
. "$(dirname "$0")/lib.sh"
need_daemons

web() {
	on en curl -sS --max-time 4 "http://$1/"
}

udp_echo() {
	[[ $(on en sh -c "echo $2 | socat -t 1 - UDP4:$1:7,sourceport=6000") == "$2" ]]
}

# Where the connections that are open to port 80 lead in fact.
way() {
	on en conntrack -L -p tcp --orig-port-dst 80 2>/dev/null
}

counter() {
	on "$1" "natf-$2" status --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"][sys.argv[1]])' "$3"
}

come_home() {
	ip -n "$NATF_LAB-en" link set eth0 down
	ip -n "$NATF_LAB-en" link set eth1 up
	ip -n "$NATF_LAB-en" addr add 192.168.1.50/24 dev eth1
	ip -n "$NATF_LAB-en" route add default via 192.168.1.1
}

leave() {
	ip -n "$NATF_LAB-en" addr flush dev eth1
	ip -n "$NATF_LAB-en" link set eth1 down
	ip -n "$NATF_LAB-en" link set eth0 up
	ip -n "$NATF_LAB-en" addr replace 198.51.100.10/24 dev eth0
	ip -n "$NATF_LAB-en" route add default via 198.51.100.1
}

leads_to_alice_herself() {
	way | grep >/dev/null 'src=192.168.1.50 .* src=192.168.1.10 dst=192.168.1.50'
}

lab_up
# A second network card, at home; it is unplugged.
ip -n "$NATF_LAB-en" link add eth1 type veth peer name lan-en netns "$NATF_LAB-router1"
ip -n "$NATF_LAB-router1" link set lan-en master br-lan up
lab start routerd router1
lab start endd en

check "away, en reaches alice through the NAT" prints "server of alice" web alice.home.example.net
address=$(on en dig +short alice.home.example.net)
on en sh -c 'exec socat -u TCP4:alice.home.example.net:21 STDOUT' >"$(lab dir)/en/ftp" &
old=$!
check "and has a connection open" eventually 3 grep -q '^220' "$(lab dir)/en/ftp"

come_home
check "at home, en reaches alice by the same name" eventually 3 prints "server of alice" web alice.home.example.net
check "the name has the same virtual address, so no application notices (N3)" prints "^$address\$" on en dig +short alice.home.example.net
check "and the connection goes straight to alice, through no NAT" leads_to_alice_herself
check "alice sees en's own address" last_visitor alice 192.168.1.50
check "the router granted it as direct" prints '^[1-9]' counter router1 routerd direct
check "UDP goes and comes back at home" udp_echo alice.home.example.net hello
check "'natf-endd ping' says that no NAT stands between" prints "no NAT stands between" on en natf-endd ping bob.home.example.net:80
check "who is denied stays denied at home (N6)" exits 7 web mallory.home.example.net
check "another home is reached from here as from anywhere" \
	prints "server of plain" web x.plain.example.net
check "an ordinary name resolves at home" prints '^198.51.101.10$' on en dig +short www.example.org
kill $old 2>/dev/null || true
wait $old 2>/dev/null || true

leave
check "away again, en reaches alice through the NAT" eventually 3 prints "server of alice" web alice.home.example.net
check "alice sees en's address of outside" last_visitor alice 198.51.100.10
check "UDP from the same source port works outside, too" udp_echo alice.home.example.net hello
check "the name still has the same virtual address (N3)" prints "^$address\$" on en dig +short alice.home.example.net
for round in 1 2; do
	come_home
	check "round $round: at home it works" eventually 3 prints "server of bob" web bob.home.example.net
	leave
	check "round $round: away it works" eventually 3 prints "server of bob" web bob.home.example.net
done

# Suspend and resume far away from any network: nothing to be had, and nothing that hangs afterwards.
ip -n "$NATF_LAB-en" link set eth0 down
check "without a network a connection fails" not web alice.home.example.net
ip -n "$NATF_LAB-en" link set eth0 up
ip -n "$NATF_LAB-en" route replace default via 198.51.100.1
check "with the network back it works" eventually 4 prints "server of alice" web alice.home.example.net
check "no virtual and no private address was seen on the internet" nothing_leaked
