#!/usr/bin/env bash
#
# The provider gives router1 another address: mappings of the old one end, and everybody finds the new one by its name.
#
#   en 198.51.100.10 ── inet ─┬─ 203.0.113.2, then 203.0.113.77 ── router1 ─┬─ alice 192.168.1.10
#                             │  (home.example.net follows, at nsd)         '─ bob   192.168.1.11
#                             '─ 203.0.114.2 ── router2 ── carol
#
# At router1 itself, which plays the external node for its LAN (N12), new flows leave from the new address.
. "$(dirname "$0")/lib.sh"
need_daemons

web() {
	on "$1" curl -sS --max-time 8 "http://$2/"
}

mapped() {
	on router1 natf-routerd mappings --json | /usr/bin/python3 -c '
import json, sys
print([row["mapped"] for row in json.load(sys.stdin)["mappings"]])'
}

# The dynamic DNS service takes the new address over; caches may keep the old one for the zone's TTL.
rename_home() {
	sed -i "s/$1/$2/" "$dir/dns/nsd/example.net.zone"
	sed -i 's/hostmaster 1 /hostmaster 2 /' "$dir/dns/nsd/example.net.zone"
	kill -HUP "$(lab pid nsd dns)"
	eventually 3 prints "^$2\$" on dns dig +short @192.0.2.53 alice.home.example.net
}

change_address() {
	on router1 ip addr del "$1/24" dev wan
	on router1 ip addr add "$2/24" dev wan
	on router1 ip route replace default via 203.0.113.1
}

lab_up
dir=$(lab dir)
sed -i 's/^\$TTL 60/$TTL 2/' "$dir/dns/nsd/example.net.zone"
rename_home 203.0.113.2 203.0.113.2
lab start routerd router1
lab start routerd router2
lab start endd en

check "en reaches alice at the old address" prints "server of alice" web en alice.home.example.net
check "alice reaches carol from the old address (N12)" prints "server of carol" web alice carol.home2.example.net
check "carol saw it" last_visitor carol 203.0.113.2
on en sh -c 'exec socat -u TCP4:alice.home.example.net:21 STDOUT' >"$dir/en/ftp" &
check "a connection is open" eventually 3 grep -q '^220' "$dir/en/ftp"
virtual=$(on en dig +short alice.home.example.net)
check "its mapping is at the old address" prints "203.0.113.2:" mapped

change_address 203.0.113.2 203.0.113.77
check "mappings of the old address end" eventually 5 not prints "203.0.113.2:" mapped
check "and their connections leave the kernel's table" \
	prints '^0$' sh -c "ip netns exec $NATF_LAB-router1 conntrack -L -p tcp --orig-dst 203.0.113.2 2>/dev/null | wc -l"
rename_home 203.0.113.2 203.0.113.77
check "a new connection finds the new address by the name (N1, N2)" eventually 6 prints "server of alice" web en alice.home.example.net
check "its mapping is at the new address (N7)" prints "203.0.113.77:" mapped
check "the virtual address is the same, so applications need not look up again (N3)" \
	prints "^$virtual\$" on en dig +short alice.home.example.net
check "an application that kept the virtual address connects, too" prints "server of alice" web en "$virtual"
check "bob is reached at the new address" prints "server of bob" web en bob.home.example.net
check "alice reaches carol from the new address (N12)" eventually 4 prints "server of carol" web alice carol.home2.example.net
check "carol saw that one" last_visitor carol 203.0.113.77
check "router1 tells its address" prints '"outside":"203.0.113.77"' on router1 natf-routerd status --json

# Back again, with a moment without any address, as when a line is dialled anew.
on router1 ip addr flush dev wan
sleep 2.5
check "without an address alice is out of reach, and en is told so in bounded time" exits 7 web en alice.home.example.net
on router1 ip addr add 203.0.113.2/24 dev wan
on router1 ip route replace default via 203.0.113.1
rename_home 203.0.113.77 203.0.113.2
check "with the first address again alice is reached" eventually 6 prints "server of alice" web en alice.home.example.net
check "and alice reaches carol from it (N12)" eventually 6 prints "server of carol" web alice carol.home2.example.net
check "no virtual and no private address was seen on the internet" nothing_leaked
