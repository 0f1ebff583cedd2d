#!/usr/bin/env bash
# The init scripts of natf, natf-endd and tsn-dnsd: what they ask of procd, that the daemons run with no other rights than those, what
# becomes of wrong configurations, missing things and firewall reloads, and that nothing is left behind.
# shellcheck source=tests/openwrt/lib.sh
. "$(dirname "$0")/lib.sh"

package_up natf tsn-dnsd
network_up
S=$root/etc/config

asked() { grep -qxF -- "$2" "$root/tmp/procd/$1"; }
runs() { service "$1" running; }
status_of() { in_root natf-routerd status --json; }
answers() { status_of >/dev/null 2>&1; }
# The bits of a process's right, as /proc has them.
rights() { sed -n "s/^$2:\t*//p" "/proc/$(pid_of "$1")/status"; }
has() { [[ $(rights "$1" "$2") == "$3" ]]; }
mode_and_owner() { [[ $(in_root stat -c '%a %U' "$1") == "$2" ]]; }
logged() { grep -qE -- "$1" "$root/tmp/log"; }
table() { in_root nft list table ip "$1" >/dev/null 2>&1; }
forget_log() { : >"$root/tmp/log"; }

# --- as installed -------------------------------------------------------------------------------------------------
check "the packed configuration is good" in_root natf-routerd check
check "the packed configuration of tsn-dnsd is good" in_root tsn-dnsd check
service natf start
check "natf-routerd answers" eventually 10 answers
for parameter in 'param command /usr/sbin/natf-routerd -c /etc/config/natf --state-dir /etc/natf/state --leases /tmp/dhcp.leases' 'param user natf' 'param group natf' \
	'param capabilities /etc/capabilities/natf.json' 'param no_new_privs 1' 'param stdout 1' 'param stderr 1' \
	'param respawn 10 1 5' 'jail natf log procfs ronly' 'mount_rw /etc/natf/state /var/run/natf'; do
	check "procd is asked: $parameter" asked natf "$parameter"
done
check "it is told of changed configurations" asked natf 'reload_trigger natf dhcp'
check "it is told of the WAN" asked natf 'interface_trigger wan'
check "it is told of the LAN" asked natf 'interface_trigger lan'
check "it runs as natf" test "$(in_root stat -c %U "/proc/$(pid_of natf)")" = natf
check "it has NET_ADMIN and NET_RAW and nothing else" has natf CapEff 0000000000003000
check "it can get nothing else" has natf CapBnd 0000000000003000
check "it gets no new privileges" has natf NoNewPrivs 1
check "its table is there" table natf
check "nobody gets in" prints '"hosts":0.*"peers":0' status_of
check "keys are for natf alone" mode_and_owner /etc/natf/keys '600 natf'
check "the socket is for natf alone" mode_and_owner /var/run/natf/routerd.sock '600 natf'
check "tsn-dnsd does not run before it is switched on" service tsn-dnsd start
check "and is not there" not runs tsn-dnsd

# --- a peer, a host, a reload -------------------------------------------------------------------------------------
config natf <<-'UCI'
	config router 'router'
		option domain 'home.example.net'
	config host 'alice'
		option ip '192.168.1.10'
		option access 'allow'
UCI
before=$(pid_of natf)
check "a change is taken over" service natf reload
check "by the same process" test "$before" = "$(pid_of natf)"
check "which knows alice now" prints '^alice .*allow' in_root natf-routerd hosts
check "root enrols a peer" in_root natf-routerd peer add laptop
check "and the daemon's user still reads the keys" mode_and_owner /etc/natf/keys '600 natf'
check "the daemon knows the peer" prints '^laptop ' in_root natf-routerd peer list

# --- a wrong configuration ----------------------------------------------------------------------------------------
good=$(<"$S/natf")
forget_log
config natf <<<"${good/allow/alow}"
check "a wrong option is refused at a reload" not service natf reload
check "the daemon runs on" test "$before" = "$(pid_of natf)"
check "with what it had" prints '^alice .*allow' in_root natf-routerd hosts
check "the log names file, option and value" logged "/etc/config/natf.*access.*alow"
check "and so does 'service natf status'" prints "access.*alow" service natf status
check "which says what that means" prints 'has the last good one' service natf status
check "and ends with an error" not service natf status
service natf stop
check "it stops" not runs natf
check "with a wrong configuration it starts with the last good one, as after a boot" prints "access.*alow" service natf start
check "and answers" eventually 10 answers
check "with what it had" prints '^alice .*allow' in_root natf-routerd hosts
check "the log says so" logged 'started with the last good one'
config natf <<<"${good/192.168.1.10/192.168.1.13}"
check "mended, a reload takes the new one" service natf reload
new_alice() { in_root natf-routerd hosts | grep >/dev/null '^alice .*192.168.1.13'; }
check "in a new process" eventually 10 new_alice
service natf stop
mv "$root/etc/natf/good" "$root/etc/natf/away"
config natf <<<"${good/allow/alow}"
check "with neither a good one nor a last good one nothing starts" prints "access.*alow" service natf start
check "nothing runs" not runs natf
mv "$root/etc/natf/away" "$root/etc/natf/good"
config natf <<<"$good"
check "mended, a reload starts it" service natf reload
check "and it answers" eventually 10 answers
config natf <<<"${good/"option domain"/"option enabled '0'
	option domain"}"
check "switched off it ends" service natf reload
check "nothing runs" not runs natf
config natf <<<"$good"
service natf reload
eventually 10 answers

# --- the firewall -------------------------------------------------------------------------------------------------
own_table() { in_root nft list table ip natf 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]*/counter/'; }
in_root nft -f - <"$tests/lab/fw4.nft"
before_reload=$(own_table)
pid=$(pid_of natf)
# As `fw4 reload` does: everything of its table goes and comes anew, in one transaction.
{
	printf 'table inet fw4\nflush table inet fw4\ndelete table inet fw4\n'
	cat "$tests/lab/fw4.nft"
} >"$root/tmp/fw4.nft"
check "fw4 reloads" in_root nft -f /tmp/fw4.nft
check "and our table is what it was" test "$(own_table)" = "$before_reload"
# As `service firewall stop` does.
check "fw4 stops" in_root nft delete table inet fw4
check "and our table is what it was" test "$(own_table)" = "$before_reload"
in_root nft -f /tmp/fw4.nft
nothing_of_ours_in_fw4() { ! in_root nft list table inet fw4 | grep -i >/dev/null natf; }
check "nothing of ours stands in fw4's table" nothing_of_ours_in_fw4
in_root nft flush ruleset
check "after a flushed ruleset our table comes back" eventually 10 table natf
check "by the same process" test "$pid" = "$(pid_of natf)"

# As `service network restart` does: the devices go and come.
pid=$(pid_of natf)
before_reload=$(own_table)
ip link del br-lan
ip link set wan down
ip link add br-lan type bridge
ip addr add 192.168.1.1/24 dev br-lan
ip link set br-lan up
ip link set wan up
ip route replace default via 203.0.113.1
service natf reload
check "after a restart of the network the same process runs" test "$pid" = "$(pid_of natf)"
check "with the same table" test "$(own_table)" = "$before_reload"
check "and answers" answers
printf "config dnsmasq 'cfg01411c'\n\toption leasefile '/tmp/other.leases'\n" >"$S/dhcp"
service natf reload
check "another place of the leases is taken over" asked natf 'param command /usr/sbin/natf-routerd -c /etc/config/natf --state-dir /etc/natf/state --leases /tmp/other.leases'
printf "config dnsmasq 'cfg01411c'\n" >"$S/dhcp"
service natf reload
eventually 10 answers

# --- what may be missing ------------------------------------------------------------------------------------------
service natf stop
check "without live flows the stop leaves no table" not table natf
ip link set wan down
ip route flush default
service natf start
check "with the WAN down it starts" eventually 10 answers
ip link set wan up
service natf stop
forget_log
mv "$root/usr/sbin/nft" "$root/usr/sbin/nft.away"
service natf start
check "without nft the log names the package" eventually 5 logged 'nft.*install the package .nftables'
mv "$root/usr/sbin/nft.away" "$root/usr/sbin/nft"
service natf stop

# --- full flash ---------------------------------------------------------------------------------------------------
config natf <<<"$good"
mkdir "$root/tmp/kept"
cp -a "$root/etc/natf/." "$root/tmp/kept/"
mount -t tmpfs -o size=64k,mode=755 tmpfs "$root/etc/natf"
cp -a "$root/tmp/kept/." "$root/etc/natf/"
dd if=/dev/zero of="$root/etc/natf/full" bs=4k status=none 2>/dev/null || true
check "with a full flash it starts" service natf start
check "and answers" eventually 10 answers
check "a new peer is refused with the reason" prints '/etc/natf.*No space left' in_root natf-routerd peer add phone
check "and nothing is half done" prints 'good \(1 hosts, 1 peers\)' in_root natf-routerd check
service natf stop
umount "$root/etc/natf"

# --- a LAN that reaches other homes -------------------------------------------------------------------------------
end_role="$good
config end 'end'
	list lan 'br-lan'
	option resolver 'none'
	list upstream '192.0.2.53'
config home 'parents'
	option domain 'parents.example.org'
"
config natf <<<"$end_role"
service natf start
check "a DNS port below 1024 has one more right" asked natf 'param capabilities /etc/capabilities/natf-dns.json'
check "it has that right and no more" eventually 5 has natf CapEff 0000000000003400
listens() { [[ -n $(ss -Hlnu "src 127.0.0.153:$1") ]]; }
check "the proxy listens" eventually 10 listens 53
config natf <<<"${end_role/option resolver/option port '5354'
	option resolver}"
service natf reload
check "another port needs no more rights" asked natf 'param capabilities /etc/capabilities/natf.json'
check "and the proxy listens there" eventually 10 listens 5354

forget_log
config natf <<<"${end_role/option resolver \'none\'/}"
service natf reload
check "that /etc/resolv.conf stays dnsmasq's is said" logged "option resolver is 'auto'.*must be 'none'"

# --- tsn-dnsd -----------------------------------------------------------------------------------------------------
sed -i "s/enabled '0'/enabled '1'/" "$S/tsn-dnsd"
service tsn-dnsd start
dnsd_answers() { in_root tsn-dnsd status >/dev/null 2>&1; }
check "tsn-dnsd answers" eventually 10 dnsd_answers
check "as a user of its own" test "$(in_root stat -c %U "/proc/$(pid_of tsn-dnsd)")" = tsn-dnsd
check "with NET_BIND_SERVICE and NET_RAW and nothing else" has tsn-dnsd CapEff 0000000000002400
as_dnsd() { in_root setpriv --reuid tsn-dnsd --regid natf --clear-groups "$@"; }
check "which reads none of natf's keys" not as_dnsd cat /etc/natf/keys
check "nor takes natf's socket away" not as_dnsd rm /var/run/natf/routerd.sock
check "natf's user reads none of its keys" not in_root setpriv --reuid natf --regid natf --clear-groups cat /etc/tsn-dnsd/keys
service tsn-dnsd stop

# --- what the daemons' users can do to root -----------------------------------------------------------------------
as_natf() { in_root setpriv --reuid natf --regid natf --clear-groups "$@"; }
check "natf's user puts nothing in the keys' place" not as_natf mv /etc/natf/keys /etc/natf/state/keys
check "nor in that of the last good configuration" not as_natf mv /etc/natf/good /etc/natf/state/good
check "nor does tsn-dnsd's" not as_dnsd mv /etc/tsn-dnsd/keys /etc/tsn-dnsd/state/keys
check "what natf's user writes is its state" as_natf touch /etc/natf/state/own
service natf stop

# --- uci-defaults -------------------------------------------------------------------------------------------------
cp "$repository/openwrt/natf/files/etc/config/natf" "$S/natf"
printf "config interface 'lan'\n\toption device 'br-home'\nconfig interface 'wan'\n\toption proto 'pppoe'\n\toption device 'eth1'\n" >"$S/network"
in_root sh /etc/uci-defaults/natf
check "the LAN's device is taken over" prints "list lan 'br-home'" cat "$S/natf"
check "the WAN's is that of the connection" prints "list wan 'pppoe-wan'" cat "$S/natf"
check "the configuration is good" in_root natf-routerd check
once=$(<"$S/natf")
in_root sh /etc/uci-defaults/natf
check "a second run changes nothing" test "$(<"$S/natf")" = "$once"

# --- removal ------------------------------------------------------------------------------------------------------
config natf <<<"$good"
service natf start
eventually 10 answers
# What the package brings for prerm and postrm (openwrt/natf/Makefile). opkg runs prerm before it stops the service, apk after.
for script in prerm postrm; do
	sed -n "/^define Package\/natf\/$script/,/^endef/p" "$repository/openwrt/natf/Makefile" | sed '1d;$d;s/\$\$/$/g' >"$root/tmp/$script"
done
trace() { in_root sh -x "/tmp/$1" 2>&1; }
check "all flows are ended" prints '^\+ exit 0' trace prerm
check "by the daemon that runs" runs natf
service natf stop
check "all flows are ended though the service is stopped" prints '^\+ break' trace prerm
check "and it is stopped again" not runs natf
rm "$root/etc/natf/keys"
in_root sh /tmp/postrm
check "no table is left" not table natf
left() { find "$root"/etc/natf "$root"/run/natf 2>/dev/null; }
check "no file is left" test -z "$(left)"
