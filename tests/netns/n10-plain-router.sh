#!/usr/bin/env bash
#
# A router without NAT-f (N10): it mirrors the request as any ping, and the connection goes to the router itself, as
# without us. That is for names without a key only; with a key, a mirror is a refusal.
#
#   en ── inet ──┬── plain 203.0.115.2: no NAT-f, web server :80, UDP echo :7     *.plain.example.net, no key
#                ├── stranger 198.51.101.10: an ordinary server                   www.example.org
#                '── router1: alice                                               *.home.example.net, enrolled
. "$(dirname "$0")/lib.sh"
need_daemons

web() {
	on en curl -sS --max-time "${2:-3}" "http://$1/"
}

address_of() {
	on en dig +short "$1"
}

counter() {
	on en natf-endd status --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"][sys.argv[1]])' "$1"
}

# timed COMMAND...: what it prints goes to `page`, its time in milliseconds to `took`.
timed() {
	local begin=${EPOCHREALTIME/./}
	page=$("$@" 2>&1) || page="status $?: $page"
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
}

udp_echo() {
	[[ $(on en sh -c "echo hello | socat -t 1 - UDP4:$1:7") == hello ]]
}

nothing_retransmitted() {
	on en nstat -asz TcpRetransSegs | grep -E >/dev/null 'TcpRetransSegs +0 '
}

restart_end() {
	lab stop endd en
	lab start endd en
}

page_is() {
	echo "$page"
	[[ $page == *"$1"* ]]
}

lab_up
on plain setsid /usr/bin/python3 "$tests/lab/udp_echo.py" 7 </dev/null >/dev/null 2>&1 &
lab start routerd router1
lab start endd en

check "a name below a home without a key has a virtual address at first (N2)" prints '^240\.' address_of x.plain.example.net
timed web x.plain.example.net
check "its connection reaches the router's own web server, after $took ms (N10)" page_is "server of plain"
check "the router's server sees the outside node itself" last_visitor plain 198.51.100.10
check "one request was enough to find out (N10)" test "$(counter sent) $(counter mirrored)" = "1 1"
timed web y.plain.example.net
check "another name of that router goes there without a question, after $took ms (N10)" page_is "server of plain"
check "no request was sent for it" test "$(counter sent)" = 1
check "UDP reaches the router itself, too (N10)" udp_echo x.plain.example.net
check "a closed port of the router is refused by the router (N10)" exits 7 web x.plain.example.net:81
check "nothing was retransmitted (N4)" nothing_retransmitted
check "the status calls such flows plain" prints 'x.plain.example.net:80 = 203.0.115.2:80 \(plain' on en natf-endd status
check "ping explains it (N10)" prints 'the router itself at 203.0.115.2:22' on en sh -c 'natf-endd ping z.plain.example.net || true'
check "and its exit status is neither success nor failure (N10)" exits 3 on en natf-endd ping z.plain.example.net
check "enrolled homes are served as ever" prints "server of alice" web alice.home.example.net

# --- the same router, but silent ------------------------------------------------------------------
on inet nft -f - <<<'table ip deaf { chain forward { type filter hook forward priority 0; ip daddr 203.0.115.2 icmp type echo-request drop; }; }'
restart_end
timed web x.plain.example.net 8
check "if it drops pings, the connection is refused after $took ms, as is the default (N4)" page_is "status 7"
on en sed -i "/config end/a\\	option silent 'release'" /etc/config/natf
restart_end
timed web x.plain.example.net 8
check "with 'silent release' it reaches the router itself after $took ms (N10)" page_is "server of plain"
timed web x.plain.example.net 8
check "the next one does not wait again: $took ms" page_is "server of plain"
check "and an enrolled home that falls silent is refused all the same" test "$(
	lab stop routerd router1
	on inet nft insert rule ip deaf forward ip daddr 203.0.113.2 icmp type echo-request drop
	web alice.home.example.net 8 >/dev/null 2>&1 || echo "status $?"
)" = "status 7"
on inet nft delete table ip deaf
lab start routerd router1

# --- every name ('*'), the paper's way ------------------------------------------------------------
printf "\nconfig home 'any'\n\toption domain '*'\n" | on en sh -c 'cat >>/etc/config/natf'
restart_end
check "with the home '*' any name has a virtual address at first (N1, N2)" prints '^240\.' address_of www.example.org
timed web www.example.org
check "the connection reaches the ordinary server, after $took ms (N10)" page_is "server of stranger"
check "from then on the name keeps its real address" prints '^198.51.101.10$' address_of www.example.org
timed web www.example.org
check "so that nothing of ours is in between: $took ms" page_is "server of stranger"
check "enrolled homes come first" prints "server of alice" web alice.home.example.net

# --- with a key -----------------------------------------------------------------------------------
on en sed -i "s/option domain 'plain.example.net'/&\\n\\toption id '4711'/" /etc/config/natf
on en sh -c "sed -n 's/^home 4711/plain 4711/p' /etc/natf/keys >/tmp/key.$$ && cat /tmp/key.$$ >>/etc/natf/keys; rm /tmp/key.$$"
restart_end
timed web x.plain.example.net
check "with a key the same router is refused, after $took ms (N10)" page_is "status 7"
check "no virtual and no private address was seen on the internet" nothing_leaked
