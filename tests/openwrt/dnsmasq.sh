#!/usr/bin/env bash
# The packages beside a real dnsmasq, set up as OpenWrt has it: it answers on port 53, and asks our daemons for names of homes and for
# announced and own names, and for nothing else. Rebinding protection stays on for all other names.
#
#   dig ──▶ dnsmasq 127.0.0.1:53 ──┬──▶ natf-routerd 127.0.0.153:5354 ──┐
#                                  ├──▶ tsn-dnsd 127.0.0.1:5453 ────────┼──▶ provider's server 192.0.2.53 (a tsn-dnsd with records)
#                                  └────────────────────────────────────┘
# shellcheck source=tests/openwrt/lib.sh
. "$(dirname "$0")/lib.sh"

package_up natf tsn-dnsd
network_up
provider=$NATF_OPENWRT_TEST/provider
mkdir -p "$provider"/{run,state}
# Documentation networks would not do here: dnsmasq counts them as private.
cat >"$provider/config" <<-'UCI'
	config server 'server'
		list listen '192.0.2.53'
		list allow '0.0.0.0/0'
	config record
		option name '*.parents.example.org'
		option type 'A'
		option value '9.9.113.1'
	config record
		option name 'alice.home.example.net'
		option type 'A'
		option value '9.9.113.1'
	config record
		option name 'attack.example.com'
		option type 'A'
		option value '192.168.1.1'
	config record
		option name 'www.example.com'
		option type 'A'
		option value '9.9.100.80'
UCI
ip netns exec outside "$NATF_BIN/tsn-dnsd" -c "$provider/config" -k "$provider/keys" --run-dir "$provider/run" \
	--state-dir "$provider/state" >"$provider/log" 2>&1 &
mkdir -p "$root/tmp/resolv.conf.d"
printf '# Interface wan\nnameserver 192.0.2.53\n' >"$root/tmp/resolv.conf.d/resolv.conf.auto"
service dnsmasq start

ask() { dig +time=2 +tries=1 @127.0.0.1 "$@"; }
short() { ask +short "$@"; }
is() { [[ $(short "$1") == "$2" ]]; }
snippet() { cat "$root/tmp/dnsmasq.cfg01411c.d/$1.conf" 2>/dev/null; }
restarts() { grep -c 'dnsmasq started' "$root/tmp/procd/events"; }

check "dnsmasq answers from the provider" eventually 10 is www.example.com 9.9.100.80
check "an answer that looks like an attack is dropped" is attack.example.com ''

# --- natf: names of other homes (N12) ---------------------------------------------------------------------------------
config natf <<-'UCI'
	config router 'router'
		option domain 'home.example.net'
	config end 'end'
		list lan 'br-lan'
		option resolver 'none'
		option port '5354'
	config home 'parents'
		option domain 'parents.example.org'
UCI
service natf start
virtual() { [[ $(short "$1") == 240.* ]]; }
check "dnsmasq is told by a file" prints '^server=/parents.example.org/127.0.0.153#5354$' snippet natf
check "a name of another home has a virtual address (N12)" eventually 10 virtual carol.parents.example.org
check "other names go their way" is www.example.com 9.9.100.80
check "the protection stays on for them" is attack.example.com ''
before=$(restarts)
service natf reload
check "a reload that changes no names does not disturb dnsmasq" test "$(restarts)" = "$before"
service natf restart
check "nor does a restart" test "$(restarts)" = "$before"
check "which leaves it told" prints '^server=/parents.example.org/127.0.0.153#5354$' snippet natf
kill -STOP "$(pid_of natf)"
no_address() { ! short "$1" | grep >/dev/null '[0-9]'; }
check "while the daemon is silent its names have no address, above all not the router's (N10)" no_address dave.parents.example.org
kill -CONT "$(pid_of natf)"
kill -KILL "$(pid_of natf)"
check "nor when it has been killed" no_address erin.parents.example.org
service natf stop
check "with the service the file goes" test -z "$(snippet natf)"
check "and dnsmasq asks the provider again" eventually 5 is carol.parents.example.org 9.9.113.1
before=$(restarts)
service natf stop
check "a second stop does not disturb dnsmasq" test "$(restarts)" = "$before"

# --- tsn-dnsd: announced and own names --------------------------------------------------------------------------------
config tsn-dnsd <<-'UCI'
	config server 'server'
		list listen '127.0.0.1#5453'
	config router 'home'
		list domain 'home.example.net'
		option id '4712'
	config record
		option name 'nas.own.example.net'
		option type 'A'
		option value '192.168.1.30'
UCI
echo "home 4712 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE" >>"$root/etc/tsn-dnsd/keys"
service tsn-dnsd start
check "dnsmasq is told by a file" prints '^server=/home.example.net/127.0.0.1#5453$' snippet tsn-dnsd
check "an own record may be a private address" eventually 10 is nas.own.example.net 192.168.1.30
upstream() { in_root tsn-dnsd status | grep >/dev/null '192.0.2.53:53'; }
check "it asks the servers that the provider told this router" upstream
check "an announced name whose router does not listen has no address (T6)" no_address alice.home.example.net
came() { in_root tsn-dnsd counters --json | jq -e '.upstream_sent == 1'; }
check "as tsn-dnsd says, which asked the provider for it" came
check "other names go their way" is www.example.com 9.9.100.80
service tsn-dnsd stop
check "with the service the file goes" test -z "$(snippet tsn-dnsd)"
config tsn-dnsd <<-'UCI'
	config server 'server'
		list listen '127.0.0.1#5453'
		option upstrem '192.0.2.53'
UCI
check "a wrong configuration is named" prints "upstrem" service tsn-dnsd start
check "the last good one counts" prints '^server=/home.example.net/' snippet tsn-dnsd
service tsn-dnsd stop
rm -r "$root/etc/tsn-dnsd/good"
check "without one nothing starts" prints "upstrem" service tsn-dnsd start
check "and dnsmasq is told nothing" test -z "$(snippet tsn-dnsd)"
kill "$(<"$root/tmp/dnsmasq.pid")"
