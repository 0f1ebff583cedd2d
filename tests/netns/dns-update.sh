#!/usr/bin/env bash
# time limit: 180 s
#
# tsn-dnsd as the DDNS server itself: real nsupdate from a home's host passes the router, which learns the name (T1); the
# zone, its wildcard and its configured records stay what they are; what was answered survives kill -9.
#
#   client ── inet ──┬── isp (tsn-dnsd, zone ddns.example.net)
#                    └── router1 (natf-routerd) ── alice  nsupdate
. "$(dirname "$0")/lib.sh"
need_daemons natf-routerd tsn-dnsd

server=192.0.3.53

asked() {
	on client dig +tries=1 +time=3 "@$server" "$@"
}

# is REGEX NAME TYPE: the short answer.
is() {
	prints "$1" asked "$2" "$3" +short
}

# update NODE KEY [OPTION...]: the lines of its input for nsupdate, behind the server and the zone.
update() {
	local node=$1 key=$2
	shift 2
	{
		printf 'server %s\nzone ddns.example.net\n' "$server"
		cat
		echo send
	} | on "$node" nsupdate -t 5 ${key:+-y "$key"} "$@"
}

# sends LINE...: a signed update of alice's.
sends() {
	printf '%s\n' "$@" | update alice "$alice"
}

# refused REGEX KEY LINE...
refused() {
	local regex=$1 key=$2 said
	shift 2
	said=$(printf '%s\n' "$@" | update alice "$key" 2>&1) && return 1
	grep -qE "$regex" <<<"$said" || {
		echo "$said"
		return 1
	}
}

counter() {
	on isp tsn-dnsd counters --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

serial() {
	asked ddns.example.net SOA +short | cut -d ' ' -f 3
}

lab_up
secret=$(head -c 32 /dev/urandom | base64 -w 0)
alice=hmac-sha256:alice:$secret
on isp tee -a /etc/config/tsn-dnsd >/dev/null <<-'EOF'

	config zone 'ddns'
		option name 'ddns.example.net'
		option ttl '30'
		list ns 'ns.ddns.example.net'
		option mail 'admin@example.net'
		list update_key 'alice'
		list update_key 'old'

	config record
		option name 'ns.ddns.example.net'
		option type 'A'
		option value '192.0.3.53'

	config record
		option name '*.guests.ddns.example.net'
		option type 'A'
		option value '203.0.113.2'

	config tsigkey 'alice'

	config tsigkey 'old'
		option algorithm 'hmac-sha1'

	config tsigkey 'bob'
		option algorithm 'hmac-sha512'
EOF
on isp sh -c "umask 077; printf '%s $secret\n' alice old bob >/etc/tsn-dnsd/tsig"
on router1 tee -a /etc/config/natf >/dev/null <<-EOF

	config ddns 'own'
		list server '$server'
		list zone 'ddns.example.net'
EOF
# Customers may ask, and so may the homes.
lab start dnsd isp
lab start routerd router1

check "the zone is there" prints 'ddns.example.net +[0-9]+' on isp tsn-dnsd zone list
check "a configured record is answered" is '^192.0.3.53$' ns.ddns.example.net A
check "with authority" prints 'flags: qr aa' asked ns.ddns.example.net A +noall +comments
check "a wildcard stands for names below it (RFC 4592)" is '^203.0.113.2$' anna.guests.ddns.example.net A
check "an empty non-terminal exists: no data" prints 'NOERROR.*' asked guests.ddns.example.net A +noall +comments
check "a name that does not exist: NXDOMAIN with the SOA" prints 'ddns.example.net.*SOA' asked none.ddns.example.net A +noall +authority
check "names below the zone never go upstream" prints 'NXDOMAIN' asked a.b.c.ddns.example.net A +noall +comments

before=$(serial)
check "alice registers her name through the router" sends "update add kitchen.ddns.example.net 60 A 203.0.113.2"
check "the server has it" is '^203.0.113.2$' kitchen.ddns.example.net A
check "the serial has risen (RFC 2136, 3.6)" test "$(serial)" -eq $((before + 1))
check "the router has learned it (T1)" prints 'kitchen.ddns.example.net +192.168.1.10 +alice' on router1 natf-routerd names
check "an update by TCP" update alice "$alice" -v <<<"update add cellar.ddns.example.net 60 A 203.0.113.2"
check "is learned, too (T1)" prints 'cellar.ddns.example.net +192.168.1.10' on router1 natf-routerd names
check "an old client signs with SHA-1, where that is configured" update alice "hmac-sha1:old:$secret" <<<"update add old.ddns.example.net 60 A 203.0.113.2"
check "nsupdate finds the zone by itself, with signed questions" \
	on alice nsupdate -y "$alice" <<<"server $server
update add found.ddns.example.net 60 A 203.0.113.2
send"
check "all types, all or nothing" sends "update add kitchen.ddns.example.net 60 AAAA 2001:db8::7" \
	"update add kitchen.ddns.example.net 60 TXT \"in the kitchen\"" "update add _http._tcp.ddns.example.net 60 SRV 0 5 80 kitchen.ddns.example.net" \
	"update add ddns.example.net 60 MX 10 kitchen.ddns.example.net" "update add alias.ddns.example.net 60 CNAME kitchen.ddns.example.net"
check "an alias is followed inside the zone" is '^203.0.113.2$' alias.ddns.example.net A

check "prerequisites that hold" sends "prereq yxdomain kitchen.ddns.example.net" "prereq nxdomain free.ddns.example.net" \
	"prereq yxrrset kitchen.ddns.example.net A 203.0.113.2" "prereq yxrrset kitchen.ddns.example.net AAAA" \
	"prereq nxrrset kitchen.ddns.example.net MX" "update add free.ddns.example.net 60 A 203.0.113.2"
check "name in use that is not: NXDOMAIN" refused NXDOMAIN "$alice" "prereq yxdomain none.ddns.example.net" "update add no.ddns.example.net 60 A 192.0.2.1"
check "name not in use that is: YXDOMAIN" refused YXDOMAIN "$alice" "prereq nxdomain kitchen.ddns.example.net" "update add no.ddns.example.net 60 A 192.0.2.1"
check "RRset that is not: NXRRSET" refused NXRRSET "$alice" "prereq yxrrset kitchen.ddns.example.net MX" "update add no.ddns.example.net 60 A 192.0.2.1"
check "RRset with another value: NXRRSET" refused NXRRSET "$alice" "prereq yxrrset kitchen.ddns.example.net A 192.0.2.9" "update add no.ddns.example.net 60 A 192.0.2.1"
check "RRset that should not be: YXRRSET" refused YXRRSET "$alice" "prereq nxrrset kitchen.ddns.example.net A" "update add no.ddns.example.net 60 A 192.0.2.1"
check "a name outside the zone: NOTZONE" refused NOTZONE "$alice" "update add www.example.org 60 A 192.0.2.1"
check "a configured record is not changed" refused REFUSED "$alice" "update delete ns.ddns.example.net A"
check "no signature: REFUSED" refused REFUSED "" "update add no.ddns.example.net 60 A 192.0.2.1"
check "a key that the zone does not list: REFUSED" refused REFUSED "hmac-sha512:bob:$secret" "update add no.ddns.example.net 60 A 192.0.2.1"
check "a key that nobody knows: BADKEY" refused BADKEY "hmac-sha256:eve:$secret" "update add no.ddns.example.net 60 A 192.0.2.1"
check "a wrong secret: BADSIG" refused BADSIG "hmac-sha256:alice:$(head -c 32 /dev/urandom | base64 -w 0)" "update add no.ddns.example.net 60 A 192.0.2.1"
check "nothing of all that was done" not is . no.ddns.example.net A
check "it was counted" test "$(counter updates_prerequisite)" -eq 5
check "and so were wrong signatures" test "$(counter tsig_bad_signature)" -ge 1
check "the router has learned nothing from refusals (T1)" not prints 'no.ddns' on router1 natf-routerd names

check "a name is withdrawn" sends "update delete cellar.ddns.example.net"
check "and gone" prints 'NXDOMAIN' asked cellar.ddns.example.net A +noall +comments
lab stop dnsd isp KILL
lab start dnsd isp
check "killed and started again, the server knows what it answered" is '^203.0.113.2$' kitchen.ddns.example.net A
check "what was withdrawn stays gone" prints 'NXDOMAIN' asked cellar.ddns.example.net A +noall +comments
on isp sh -c "printf '; forget kitchen.ddns.example.net.\nkitchen.ddns' >>/var/lib/tsn-dnsd/ddns.example.net.zone"
lab stop dnsd isp KILL
lab start dnsd isp
check "a change that a crash cut off is left out" is '^203.0.113.2$' kitchen.ddns.example.net A
check "and does not spoil the next one" sends "update add after.ddns.example.net 60 A 203.0.113.2"
lab stop dnsd isp KILL
lab start dnsd isp
check "which is there after the next start" is '^203.0.113.2$' after.ddns.example.net A
kill -HUP "$(lab pid dnsd isp)"
sleep 0.3
check "a reload keeps what was learned" is '^203.0.113.2$' kitchen.ddns.example.net A
