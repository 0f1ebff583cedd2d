#!/usr/bin/env bash
#
# TSN: a client that runs nothing of ours reaches allowed hosts behind NAT routers, because its DNS server announces
# it to the router (T3-T10).
#
#   client ──┬── inet ──┬── router1 ──┬── alice, bob      allowed
#   isp ─────┘          │             └── mallory         denied
#   (tsn-dnsd)          ├── router2 ───── carol, dave     the same private addresses
#                       ├── plain                         a router without TSN
#                       └── nat3 ─────┬── en3, pc3        two unmodified hosts with one public address
#                                     '
. "$(dirname "$0")/lib.sh"
need_daemons natf-routerd tsn-dnsd

# web NODE NAME
web() {
	on "$1" curl -sS --max-time 5 "http://$2/"
}

# asked NODE NAME [DIG-OPTION...]: the whole answer.
asked() {
	on "$1" dig +tries=1 +time=3 @192.0.3.53 "$2" "${@:3}"
}

# counted NAME: a counter of the TSN server.
counted() {
	on isp tsn-dnsd counters --json | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

# milliseconds COMMAND...
milliseconds() {
	local begin=${EPOCHREALTIME/./}
	"$@" >/dev/null 2>&1 || true
	echo $(((${EPOCHREALTIME/./} - begin) / 1000))
}

at_once() {
	local a b
	a=$(mktemp) b=$(mktemp)
	web client alice.home.example.net >"$a" &
	web client bob.home.example.net >"$b"
	wait $!
	grep -q "server of alice" "$a" && grep -q "server of bob" "$b"
	local status=$?
	rm -f "$a" "$b"
	return $status
}

# A short answer: each connection attempt is announced.
short_lived() {
	local ttl
	ttl=$(asked client alice.home.example.net +noall +answer | awk '{ print $2 }')
	echo "TTL $ttl"
	((ttl <= 5))
}

# no_address NODE NAME CODE: NOERROR, no address, an SOA, and this extended error.
no_address() {
	local answer
	answer=$(asked "$1" "$2" +noall +comments +answer +authority)
	echo "$answer"
	grep -q "status: NOERROR" <<<"$answer" && grep -q "ANSWER: 0, AUTHORITY: 1" <<<"$answer" && grep -q "EDE: $3 " <<<"$answer"
}

lab_up
lab start routerd router1
lab start routerd router2
lab start dnsd isp

check "an ordinary name is answered" prints "server of stranger" web client www.example.org
check "and costs no notification (T4)" test "$(counted notifications)" = 0
check "alice is reached by name (T3, T4, T7)" prints "server of alice" web client alice.home.example.net
check "bob too, on the same port (T7)" prints "server of bob" web client bob.home.example.net
check "both at once" at_once
check "alice sees the client's own address (T7)" last_visitor alice 198.51.102.10
check "a name that is a CNAME (N1)" prints "server of alice" web client alice.cname.example.net
check "a name with an A record of its own (N1)" prints "server of bob" web client bob.multi.example.net
check "hosts with the same private address behind another router" prints "server of carol" web client carol.home2.example.net
check "UDP: a datagram and its echo (T7)" prints '^hello$' on client sh -c 'echo hello | socat -t 1 - UDP4:alice.home.example.net:7'
check "the client gets the router's address (T4)" prints '^203.0.113.2$' asked client alice.home.example.net +short
check "for a few seconds only" short_lived
check "over TCP as well" prints '^203.0.113.2$' asked client alice.home.example.net +short +tcp
check "upper case is the same host" prints "server of alice" web client ALICE.Home.Example.NET
check "no AAAA record leads around the announcement" prints "ANSWER: 0" asked client bob.multi.example.net AAAA +noall +comments
check "no HTTPS record does" prints "ANSWER: 0" asked client bob.multi.example.net HTTPS +noall +comments

check "mallory is denied: no address, and why" no_address client mallory.home.example.net 18
check "mallory is not reached" not web client mallory.home.example.net
check "an unknown host of the home neither" no_address client nobody.home.example.net 18
long=$(printf 'x%.0s' {1..60}).home.example.net
check "a name of more than 64 bytes has no address" no_address client "$long" 18

before=$(counted notifications)
check "a router without TSN: its own server answers, as without us (T6)" prints "server of plain" web client www.plain.example.net
check "it was notified once and known after that (T6)" prints "server of plain" web client www.plain.example.net
check "so its names cost no more ICMP (T6)" test "$(counted notifications)" = $((before + 1))
check "the answer takes no longer than any other (T6)" test "$(milliseconds asked client www.plain.example.net)" -lt 300

# T8: what no row is for.
check "a port that only the router serves stays the router's without a row (T8)" not on stranger curl -sS --max-time 2 http://203.0.113.2/
check "somebody who did not ask is not guided (T8)" not prints "server of" on en curl -sS --max-time 2 http://203.0.113.2/

# T9: one public address, two hosts, two homes' hosts on the same port.
on en3 sh -c 'printf "nameserver 192.0.3.53\n" >/etc/resolv.conf'
told_apart() {
	asked en3 alice.home.example.net +short >/dev/null
	asked pc3 bob.home.example.net +short >/dev/null
	prints "server of alice" on en3 curl -sS --max-time 4 --resolve alice.home.example.net:80:203.0.113.2 http://alice.home.example.net/ &&
		prints "server of bob" on pc3 curl -sS --max-time 4 --resolve bob.home.example.net:80:203.0.113.2 http://bob.home.example.net/
}
check "two hosts behind one NAT reach two hosts, in the order of the notifications (T9)" told_apart
check "each of them also by name alone (T9)" prints "server of bob" web pc3 bob.home.example.net

# T10: the second name server.
check "the TSN server is stopped" lab stop dnsd isp
check "ordinary names are resolved by the second server (T10)" prints "server of stranger" web client www.example.org
check "no private address was seen on the internet" nothing_leaked
