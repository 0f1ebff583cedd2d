#!/usr/bin/env bash
#
# Names (N1, N2, N3): the outside node's resolver is our proxy, the zones are an unmodified server's. Whatever way a zone
# names the hosts of a home, applications see one virtual address for each, and nothing that leads around it.
#
#   en: dig, getent, curl ── 127.0.0.153 natf-endd ── inet ── dns: nsd, example.net and example.org
#                                                      |----- router1: alice, bob      *.home      wildcard
#                                                      |                               *.cname     CNAME for each
#                                                      |                               *.multi     A for each
#                                                      '----- router2: both.multi's second address
. "$(dirname "$0")/lib.sh"
need_daemons

# address_of [OPTION...] NAME
address_of() {
	on en dig +short "$@"
}

# is_virtual [OPTION...] NAME: the answer is one virtual address and nothing else.
is_virtual() {
	local answer
	answer=$(address_of "$@")
	echo "$answer"
	[[ $answer =~ ^240(\.[0-9]+){3}$ ]]
}

# has_no TYPE NAME: the name is there, without such a record.
has_no() {
	local answer
	answer=$(on en dig +noall +comments +answer "$2" "$1")
	echo "$answer"
	[[ $answer == *"status: NOERROR"*"ANSWER: 0,"* ]]
}

# as_authoritative [OPTION...] NAME: the proxy changes nothing that the zone's server says.
as_authoritative() {
	local direct proxied
	direct=$(on en dig @192.0.2.53 +noall +answer +comments "$@" | grep -vE '^;;.*(id:|cookie)|COOKIE')
	proxied=$(on en dig +noall +answer +comments "$@" | grep -vE '^;;.*(id:|cookie)|COOKIE')
	diff <(echo "$direct") <(echo "$proxied")
}

web() {
	on en curl -sS --max-time 4 "http://$1/"
}

same_address() {
	[[ $(address_of "$1") == "$(address_of "$2")" ]]
}

stays_the_same() {
	local round first
	first=$(address_of "$1")
	for round in {1..5}; do
		[[ $(address_of "$1") == "$first" && $(address_of +tcp "$1") == "$first" ]] || return 1
	done
}

all_addresses() {
	local name
	for name in {alice,bob,mallory,nobody}.home {alice,bob}.cname {alice,bob}.multi carol.home2 x.plain; do
		echo "$name $(address_of "$name.example.net")"
	done
}

all_differ() {
	all_addresses
	[[ -z $(all_addresses | cut -d ' ' -f 2 | sort | uniq -d) ]]
}

# For a home, N3 says 240.B.C.D: C is of the domain, D of the host name.
octets_follow_names() {
	local alice bob elsewhere
	IFS=. read -ra alice < <(address_of alice.home.example.net)
	IFS=. read -ra bob < <(address_of bob.home.example.net)
	IFS=. read -ra elsewhere < <(address_of alice.multi.example.net)
	echo "${alice[*]} / ${bob[*]} / ${elsewhere[*]}"
	[[ ${alice[1]} == 0 && ${alice[2]} == "${bob[2]}" && ${alice[3]} != "${bob[3]}" ]] &&
		[[ ${alice[2]} != "${elsewhere[2]}" && ${alice[3]} == "${elsewhere[3]}" ]]
}

libc_sees_only_virtual() {
	local seen
	seen=$(on en getent ahosts "$1" | awk '{ print $1 }' | sort -u)
	echo "$seen"
	[[ $seen == "$(address_of "$1")" ]]
}

edns_of() {
	on en dig "$@" | grep -c 'EDNS: version: 0' || true
}

relation() {
	on en natf-endd status --json | /usr/bin/python3 -c '
import json, sys
for row in json.load(sys.stdin)["names"]:
    if row["name"] == sys.argv[1]:
        print(row["address"], row["home"], ",".join(row["routers"]))' "$1"
}

# A second router that serves the same key, as a home with two uplinks has it; both its addresses stand under one name.
add_second_router() {
	local key
	key=$(on router1 awk '$1 == "laptop" { print $3 }' /etc/natf/keys)
	on router2 sh -c "echo 'spare 4711 $key' >>/etc/natf/keys"
	printf "\nconfig peer 'spare'\n\toption id '4711'\n\nconfig host 'both'\n\toption ip '192.168.1.10'\n\toption access 'allow'\n" |
		on router2 sh -c 'cat >>/etc/config/natf'
	lab start routerd router2
	on inet nft -f - <<<'table ip dead { chain forward { type filter hook forward priority 0; ip daddr 203.0.113.2 drop; }; }'
}

lab_up
lab start routerd router1
lab start endd en

check "a wildcard A becomes a virtual address (N1, N2)" is_virtual alice.home.example.net
check "a CNAME for the host becomes one, without the alias (N1, N2)" is_virtual alice.cname.example.net
check "a CNAME that leads out of its domain becomes one (N1)" is_virtual bob.cname.example.net
check "an A for the host becomes one (N1, N2)" is_virtual bob.multi.example.net
check "two A under one name become one (N1)" is_virtual both.multi.example.net
check "over TCP, too (N2)" is_virtual +tcp alice.cname.example.net
check "without EDNS, too (N2)" is_virtual +noedns bob.multi.example.net
check "whoever asks with EDNS is answered with EDNS" test "$(edns_of alice.home.example.net)" = 1
check "whoever asks without is answered without" test "$(edns_of +noedns alice.home.example.net)" = 0
check "the wildcard's alice is reached by her name (N1)" prints "server of alice" web alice.home.example.net
check "the CNAME's alice is (N1)" prints "server of alice" web alice.cname.example.net
check "the CNAME's bob is (N1)" prints "server of bob" web bob.cname.example.net
check "the A's bob is (N1)" prints "server of bob" web bob.multi.example.net

for type in AAAA HTTPS SVCB ANY; do
	check "$type of a home's host leads nobody around the virtual address (N2)" has_no "$type" bob.multi.example.net
done
check "a program that asks libc for every address sees the virtual one alone (N2)" libc_sees_only_virtual bob.multi.example.net
check "the relation names host, home and router (N2)" prints '^240\S+ multi 203.0.113.2$' relation bob.multi.example.net
check "the relation of two A names both (N1)" prints '203.0.113.2,203.0.114.2$|203.0.114.2,203.0.113.2$' relation both.multi.example.net

check "the home's own name keeps its real address" prints '^203.0.113.2$' address_of home.example.net
check "an ordinary name is passed as it is" as_authoritative www.example.org
check "a name beside the homes is passed as it is" as_authoritative ns.example.net
check "other records are passed as they are" as_authoritative TXT text.example.org
check "a name that does not exist does not come to exist" as_authoritative nothing.example.org
check "nor does one below a home without a wildcard" as_authoritative nobody.multi.example.net

check "the address follows N3: 240.0, the domain's octet, the host's octet" octets_follow_names
check "every name has an address of its own (N3)" all_differ
check "a name has the same address in capitals" same_address alice.home.example.net ALICE.Home.Example.NET
check "a name keeps its address, query after query (N3)" stays_the_same alice.home.example.net

before=$(all_addresses)
lab stop endd en
check "after a stop the resolver is as before" prints '^203.0.113.2$' address_of alice.home.example.net
lab start endd en
check "names keep their addresses over a restart (N3)" test "$(all_addresses)" = "$before"
lab stop endd en KILL
lab start endd en
check "names keep their addresses over a kill (N3)" test "$(all_addresses)" = "$before"
check "and are reached by them" prints "server of alice" web alice.cname.example.net

add_second_router
begin=$EPOCHREALTIME
page=$(web both.multi.example.net) || page="no answer"
took=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }")
check "while the first router is dead, the name's second address is used, after $took s (N1)" test "$page" = "This is the web server of carol."
check "no virtual and no private address was seen on the internet" nothing_leaked
