#!/usr/bin/env bash
#
# An outside node with two addresses and two uplinks: the request leaves from the address that the program's flow uses,
# and by that one's uplink, as the router maps the flow for whom it sees (N5, N7).
#
#        eth0 198.51.100.10, 198.51.100.11
#   en ─┤                                 ├─ inet ── router1 ── alice: web :80, UDP echo :7
#        eth1 198.51.109.10
# The internet carries no packet whose source belongs to the other uplink (RFC 2827).
. "$(dirname "$0")/lib.sh"
need_daemons

second_uplink() {
	ip link add eth1 netns "$NATF_LAB-en" type veth peer name to-en2 netns "$NATF_LAB-inet"
	ip -n "$NATF_LAB-en" addr add 198.51.109.10/24 dev eth1
	ip -n "$NATF_LAB-inet" addr add 198.51.109.1/24 dev to-en2
	ip -n "$NATF_LAB-en" link set eth1 up
	ip -n "$NATF_LAB-inet" link set to-en2 up
	ip -n "$NATF_LAB-en" route add default via 198.51.109.1 table 109
	ip -n "$NATF_LAB-en" rule add from 198.51.109.10 table 109
	on inet nft -f - <<-'RULES'
		table ip honest {
			chain forward {
				type filter hook forward priority 0;
				iifname "to-en" ip saddr != 198.51.100.0/24 drop
				iifname "to-en2" ip saddr != 198.51.109.0/24 drop
			}
		}
	RULES
}

# web_from ADDRESS
web_from() {
	on en curl -sS --interface "$1" --max-time 5 http://alice.home.example.net/
}

# udp_from ADDRESS
udp_from() {
	[[ $(on en sh -c "echo hello | socat -t 1 - UDP4:alice.home.example.net:7,bind=$1") == hello ]]
}

restart_end() {
	lab stop endd en
	lab start endd en
}

lab_up
ip -n "$NATF_LAB-en" addr add 198.51.100.11/24 dev eth0
second_uplink
lab start routerd router1
lab start endd en
for address in 198.51.100.10 198.51.100.11 198.51.109.10; do
	check "a connection from $address works (N5)" prints "server of alice" web_from "$address"
	check "the web server sees it come from there (N7)" last_visitor alice "$address"
	check "so do datagrams from $address" udp_from "$address"
done
check "a program that chooses nothing gets the first uplink's address" prints "server of alice" \
	on en curl -sS --max-time 5 http://alice.home.example.net/
check "as without us" last_visitor alice 198.51.100.10

# --- by the second carrier --------------------------------------------------------------------------
on router1 sed -i "/config router/a\\	option udp_port '4453'" /etc/config/natf
on en sed -i "s/option domain 'home.example.net'/&\\n\\toption udp_port '4453'/" /etc/config/natf
lab stop routerd router1
lab start routerd router1
restart_end
on inet nft insert rule ip honest forward ip daddr 203.0.113.2 icmp type echo-request drop
check "where ICMP is eaten, the UDP carrier goes by the flow's uplink, too" prints "server of alice" web_from 198.51.109.10
check "and the web server sees it come from there" last_visitor alice 198.51.109.10
check "no virtual and no private address was seen on the internet" nothing_leaked
