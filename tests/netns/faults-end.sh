#!/usr/bin/env bash
#
# The external node's daemon dies: what is established runs on in the kernel, no name leads to the router itself,
# and nothing hangs.
#
#   en 198.51.100.10 (natf-endd: killed, started again, stopped) ─ inet ─ router1 ─┬─ alice 192.168.1.10
#                                                                                  '─ bob   192.168.1.11
#
# Also: a router that is silent, a wrong key, a bad configuration, and another program that removes our table.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/downloads.bash"
need_daemons

web() {
	on en curl -sS --max-time "${2:-4}" "http://$1/"
}

status() {
	on en natf-endd status --json | /usr/bin/python3 -c 'import json, sys; status = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}

address_of() {
	on en dig +short "$1"
}

# fails_at_once COMMAND...: it fails, and in less than a second.
fails_at_once() {
	local begin=${EPOCHREALTIME/./}
	if "$@"; then return 1; fi
	local took=$(((${EPOCHREALTIME/./} - begin) / 1000))
	echo "after $took ms"
	((took < 1000))
}

resolv_conf() {
	on en cat /etc/resolv.conf
}

logs() {
	prints "$1" tail -n "${2:-5}" "$dir/en/endd.log"
}

packets=$(realpath "$(dirname "$0")/packets.py")
lab_up
dir=$(lab dir)
large_file alice
before=$(resolv_conf)
lab start routerd router1
lab start endd en
virtual=$(address_of alice.home.example.net)

# --- killed ---------------------------------------------------------------------------------------
download en alice.home.example.net 300
flow=$(status 'status["flows"][0]["source"]')
lab stop endd en KILL
check "killed in the middle of a download" goes_on en alice.home.example.net
check "a name of the home does not lead to the router itself then: no other server is asked (N10)" \
	not on en getent ahostsv4 alice.home.example.net
check "that fails at once, it does not hang" fails_at_once web alice.home.example.net
check "a new connection to the virtual address fails at once, it does not hang" fails_at_once web "$virtual"
check "so does a datagram to it" \
	prints '^(ConnectionRefused|Permission)Error' on en /usr/bin/python3 "$packets" flow udp "$virtual" 7 6000
check "resolv.conf is as it was at the kill" prints 'nameserver 127.0.0.153' resolv_conf
on en sed -i.good "s/option id '4711'/option id 'x'/" /etc/config/natf
check "a start that fails" exits 1 on en natf-endd
check "gives resolv.conf back, as a stop does: other names resolve" test "$(resolv_conf)" == "$before"
on en mv /etc/config/natf.good /etc/config/natf
lab start endd en
check "after the restart the flow is listed, with its name and its source" \
	prints "alice.home.example.net $flow" status '[flow["name"] + " " + flow["source"] for flow in status["flows"]]'
check "the virtual address is the same as before (N3)" prints "^$virtual\$" address_of alice.home.example.net
check "new connections work" prints "server of alice" web alice.home.example.net
check "the connection of before the kill runs on to its end (N9)" ends_whole en alice.home.example.net
check "no virtual and no private address was seen on the internet" nothing_leaked

# --- another program flushes ----------------------------------------------------------------------
mkfifo "$dir/en/typed"
on en socat -t 1 - TCP4:alice.home.example.net:21 <"$dir/en/typed" >"$dir/en/ftp" &
exec 9<>"$dir/en/typed"
check "a connection is open and idle" eventually 3 grep -qs '^220' "$dir/en/ftp"
# Datagrams to it every 2 ms meanwhile: what leaves untranslated is counted by the internet.
on en /usr/bin/python3 -c '
import socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(500):
    try:
        client.sendto(b"x", (sys.argv[1], 7))
    except OSError:
        pass
    time.sleep(0.002)' "$virtual" &
sender=$!
sleep 0.3
on en nft flush ruleset
check "a flushed ruleset is written again at once" eventually 1 on en nft list table ip natf_end
wait "$sender"
leaked=$(leaked virtual_leaked)
check "meanwhile $leaked datagrams left untranslated, of 500 a second" test "$leaked" -le 50
echo SYST >&9
check "the connection that was idle meanwhile goes on" eventually 3 grep -q '^530' "$dir/en/ftp"
exec 9>&-
check "new connections work after the flush" eventually 3 prints "server of bob" web bob.home.example.net

# --- the disk does not answer -----------------------------------------------------------------------
# Whoever opens a pipe for writing waits for a reader.
sleep 1
on en mkfifo /var/lib/natf/relations.new
check "a new name is answered while its state file cannot be written" prints '^240\.' address_of carol.home.example.net
sleep 0.2
check "and so are other names, meanwhile" prints '^240\.' on en dig +time=1 +tries=1 +short bob.home.example.net
check "and connections" prints "server of bob" web bob.home.example.net
on en timeout 2 cat /var/lib/natf/relations.new >"$dir/pipe"
check "the new name was to be written at once" grep -q '"carol"' "$dir/pipe"
on en rm /var/lib/natf/relations.new
check "the state file is written once the disk answers again" eventually 14 on en grep -q '"carol"' /var/lib/natf/relations.json

# --- the router does not answer ---------------------------------------------------------------------
lab stop routerd router1
check "a router whose natf-routerd is stopped is told from one without NAT-f: the connection is refused (N10)" \
	exits 7 web alice.home.example.net
check "and the log says why" logs 'alice.home.example.net tcp/80: .*(NAT-f|mirror)'
on router1 nft insert rule inet fw4 input_wan icmp type echo-request drop
sleep 2.1
check "a silent router is a refusal after a bounded time (N4)" exits 7 web bob.home.example.net 10
on router1 nft -a list chain inet fw4 input_wan | sed -n 's/.*echo-request drop # handle //p' |
	xargs -I@ "$tests/lab/lab.sh" exec router1 nft delete rule inet fw4 input_wan handle @
lab start routerd router1
sleep 2.1
check "with the daemon back it works again" eventually 5 prints "server of bob" web bob.home.example.net

# --- configuration --------------------------------------------------------------------------------
on en cp /etc/config/natf /etc/config/natf.good
on en sed -i "s/option id '4711'/option id 'x'/" /etc/config/natf
kill -HUP "$(lab pid endd en)"
check "a bad configuration at a reload is named with file and line" eventually 2 logs 'natf:[0-9]+' 9
check "and changes nothing" prints "server of alice" web alice.home.example.net
on en cp /etc/config/natf.good /etc/config/natf
on en cp /etc/natf/keys /etc/natf/keys.good
on en sed -i -E 's/^(home 4711 ).{10}/\1AAAAAAAAAA/' /etc/natf/keys
kill -HUP "$(lab pid endd en)"
sleep 0.3
check "with a wrong key the connection is refused, and never goes to the router itself (N10, N15)" exits 7 web alice.home.example.net
on en cp /etc/natf/keys.good /etc/natf/keys
kill -HUP "$(lab pid endd en)"
sleep 2.1
check "with the right key again it works" prints "server of alice" web alice.home.example.net

# --- stopped --------------------------------------------------------------------------------------
download en alice.home.example.net 500
lab stop endd en
check "stopped, it gives resolv.conf back as it was" test "$(resolv_conf)" == "$before"
check "a connection to a virtual address that somebody kept is refused at once" fails_at_once web "$virtual"
check "the established connection runs on even now (N9)" ends_whole en alice.home.example.net
check "nothing answers at the proxy's address any more" not on en dig +time=1 +tries=1 @127.0.0.153 www.example.org
