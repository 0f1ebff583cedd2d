#!/usr/bin/env bash
#
# TSN when something goes wrong: wrong key, stopped and killed daemons, a silent router, revocation, a reload. Nobody
# who asked for a host ends up at the router itself, whose own web server is open to the internet here.
#
#   client ── inet ──┬── router1 (own web server) ──┬── alice, bob
#                    └── isp (tsn-dnsd)             └── mallory
. "$(dirname "$0")/lib.sh"
need_daemons natf-routerd tsn-dnsd

web() {
	on client curl -sS --max-time 5 "http://$1.home.example.net/"
}

asked() {
	on client dig +tries=1 +time=3 @192.0.3.53 "$1.home.example.net" "${@:2}"
}

# no_address NAME CODE
no_address() {
	local answer
	answer=$(asked "$1" +noall +comments)
	echo "$answer"
	grep -q "status: NOERROR" <<<"$answer" && grep -q "ANSWER: 0" <<<"$answer" && grep -q "EDE: $2 " <<<"$answer"
}

milliseconds() {
	local begin=${EPOCHREALTIME/./}
	"$@" >/dev/null 2>&1 || true
	echo $(((${EPOCHREALTIME/./} - begin) / 1000))
}

reload() {
	kill -HUP "$(lab pid "$1" "$2")"
	sleep 0.3
}

# A connection that lives on: one line a second, echoed.
start_talk() {
	lab exec alice setsid socat TCP-LISTEN:2000,fork,reuseaddr EXEC:cat </dev/null >/dev/null 2>&1 &
	eventually 3 on alice sh -c 'ss -Hltn sport = :2000 | grep -q .'
	talk=$(lab dir)/talk
	mkfifo "$talk.in"
	lab exec client setsid socat - TCP4:alice.home.example.net:2000 <"$talk.in" >"$talk.out" 2>&1 &
	exec 9>"$talk.in"
}

says() {
	echo "$1" >&9
	eventually 4 grep -q "^$1$" "$talk.out"
}

lab_up
# The router's own server is open to the internet here.
on router1 nft insert rule inet fw4 input_wan tcp dport 80 accept
lab start routerd router1
lab start dnsd isp
check "the router's own server can be reached from the internet" prints "server of router1" on client curl -sS --max-time 3 http://203.0.113.2/
check "a client that asked for alice is guided to her, not to the router (T7)" prints "server of alice" web alice
start_talk
check "a connection to alice stands" says one

# The router's daemon.
kill -KILL "$(lab pid routerd router1)"
check "routerd is killed: the connection lives on" says two
check "new names have no address, rather than the router's" no_address alice 22
check "alice is not reached, and the router's server neither" not web alice
lab stop routerd router1 KILL
lab start routerd router1
check "it is back: the next try works" prints "server of alice" web alice
check "the connection lives on" says three

# The server.
lab stop dnsd isp KILL
check "dnsd is killed: the connection lives on" says four
lab start dnsd isp
check "it is back: the next try works, its counters go on above the old ones" prints "server of alice" web alice

# A silent router.
on inet nft add table ip deaf
on inet nft 'add chain ip deaf forward { type filter hook forward priority -300; }'
on inet nft 'add rule ip deaf forward ip daddr 203.0.113.2 icmp type echo-request drop'
lab stop dnsd isp
lab start dnsd isp
check "a silent router delays the answer by the limit" test "$(milliseconds asked alice)" -lt 900
check "once" test "$(milliseconds asked alice)" -lt 300
check "and there is no address" no_address alice 23
on inet nft delete table ip deaf
sleep 1.1
asked alice >/dev/null
sleep 0.2
check "it speaks again: the next try works" prints "server of alice" web alice

# Revocation.
# A question that no connection follows has a turn for a moment (T9).
sleep 2
check "bob is reached" prints "server of bob" web bob
on router1 sed -i "/config host 'alice'/,/access/s/allow/deny/" /etc/config/natf
reload routerd router1
says five || true
check "alice is denied now: the standing connection is cut" not grep -q '^five$' "$talk.out"
check "and new ones get no address" no_address alice 18
check "bob is not concerned" prints "server of bob" web bob
on router1 sed -i "/config host 'alice'/,/access/s/deny/allow/" /etc/config/natf
reload routerd router1
sleep 2
check "alice is allowed again" prints "server of alice" web alice

# Keys.
on isp sed -i "s/^home 4720 .*/home 4720 $(head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d =)/" /etc/tsn-dnsd/keys
reload dnsd isp
check "a wrong key gets no address" no_address alice 22
check "and nobody to the router's own server" not web alice

# Configuration.
on isp sh -c 'printf "config server\n\toption porrt 53\n" >>/etc/config/tsn-dnsd'
check "check names the line of a mistake" not on isp tsn-dnsd check
reload dnsd isp
check "a bad reload keeps the old configuration" prints '^198.51.101.10$' on client dig +short @192.0.3.53 www.example.org
check "no private address was seen on the internet" nothing_leaked
