#!/usr/bin/env bash
#
# Who is on the LAN (N13): what DHCP leases, the neighbour table, NetBIOS and dynamic updates say is shown and proposed, never trusted.
#
#   dns 192.0.2.54 ── inet ── router1 (natf-routerd) ─┬─ alice   .10  registers a name (T1); NetBIOS ALICE-PC
#   named                     leases                  ├─ bob     .11  lease "gamebox"; NetBIOS name of "alice"
#                                                     └─ mallory .12  hostile NetBIOS answers
. "$(dirname "$0")/lib.sh"
need_daemons

hosts() { on router1 natf-routerd hosts --discovered "$@"; }
# row ADDRESS JQ-CONDITION
row() {
	hosts --json | jq -e --arg address "$1" "[.discovered[] | select(.address == \$address)] | length == 1 and (.[0] | $2)" ||
		{
			hosts
			return 1
		}
}
counter() { on router1 natf-routerd counters --json | jq ".$1"; }
from_leases() { on router1 sh -c "cat >$leases"; }

lab_up
leases=$(lab dir)/router1/leases
from_leases <<-LEASES
	1795274887 02:00:00:00:01:11 192.168.1.11 gamebox 01:02:00:00:00:01:11
	1795274887 02:00:00:00:01:77 192.168.1.77 * *
	duid 00:01:00:01:32:93:cc:2f:02:d4:10:7f:2a:af
LEASES
for netbios in alice:ALICE-PC bob:ALICE 'mallory:!EVIL'; do
	on "${netbios%%:*}" setsid python3 "$tests/lab/netbios.py" "${netbios#*:}" </dev/null >/dev/null 2>&1 &
done
serves_netbios() { [[ -n $(on "$1" ss -Hlnu 'sport = :137') ]]; }
for host in alice bob mallory; do
	on "$host" ping -qc 1 192.168.1.1 >/dev/null
	eventually 5 serves_netbios "$host"
done
before=$(on router1 md5sum /etc/config/natf)
lab start routerd router1 --leases "$leases"

check "alice is seen as a neighbour, with her NetBIOS name (N13)" \
	row 192.168.1.10 '.mac == "02:00:00:00:01:10" and .seen == ["neighbour", "netbios"] and .names[0].name == "alice-pc"'
check "her row covers her (N13)" row 192.168.1.10 '.hosts == ["alice"] and .access == "allow" and .proposed == null'
check "bob is seen by his lease, too (N13)" \
	row 192.168.1.11 '.seen == ["lease", "neighbour", "netbios"] and .names[0] == {name: "gamebox", source: "lease"}'
check "who calls himself by the name of alice's row is marked (N13)" row 192.168.1.11 '.claims == ["alice"]'
check "a denied host is shown as one (N13)" row 192.168.1.12 '.access == "deny"'
check "a lease without a name is a host without a name (N13)" row 192.168.1.77 '.names == [] and .hosts == null and .proposed == null'
check "the WAN's neighbours are nobody's business (N13)" not row 203.0.113.1 true
check "hostile answers are counted" test "$(counter netbios_malformed)" -ge 1
check "and name nobody (N13)" row 192.168.1.12 '.names == []'
check "the table for people says what it is worth" prints 'anybody on the LAN may take any' hosts

printf 'server 192.0.2.54\nzone dyn.example.net\nupdate add kitchen.dyn.example.net 60 A 192.168.1.10\nsend\n' |
	on alice nsupdate -k "$(lab dir)/dns/named/home.key"
check "a registered name is shown as such (T1, N13)" \
	eventually 3 row 192.168.1.10 '.names | any(. == {name: "kitchen.dyn.example.net", source: "update"})'

from_leases <<-LEASES
	1795274887 02:00:00:00:09:99 192.168.1.99 printer *
	1795274887 02:00:00:00:09:98 192.168.1.98 alice *
LEASES
check "a new host is proposed by its name (N13)" row 192.168.1.99 '.proposed == "printer" and .hosts == null'
check "but cannot be reached (N13)" not on router1 natf-routerd why printer tcp:80 --peer laptop
check "a host that takes a name by DHCP is marked (N13)" row 192.168.1.98 '.claims == ["alice"] and .proposed == null'
check "and does not get the row of that name (N13)" prints '192.168.1.10' on router1 natf-routerd why alice tcp:80 --peer laptop
check "nothing was written into the configuration (N13)" test "$before" = "$(on router1 md5sum /etc/config/natf)"

python3 -c 'for n in range(3000): print(f"1 02:00:00:01:{n >> 8:02x}:{n & 255:02x} 10.{n >> 8}.{n & 255}.9 host{n}")' | from_leases
bounded() { [[ $(hosts --json | jq '.discovered | length') == 512 ]]; }
check "a flood of leases is cut off (N13)" bounded
check "the router answers as before" prints '^version' on router1 natf-routerd status
