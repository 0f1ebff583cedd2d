#!/usr/bin/env bash
#
# Names that hosts register by themselves (T1): alice's dynamic update passes the router on its way to the DDNS server;
# from the server's consent on, clients can be announced to the registered name.
#
#   isp (TSN server) ── inet ── router1 (natf-routerd) ─┬─ alice 192.168.1.10  nsupdate
#   dns 192.0.2.54 ────'        203.0.113.2             '─ bob   192.168.1.11
#   named, dyn.example.net
. "$(dirname "$0")/lib.sh"
need_daemons

announce() {
	on isp "$NATF_BIN/natf-bench" notify 203.0.113.2 192.0.3.53 "$isp_key" 4720 "$1" 198.51.102.10
}

# update HOST [OPTION...]: sends the lines of its input to the server.
update() {
	on "$1" nsupdate "${@:2}" -k "${update_key:-$dir/dns/named/home.key}"
}

# register HOST NAME ADDRESS [OPTION...]
register() {
	printf 'server 192.0.2.54\nzone dyn.example.net\nupdate delete %s A\nupdate add %s 60 A %s\nsend\n' "$2" "$2" "$3" |
		update "$1" "${@:4}"
}

# withdraw HOST NAME [OPTION...]
withdraw() {
	printf 'server 192.0.2.54\nzone dyn.example.net\nupdate delete %s A\nsend\n' "$2" | update "$1" "${@:3}"
}

names() {
	on router1 natf-routerd names
}

counter() {
	on router1 natf-routerd counters --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

reload() {
	kill -HUP "$(lab pid routerd router1)"
	sleep 0.2
}

lab_up
dir=$(lab dir)
isp_key=$(key_hex router1 isp)
lab start routerd router1

check "before its registration the name is unknown" prints unknown_host announce kitchen.dyn.example.net
check "alice registers a name by UDP" register alice kitchen.dyn.example.net 203.0.113.2
check "the server has it" prints '^203.0.113.2$' on alice dig +short @192.0.2.54 kitchen.dyn.example.net
check "the router has learned it (T1)" prints 'kitchen.dyn.example.net +192.168.1.10 +alice +192.0.2.54' names
check "clients are announced to it (T1, T4)" prints guided announce kitchen.dyn.example.net
check "and reach alice (T7)" prints "server of alice" on client curl -sS --max-time 4 http://203.0.113.2/
check "alice registers another one by TCP" register alice cellar.dyn.example.net 192.168.1.10 -v
check "the router has learned it, too (T1)" prints 'cellar.dyn.example.net +192.168.1.10 +alice' names
check "bob registers with alice's address" register bob trick.dyn.example.net 192.168.1.10
check "nothing is learned from that" not prints trick names
check "it is counted" test "$(counter registrations_ignored)" -ge 1
sed "s|secret .*|secret \"$(head -c 32 /dev/urandom | base64 -w 0)\";|" "$dir/dns/named/home.key" >"$dir/wrong.key"
update_key=$dir/wrong.key
check "an update with a wrong key is refused by the server" not register alice wrong.dyn.example.net 203.0.113.2
update_key=
check "so the router learns nothing (T1)" not prints wrong names
check "the refusal is counted" test "$(counter registrations_refused)" -ge 1
check "the name moves to bob when bob registers it" register bob kitchen.dyn.example.net 192.168.1.11
check "and is bob's now (T1)" prints 'kitchen.dyn.example.net +192.168.1.11 +bob' names
check "a name of the home's own domain cannot be taken" prints '"outcome":"guided"' announce alice.home.example.net
check "alice withdraws a name by TCP" withdraw alice cellar.dyn.example.net -v
check "the router has forgotten it (T1)" not prints cellar names
check "and it is unknown again" prints unknown_host announce cellar.dyn.example.net
check "the name is written down" eventually 10 grep -q 'kitchen.dyn.example.net 192.168.1.11' "$dir/router1/etc/natf/names"
lab stop routerd router1 KILL
lab start routerd router1
check "killed and started again, the router still knows the name" prints 'kitchen.dyn.example.net +192.168.1.11 +bob' names
check "so that the client's next try works (T4)" prints guided announce kitchen.dyn.example.net
on router1 sed -i "s/list zone 'dyn.example.net'/list zone 'other.example.net'/" /etc/config/natf
reload
check "a zone that is no longer configured is forgotten" prints "no name has been learned" names
check "an update of it is not learned" register alice again.dyn.example.net 203.0.113.2
check "nor shown" prints "no name has been learned" names
lab stop routerd router1
check "with the daemon stopped, updates pass" register alice late.dyn.example.net 203.0.113.2 -v
check "nothing of the LAN was seen on the internet" nothing_leaked
