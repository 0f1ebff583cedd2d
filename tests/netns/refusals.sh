#!/usr/bin/env bash
#
# Refusals (N6, N10, N15): the application fails at once or in a bounded time, the user reads why, and nobody who asked
# for a host ends up at the router itself, whose own web server is open to the internet here.
#
#   en ── inet ── router1 ──┬── alice    tcp:80 and udp:7 only
#                 own web   ├── bob      allowed until 2020
#                 server    ├── mallory  denied
#                           '── guarded  = bob's address, for the peer "roamer" only
. "$(dirname "$0")/lib.sh"
need_daemons

# try COMMAND...: runs it on the outside node; what came of it is in `status`, `said` and `took` (milliseconds).
try() {
	local begin=${EPOCHREALTIME/./}
	status=0
	said=$(on en "$@" 2>&1) || status=$?
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
}

# try_web NAME[:PORT]
try_web() {
	try curl -sS --max-time 8 "http://$1/"
}

# try_udp NAME PORT: a datagram; what an application sees is the error on its connected socket.
try_udp() {
	try /usr/bin/python3 -c '
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect((socket.gethostbyname(sys.argv[1]), int(sys.argv[2])))
client.settimeout(8)
try:
    client.send(b"hello")
    print(client.recv(100))
except ConnectionRefusedError:
    sys.exit(7)' "$@"
}

# refused MILLISECONDS: connection refused, in that time at most, and not a word from the router's web server.
refused() {
	echo "status $status after $took ms: $said"
	((status == 7 && took <= $1)) && [[ $said != *"server of"* ]]
}

logged() {
	prints "$1" cat "$directory/en/endd.log"
}

counted() {
	prints "\"$1\":[1-9]" on router1 natf-routerd counters --json
}

# tells REGEX NODE COMMAND...: its exit status says no, and its words say why.
tells() {
	local regex=$1 words
	shift
	if words=$(on "$@" 2>&1); then return 1; fi
	echo "$words"
	grep -qE -- "$regex" <<<"$words"
}

reload_end() {
	kill -HUP "$(lab pid endd en)"
	# What was refused is not asked for again for two seconds; a reload forgets that.
	sleep 0.2
}

# The rows of the access control table.
restrict() {
	on router1 sed -i \
		-e "/config host 'alice'/a\\	list service 'tcp:80'\\n\\tlist service 'udp:7'" \
		-e "/config host 'bob'/a\\	option until '2020-01-01'" /etc/config/natf
	printf "\nconfig host 'guarded'\n\toption ip '192.168.1.11'\n\toption access 'allow'\n\tlist peer 'roamer'\n" |
		on router1 sh -c 'cat >>/etc/config/natf'
}

start_terminal() {
	on alice setsid socat TCP-LISTEN:80,fork,reuseaddr EXEC:cat </dev/null >/dev/null 2>&1 &
	eventually 3 on alice sh -c 'ss -Hltn sport = :80 | grep -q .'
	mkfifo "$directory/keys"
	on en socat -t 0.2 - TCP4:alice.home.example.net:80 <"$directory/keys" >"$directory/screen" 2>&1 &
	terminal=$!
	exec 7>"$directory/keys"
}

types() {
	echo "$1" >&7
	eventually 3 grep -qx "$1" "$directory/screen"
}

terminal_ended() {
	! kill -0 "$terminal" 2>/dev/null
}

lab_up
directory=$(lab dir)
restrict
on router1 nft insert rule inet fw4 input_wan tcp dport 80 accept
lab start routerd router1
lab start endd en
check "the router's own web server is open to the internet" prints "server of router1" on en curl -sS --max-time 2 http://203.0.113.2/
check "alice's allowed service is reached (N6)" prints "server of alice" on en curl -sS --max-time 2 http://alice.home.example.net/

try_web mallory.home.example.net
check "a denied host: connection refused after $took ms (N6)" refused 500
check "and the log says denied" logged 'mallory.home.example.net tcp/80: the router refused: .*denied'
try_web nobody.home.example.net
check "an unknown host: connection refused after $took ms (N6)" refused 500
check "and the log says unknown" logged 'nobody.home.example.net tcp/80: the router refused: .*(unknown|no host)'
try_web alice.home.example.net:81
check "a service that is not allowed: connection refused after $took ms (N6)" refused 500
check "and the log says so" logged 'alice.home.example.net tcp/81: the router refused: .*service'
try_web bob.home.example.net
check "an expired row: connection refused after $took ms (N6)" refused 500
check "and the log says so" logged 'bob.home.example.net tcp/80: the router refused: .*expired'
try_web guarded.home.example.net
check "a host for another peer: connection refused after $took ms (N6)" refused 500
check "and the log says so" logged 'guarded.home.example.net tcp/80: the router refused: .*peer'
try_udp mallory.home.example.net 7
check "UDP to a denied host: port unreachable after $took ms (N6)" refused 500
try_udp alice.home.example.net 8
check "UDP to a service that is not allowed: port unreachable after $took ms (N6)" refused 500
try_udp alice.home.example.net 7
check "UDP to the allowed one is answered (N6)" test "$status $said" = "0 b'hello'"
try_web mallory.home.example.net
check "refused once more without asking, after $took ms" refused 500
for reason in denied unknown_host service_not_allowed expired peer_not_allowed; do
	check "the router counts refused_$reason" counted "refused_$reason"
done
check "the status counts refusals" prints 'refused_by_router +[1-9]' on en natf-endd status
check "ping says the router's reason (N6)" tells 'denied' en natf-endd ping mallory.home.example.net:80
check "why says it at the router (N6)" tells 'expired' router1 natf-routerd why bob tcp:80 --peer laptop
check "refusals make no mapping (N6)" not prints '192.168.1.1[12]' on router1 natf-routerd mappings

# --- wrong and unknown keys ---------------------------------------------------------------------------
on en cp /etc/natf/keys /etc/natf/keys.good
on en sed -i -E 's/^(home 4711 ).{10}/\1AAAAAAAAAA/' /etc/natf/keys
reload_end
try_web alice.home.example.net
check "a wrong key: connection refused after $took ms, never the router's own server (N10, N15)" refused 1000
check "and the log says that the key is not recognised" logged 'alice.home.example.net tcp/80: the router at 203.0.113.2 did not recognise our key'
check "the router counts forged (N15)" counted forged
on en cp /etc/natf/keys.good /etc/natf/keys
on en sed -i 's/^home 4711/home 999/' /etc/natf/keys
on en sed -i "0,/option id '4711'/s//option id '999'/" /etc/config/natf
reload_end
try_web alice.home.example.net
check "an unknown key id: connection refused after $took ms, never the router's own server (N10, N15)" refused 1000
check "the router counts unknown_key (N15)" counted unknown_key
on en sed -i "0,/option id '999'/s//option id '4711'/" /etc/config/natf
on en cp /etc/natf/keys.good /etc/natf/keys
reload_end
check "with the right key it works again" prints "server of alice" on en curl -sS --max-time 2 http://alice.home.example.net/

# --- revocation -----------------------------------------------------------------------------------
lab stop lighttpd alice
start_terminal
check "a session on alice answers" types first
check "the peer is removed" prints 'revoked' on router1 natf-routerd peer remove laptop
check "its mappings end at once" eventually 1 not on router1 sh -c 'natf-routerd mappings | grep -q laptop'
check "and no entry of connection tracking is left" not on router1 sh -c 'conntrack -L -p tcp 2>/dev/null | grep -q dst=192.168.1.10'
echo second >&7
check "the session ends with the next key" eventually 3 terminal_ended
check "and alice did not hear it" not grep -qx second "$directory/screen"
exec 7>&-
try_web alice.home.example.net
check "a removed peer: connection refused after $took ms, never the router's own server (N10, N15)" refused 1000

# --- silence --------------------------------------------------------------------------------------
lab stop routerd router1
reload_end
try_web alice.home.example.net
check "natf-routerd stopped, pings mirrored: connection refused after $took ms (N10)" refused 1000
lab down
lab_up --echo-drop
lab start endd en
on router1 nft insert rule inet fw4 input_wan tcp dport 80 accept
directory=$(lab dir)
try_web alice.home.example.net
check "natf-routerd stopped, pings dropped: connection refused after $took ms (N4, N14)" refused 5000
check "and the log says that the router did not answer" logged 'alice.home.example.net tcp/80: the router at 203.0.113.2 did not answer'
try_web alice.home.example.net
check "the next connection does not wait again: refused after $took ms" refused 500
try_udp bob.home.example.net 7
check "UDP to a silent router: port unreachable after $took ms (N4)" refused 5000
check "no virtual and no private address was seen on the internet" nothing_leaked
