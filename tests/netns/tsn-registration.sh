#!/usr/bin/env bash
#
# Registration (T1): alice registers her own name by a dynamic update to a real server (BIND), through her router, which
# reads name and address from it. A client without anything of ours then reaches her under that name.
#
#   client ── inet ──┬── dns (named: dyn.example.net) ◀── update ── router1 ──┬── alice, bob
#                    └── isp (tsn-dnsd)                                       └── mallory
. "$(dirname "$0")/lib.sh"
need_daemons natf-routerd tsn-dnsd

web() {
	on client curl -sS --max-time 5 "http://$1.dyn.example.net/"
}

# update NODE OPTIONS LINE...
update() {
	local node=$1 options=$2
	shift 2
	{
		printf 'server 192.0.2.54\nzone dyn.example.net\n'
		printf '%s\n' "$@"
		echo send
	} >"$directory/$node/update"
	# shellcheck disable=SC2086
	on "$node" nsupdate $options "$directory/$node/update"
}

learned() {
	on router1 natf-routerd names
}

lab_up
directory=$(lab dir)
key="-k $directory/dns/named/home.key"
printf "\nconfig ddns 'provider'\n\tlist server '192.0.2.54'\n\tlist zone 'dyn.example.net'\n" | on router1 sh -c 'cat >>/etc/config/natf'
lab start routerd router1
lab start dnsd isp

check "before: the name does not exist" not prints "server of" web laptop
check "alice registers herself over UDP" update alice "$key" "update add laptop.dyn.example.net 5 A 203.0.113.2"
check "the router has learned the name (T1)" eventually 3 prints 'laptop\.dyn\.example\.net.*192\.168\.1\.10' learned
check "the client reaches alice by it (T1, T4, T7)" prints "server of alice" web laptop
check "bob registers himself over TCP" update bob "-v $key" "update add desk.dyn.example.net 5 A 203.0.113.2"
check "the router has learned that, too (T1)" eventually 3 prints 'desk\.dyn\.example\.net.*192\.168\.1\.11' learned
check "the client reaches bob by it (T1)" prints "server of bob" web desk

check "an update without the key is refused by the server" not update bob "" "update add laptop.dyn.example.net 5 A 203.0.113.2"
check "and teaches the router nothing (T1)" not prints 'laptop\.dyn\.example\.net.*192\.168\.1\.11' learned
check "alice is still who she was" prints "server of alice" web laptop
check "mallory registers, but is denied" update mallory "$key" "update add evil.dyn.example.net 5 A 203.0.113.2"
check "so the name leads nowhere (N6)" not prints "server of" web evil
check "an update of another server teaches nothing" not prints 'other' learned

check "alice withdraws her name" update alice "$key" "update delete laptop.dyn.example.net A"
check "the router forgets it (T1)" eventually 3 not prints 'laptop' learned
check "no private address was seen on the internet" nothing_leaked
