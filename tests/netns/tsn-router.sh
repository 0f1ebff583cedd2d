#!/usr/bin/env bash
#
# The router's side of TSN: a TSN server announces an unmodified client, whose first packet is then led to the host
# that it was announced for (T2, T4, T7-T9). No DNS yet: the load generator speaks for the TSN server.
#
#   isp (TSN server) 192.0.3.53 ──── inet ── router1 (natf-routerd, fw4) ─┬─ alice 192.168.1.10  tcp:80, tcp:21, udp:7
#   client 198.51.102.10 ────────────┤       203.0.113.2, own web server  ├─ bob   192.168.1.11  everything
#   en3 10.0.3.10, pc3 .11 ── nat3 ──'                                    '─ mallory             denied
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/downloads.bash"
need_daemons

# announce NAME [ORIGIN]: prints what the router says to the TSN server.
announce() {
	on isp "$NATF_BIN/natf-bench" notify 203.0.113.2 192.0.3.53 "$isp_key" 4720 "$1" "${2:-198.51.102.10}"
}

guided() {
	prints '"outcome":"guided"' announce "$@"
}

# refused REASON NAME [ORIGIN]
refused() {
	prints "\"reason\":\"$1\"" announce "${@:2}"
}

# web NODE [OPTION...]: what the router's own address shows.
web() {
	on "$1" curl -sS --max-time 4 "${@:2}" http://203.0.113.2/
}

counter() {
	on router1 natf-routerd counters --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# entries REGEX: the kernel's connections that match.
entries() {
	prints "$1" on router1 conntrack -L 2>/dev/null
}

# echoed NUMBER: so many datagrams have come back through the tunnel.
echoed() {
	test "$(wc -l <"$dir/tunnelled")" == "$1"
}

reload() {
	kill -HUP "$(lab pid routerd router1)"
	sleep 0.2
}

# Rows and flows of before are of no concern to what comes next.
fresh() {
	on router1 sed -i "s/option role 'tsn'/&\\n\\toption enabled '0'/" /etc/config/natf
	reload
	on router1 sed -i "/option enabled '0'/d" /etc/config/natf
	reload
}

# What the TSN server may announce, and what alice allows.
configure() {
	on router1 sed -i -e "/option role 'tsn'/a\\	list host 'alice'\\n\\tlist host 'bob'\\n\\tlist host 'mallory'" \
		-e "/config host 'alice'/a\\	list service 'tcp:80'\\n\\tlist service 'tcp:21'\\n\\tlist service 'udp:7'" /etc/config/natf
	printf "\nconfig host 'guarded'\n\toption ip '192.168.1.11'\n\toption access 'allow'\n" |
		on router1 sh -c 'cat >>/etc/config/natf'
	isp_key=$(key_hex router1 isp)
}

# udp_burst NODE WORDS: sends them in one burst from one port, before any answer; prints what comes back.
udp_burst() {
	on "$1" /usr/bin/python3 -c '
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("203.0.113.2", 7))
client.settimeout(3)
for word in sys.argv[1:]:
    client.send(word.encode())
try:
    print(" ".join(client.recv(100).decode() for _ in sys.argv[1:]))
except OSError as error:
    print(error)' "${@:2}"
}

# field NAME JSON
field() {
	/usr/bin/python3 -c 'import json, sys; print(json.loads(sys.argv[2])[sys.argv[1]])' "$@"
}

# key_of JSON: the key in the text of an enrolment, in hexadecimal.
key_of() {
	/usr/bin/python3 -c '
import base64, json, re, sys
key = re.search("key=([^&]*)", json.loads(sys.argv[1])["uri"])[1]
print(base64.urlsafe_b64decode(key + "=").hex())' "$1"
}

# again NODE: two requests from one port, the second while the first one's connection is in TIME_WAIT.
again() {
	on "$1" /usr/bin/python3 -c '
import http.client
for _ in range(2):
    connection = http.client.HTTPConnection("203.0.113.2", timeout=4, source_address=("", 40123))
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
    connection.request("GET", "/")
    print(connection.getresponse().read().decode().strip(), end=" ")
    connection.close()'
}

# closed_port NODE: a datagram to a port that bob does not listen on; then what the socket hears.
closed_port() {
	guided bob.home.example.net >/dev/null
	on "$1" /usr/bin/python3 -c '
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("203.0.113.2", 4999))
client.settimeout(3)
try:
    client.send(b"x")
    client.recv(10)
except ConnectionRefusedError:
    print("refused")'
}

lab_up
dir=$(lab dir)
configure
on router1 nft insert rule inet fw4 input_wan tcp dport 80 accept
lab start routerd router1

# --- announced, refused ---------------------------------------------------------------------------------
check "without an announcement the client sees the router itself (T8)" prints "server of router1" web client
check "a notification is answered with the row's lifetime (T4)" prints '"lifetime":90' announce alice.home.example.net
check "the guide shows the row (T2)" prints '198.51.102.10 +alice +192.168.1.10 +tcp:80,tcp:21,udp:7 +isp' on router1 natf-routerd guide
check "the announced client reaches alice at the router's address (T7)" prints "server of alice" web client
check "alice sees the client's own address (T7)" last_visitor alice 198.51.102.10
check "so does every further connection while the row lives" prints "server of alice" web client
check "the flow is one of the mappings" prints 'alice +isp +tcp +198.51.102.10:[0-9]+ +203.0.113.2:80 +192.168.1.10:80' on router1 natf-routerd mappings
check "another client is not concerned (T8)" prints "server of router1" web en
check "a denied host is refused with its reason (T4)" refused denied mallory.home.example.net
check "an unknown name is, too" refused unknown_host nobody.home.example.net
check "and one of another domain" refused unknown_host alice.example.org
check "a host beyond the server's scope is" refused peer_not_allowed guarded.home.example.net
isp_key_right=$isp_key
isp_key=${isp_key//[0-7]/0}
check "a notification with a wrong key is mirrored as the ping it is (T6)" prints mirrored announce alice.home.example.net
isp_key=$isp_key_right
check "it is counted as forged" test "$(counter forged)" -ge 1

# --- one flow, many packets -----------------------------------------------------------------------------
check "datagrams in a burst all reach alice, in their order (T7)" prints '^one two three four five$' udp_burst client one two three four five
check "there is one entry for them" test "$(on router1 conntrack -L -p udp 2>/dev/null | grep -c 'dport=7 .*src=192.168.1.10')" == 1
check "files go by FTP, whose data connections follow (T7)" \
	prints "fetched by FTP" on client curl -sS --max-time 5 ftp://203.0.113.2/readme.txt
check "a port that the host's row does not allow is the router's own (T8)" \
	exits 7 on client curl -sS --max-time 2 http://203.0.113.2:8080/

check "a port that is used again within its TIME_WAIT is led again (T7)" prints 'server of alice.*server of alice' again client
check "a closed port of a host answers with an ICMP error, which finds its way (T7)" \
	prints '^refused$' closed_port client

# --- flows that conntrack knows -------------------------------------------------------------------------
fresh
on router1 setsid socat UDP4-LISTEN:5555,fork EXEC:cat </dev/null >/dev/null 2>&1 &
on router1 nft insert rule inet fw4 input_wan udp dport 5555 accept
mkfifo "$dir/tunnel"
on client /usr/bin/python3 -c '
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("203.0.113.2", 5555))
client.settimeout(2)
for line in sys.stdin:
    client.send(b"ping")
    print(client.recv(100).decode(), flush=True)' <"$dir/tunnel" >"$dir/tunnelled" &
exec 8>"$dir/tunnel"
echo >&8
check "a flow to the router itself stands" eventually 3 grep -q ping "$dir/tunnelled"
check "then bob, to whom all is allowed, is announced" guided bob.home.example.net
led=$(counter guided)
for _ in 1 2 3 4 5; do echo >&8; done
check "the flow goes on with the router (T8)" eventually 3 echoed 6
check "it was led nowhere" test "$(counter guided)" == "$led"
check "and is looked at once" test "$(counter guide_passed)" -le 2
exec 8>&-
check "a new flow goes to bob (T7)" prints "server of bob" web client

# --- the same address, two hosts (T9) -------------------------------------------------------------------
fresh
check "bob is announced for the address of a NAT" guided bob.home.example.net 203.0.116.2
check "and then alice, for the same" guided alice.home.example.net 203.0.116.2
check "the first flow is bob's (T9)" prints "server of bob" web pc3
check "the second is alice's (T9)" prints "server of alice" web en3
fresh
check "alice is announced for it first" guided alice.home.example.net 203.0.116.2
check "and then bob" guided bob.home.example.net 203.0.116.2
check "what alice does not allow is bob's, whoever came first (T9)" \
	prints "iperf3?|Connected|connected" on en3 /usr/bin/python3 -c '
import socket
print("connected", socket.create_connection(("203.0.113.2", 5201), timeout=3).getpeername())'
check "and alice's turn is still hers" prints "server of alice" web en3

# --- at home --------------------------------------------------------------------------------------------
fresh
check "a client at home is announced by the router's own address" guided alice.home.example.net 203.0.113.2
check "it reaches alice all the same (T7)" prints "server of alice" on bob curl -sS --max-time 4 http://203.0.113.2/
check "the router's address in the LAN is the router's" prints "server of router1" on bob curl -sS --max-time 4 http://192.168.1.1/

# --- enrolled by command -----------------------------------------------------------------------------------
fresh
uri=$(on router1 natf-routerd peer add cafe --role tsn --host alice --json)
cafe() {
	on isp "$NATF_BIN/natf-bench" notify 203.0.113.2 192.0.3.53 "$(key_of "$uri")" "$(field id "$uri")" "$1" 198.51.102.10
}
check "a second TSN server is enrolled by a command" prints '"peer":"cafe"' echo "$uri"
check "it announces the host that it is for" prints guided cafe alice.home.example.net
check "and no other" prints peer_not_allowed cafe bob.home.example.net
check "removed, it is nobody" prints revoked on router1 natf-routerd peer remove cafe
check "and its row has ended" prints "no client is announced" on router1 natf-routerd guide

# --- revoked, restarted -----------------------------------------------------------------------------------
fresh
large_file alice bob
guided alice.home.example.net >"$dir/announced"
download client 203.0.113.2 200
check "a download from alice runs" goes_on client 203.0.113.2
lab stop routerd router1 KILL
check "with the daemon killed it goes on" goes_on client 203.0.113.2
check "a notification is mirrored while the daemon is down (T6)" prints mirrored announce alice.home.example.net
lab start routerd router1
check "after the restart the flow is found by its label" prints 'alice +isp +tcp +198.51.102.10' on router1 natf-routerd mappings
check "rows are gone" prints "no client is announced" on router1 natf-routerd guide
check "a new flow sees the router until the client is announced again (T8)" prints "server of router1" web client
check "the next announcement leads it again (T4)" guided alice.home.example.net
check "to alice (T7)" prints "server of alice" web client
on router1 nft flush ruleset
on router1 nft -f - <"$tests/lab/fw4.nft"
check "after a flushed ruleset our table is back" eventually 4 on router1 nft list table ip natf
sleep 0.2
check "and the row still leads to alice" prints "server of alice" web client

# --- ports that no host offers --------------------------------------------------------------------------
# looked_at PORT: whether the daemon meets a connection to the port of a client that has a row.
looked_at() {
	local before
	before=$(counter guide_unmatched)
	on client curl -sS --max-time 2 "http://203.0.113.2:$1/" 2>/dev/null || true
	test "$(counter guide_unmatched)" -gt "$before"
}
check "where some host offers every port, a connection to any is looked at" looked_at 8080
on router1 sed -i "/config host '\(bob\|guarded\|mallory\)'/a\\	list service 'tcp:8000-8010'" /etc/config/natf
reload
check "the row survives other services" prints '198.51.102.10 +alice' on router1 natf-routerd guide
check "and still leads to alice" prints "server of alice" web client
check "a port that no host offers is the kernel's alone (T8)" not looked_at 8080
check "one that another host offers is looked at" looked_at 8005

on router1 nft insert rule inet fw4 input_wan tcp dport 80 accept
on router1 sed -i "/config host 'alice'/,/^\$/ s/option access 'allow'/option access 'deny'/" /etc/config/natf
reload
check "alice denied: the row ends" prints "no client is announced" on router1 natf-routerd guide
check "so does the download, though alice would send on" breaks client 203.0.113.2
check "no entry is left" eventually 1 not entries 'src=192.168.1.10 '
check "the TSN server hears it" refused denied alice.home.example.net
check "nothing of the LAN was seen on the internet" nothing_leaked
