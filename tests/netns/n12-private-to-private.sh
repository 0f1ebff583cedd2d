#!/usr/bin/env bash
#
# Private to private (N12): hosts of two homes reach each other by name, both unmodified, with the same addresses.
# Each router serves its own hosts and plays the external node for its LAN; the hosts' DNS server is dnsmasq.
#
#   alice 192.168.1.10 --.                                            .-- carol 192.168.1.10
#                        |-- router1 ------------ inet ------------ router2
#   bob   192.168.1.11 --'   dnsmasq ─▶ natf-routerd      natf-routerd ◀─ dnsmasq
#                            203.0.113.2                  203.0.114.2 '-- dave  192.168.1.11
#
# A flow: alice:s -> V:80 becomes 203.0.113.2:m1 -> 203.0.114.2:n at router1, and -> carol:80 at router2.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/downloads.bash"
need_daemons

web() {
	on "$1" curl -sS --max-time 3 "http://$2/"
}

address_of() {
	on "$1" dig +short "$2"
}

udp_echo() {
	[[ $(on "$1" sh -c "echo $3 | socat -t 1 - UDP4:$2:7,sourceport=6000") == "$3" ]]
}

status() {
	on "$1" natf-routerd status --json
}

# field NODE EXPRESSION: from the status, with a Python expression over `end`.
field() {
	status "$1" | /usr/bin/python3 -c 'import json, sys; end = json.load(sys.stdin)["end"]; print(eval(sys.argv[1]))' "$2"
}

same_port_at_once() {
	local file=$(lab dir)/at-once
	web alice carol.home2.example.net >"$file.1" &
	web alice dave.home2.example.net >"$file.2" &
	web bob carol.home2.example.net >"$file.3" &
	web carol alice.home.example.net >"$file.4" &
	wait
	grep -q "server of carol" "$file.1" && grep -q "server of dave" "$file.2" &&
		grep -q "server of carol" "$file.3" && grep -q "server of alice" "$file.4"
}

# Every port under which a flow of router1 reaches router2 is one that router1 announced. A flow that has ended may be
# gone at one of them and not yet at the other.
announced_ports_arrive() {
	local announced arrived
	announced=$(field router1 '"\n".join(sorted(flow["outside"].split(":")[1] for flow in end["flows"] if flow["protocol"] == "tcp"))')
	arrived=$(on router2 conntrack -L -p tcp --orig-src 203.0.113.2 --orig-dst 203.0.114.2 2>/dev/null |
		sed -n 's/.* sport=\([0-9]*\) .* src=192.*/\1/p' | sort)
	printf 'announced: %s\narrived: %s\n' "$announced" "$arrived"
	[[ -n $arrived ]] && ! grep -vxF -- "$announced" <<<"$arrived"
}

mapped_ports_in() {
	on "$1" natf-routerd mappings --json | /usr/bin/python3 -c '
import json, sys
ports = [int(row["mapped"].split(":")[1]) for row in json.load(sys.stdin)["mappings"]]
print(ports)
sys.exit(not ports or not all(int(sys.argv[1]) <= port <= int(sys.argv[2]) for port in ports))' "$2" "$3"
}

no_syn_again() {
	[[ $(on alice nstat -az TcpRetransSegs | awk '/Retrans/ { print $2 }') == 0 ]]
}

refused_at_once() {
	local begin=$EPOCHREALTIME status=0
	web alice nobody.home2.example.net || status=$?
	((status == 7)) || return 1
	awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 1) }'
}

lab_up
large_file carol
lab start routerd router1
lab start routerd router2

check "alice and carol have the same address" prints 192.168.1.10/24 on carol ip -br addr show eth0
check "dnsmasq gives alice a virtual address for carol (N2, N12)" prints '^240\.' address_of alice carol.home2.example.net
check "dnsmasq of the other home gives carol one for alice" prints '^240\.' address_of carol alice.home.example.net
check "another name is the router's matter no more than before" prints '^198.51.101.10$' address_of alice www.example.org
check "alice reaches carol, who has alice's own address (N12)" prints "server of carol" web alice carol.home2.example.net
check "no SYN of alice was sent again (N4, N12)" no_syn_again
check "carol reaches alice, the other way round (N12)" prints "server of alice" web carol alice.home.example.net
check "bob reaches dave, who has bob's address" prints "server of dave" web bob dave.home2.example.net
check "four flows to the same port at once keep apart (N11, N12)" same_port_at_once
check "the web server of carol saw router1's address" last_visitor carol 203.0.113.2
check "router2 sees the very ports that router1 announced (N5, N12)" eventually 5 announced_ports_arrive
check "UDP goes and comes back (N12)" udp_echo alice carol.home2.example.net hello
check "UDP from the same source port reaches the other side's host, too" udp_echo carol alice.home.example.net hello
check "mappings take the lower half of the ports, flows of the LAN the upper half" mapped_ports_in router2 16384 24575
check "router1's status shows the flows of its LAN" prints carol.home2 field router1 '[flow["name"] for flow in end["flows"]]'
check "an unknown host is refused at once, not silently (N6)" refused_at_once
check "the refusal is counted" prints '^[1-9]' field router1 'end["counters"]["refused"]'
check "the router's own programs are refused at once: names of other homes are for its LAN" exits 7 web router1 carol.home2.example.net

lab start endd en
check "an ordinary external node reaches alice at the same time (N11)" prints "server of alice" web en alice.home.example.net

address=$(address_of alice carol.home2.example.net)
download alice carol.home2.example.net 500
kill -HUP "$(lab pid routerd router1)"
check "a reload of router1 keeps the flow alive" goes_on alice carol.home2.example.net
lab stop routerd router1 KILL
sleep 0.3
lab start routerd router1
check "a killed and restarted natf-routerd finds the LAN's flow again" prints carol.home2 field router1 'end["flows"]'
check "the download runs on through both" ends_whole alice carol.home2.example.net
check "carol has the same virtual address as before" prints "^$address\$" address_of alice carol.home2.example.net
check "new flows work after the restart" prints "server of carol" web alice carol.home2.example.net

on router1 sed -i "/config end/,/^$/ s/enabled '1'/enabled '0'/" /etc/config/natf
kill -HUP "$(lab pid routerd router1)"
check "switched off at a reload, nobody serves the other home's names" eventually 3 not on router1 dig +time=1 +tries=1 @127.0.0.153 carol.home2.example.net
check "status says so" prints '^None$' field router1 end
check "who kept a virtual address is refused at once" exits 7 web alice "$address"
check "the router's own half goes on" prints "server of alice" web en alice.home.example.net
on router1 sed -i "/config end/,/^$/ s/enabled '0'/enabled '1'/" /etc/config/natf
kill -HUP "$(lab pid routerd router1)"
check "switched on again, it works again" eventually 4 prints "server of carol" web alice carol.home2.example.net
check "no virtual and no private address was seen on the internet" nothing_leaked

lab stop routerd router1
check "after a stop the name leads to the other router itself, which refuses at once" exits 7 web alice carol.home2.example.net
