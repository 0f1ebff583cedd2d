#!/usr/bin/env bash
# time limit: 180 s
#
# tsn-dnsd as people know forwarders: EDNS, truncation, bad packets, and upstream servers that are dead, slow or lying.
#
#   client ── inet ──┬── isp (tsn-dnsd)
#   mallory's net    └── dns: named .54, a lying server .66
. "$(dirname "$0")/lib.sh"
need_daemons natf-routerd tsn-dnsd

asked() {
	on client dig +tries=1 +time=6 @192.0.3.53 "$@"
}

# lines NUMBER COMMAND...
lines() {
	local wanted=$1 found
	shift
	found=$("$@" | grep -c .)
	echo "$found lines"
	((found == wanted))
}

# answered NAME REGEX: the short answer.
answered() {
	prints "$2" asked "$1.hostile.test" +short
}

# fails NAME: SERVFAIL with an extended error, in less than five seconds.
fails() {
	local begin=${EPOCHREALTIME/./} answer
	answer=$(asked "$1.hostile.test" +noall +comments)
	echo "$answer"
	grep -q "status: SERVFAIL" <<<"$answer" && grep -q "EDE: " <<<"$answer" && (((${EPOCHREALTIME/./} - begin) / 1000 < 5000))
}

lab_up
on dns ip addr add 192.0.2.66/24 dev eth0
lab exec dns setsid /usr/bin/python3 "$tests/lab/hostile_dns.py" 192.0.2.66 </dev/null >/dev/null 2>&1 &
lab start dnsd isp

check "the EDNS compliance checks are clean" on client /usr/bin/python3 "$tests/lab/edns_compliance.py" 192.0.3.53 www.example.org big.example.org
check "an answer too big for a datagram comes whole over TCP" lines 60 asked big.example.org +short
check "ANY is answered minimally (RFC 8482)" prints 'HINFO' asked www.example.org ANY +noall +answer +notcp
check "the version is not told" not prints '[0-9]\.[0-9]' asked version.bind TXT CH +short
check "a zone transfer is refused" prints 'REFUSED|Transfer failed|communications error' asked example.org AXFR
check "a name that does not exist: NXDOMAIN with an SOA" prints 'NXDOMAIN' asked nothing.example.org +noall +comments
check "a type that does not exist: NOERROR with an SOA" prints 'ANSWER: 0, AUTHORITY: 1' asked www.example.org MX +noall +comments
check "somebody who may not ask is refused" prints 'REFUSED' on dns dig +tries=1 +time=3 @192.0.3.53 www.example.org +noall +comments

on isp sed -i "s/192.0.2.54/192.0.2.66/" /etc/config/tsn-dnsd
kill -HUP "$(lab pid dnsd isp)"
sleep 0.3
check "what was cached stays over the reload" prints '^198.51.101.10$' asked www.example.org +short
check "the other upstream answers" answered good '^192.0.2.1$'
check "a slow upstream: right answer" answered slow '^192.0.2.1$'
check "a wrong id is not believed" answered wrong-id '^192.0.2.1$'
check "an answer to another question is not believed" answered wrong-name '^192.0.2.1$'
check "only wrong ones: SERVFAIL" fails only-wrong
check "a dead upstream: SERVFAIL" fails dead
check "truncated: asked again over TCP" lines 100 asked +tcp truncated.hostile.test +short
check "TCP that ends in the middle: SERVFAIL" fails cut-off
check "records that nobody asked for are dropped" prints '^192.0.2.1$' asked bailiwick.hostile.test +short
check "and poison nothing" not prints '6\.6\.6\.6' asked victim.example.org +short
check "no forged address came through anywhere" not prints '6\.6\.6\.6' asked bailiwick.hostile.test
check "a compression loop: SERVFAIL" fails loop
check "a chain of pointers through 64 KB: SERVFAIL or the answer, in bounded time" prints 'SERVFAIL|NOERROR' asked chain.hostile.test +noall +comments
check "garbage: SERVFAIL" fails garbage
check "promised records that are not there: SERVFAIL" fails empty
check "SERVFAIL of the upstream: SERVFAIL" prints 'SERVFAIL' asked servfail.hostile.test +noall +comments
check "NXDOMAIN of the upstream: NXDOMAIN" prints 'NXDOMAIN' asked nxdomain.hostile.test +noall +comments
check "a TTL of 2^31 counts as 0 (RFC 2181, 8)" prints '^ttl\.hostile\.test\.\s+[0-9]{1,5}\s' asked ttl.hostile.test +noall +answer
check "a big datagram from the upstream reaches the client whole" lines 60 asked big.hostile.test +short

# Bad packets from a client.
bad_packets() {
	on client /usr/bin/python3 -c '
import os, random, socket, struct
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.connect(("192.0.3.53", 53))
random.seed(7)
good = struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + b"\3www\7example\3org\0\0\1\0\1"
for length in range(len(good)):
    link.send(good[:length])
for _ in range(3000):
    packet = bytearray(good)
    for _ in range(random.randrange(1, 6)):
        packet[random.randrange(len(packet))] = random.randrange(256)
    link.send(bytes(packet))
for _ in range(2000):
    link.send(os.urandom(random.randrange(600)))
link.send(struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1")
link.send(struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + b"\x3f" + b"a" * 63)
'
}
check "bad packets are sent" bad_packets
sleep 1
check "and change nothing: the next question is answered" answered good '^192.0.2.1$'
