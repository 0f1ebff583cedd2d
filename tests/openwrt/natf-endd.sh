#!/usr/bin/env bash
# natf-endd on OpenWrt, without natf: its section is made at installation, it starts with the first home, and dnsmasq asks it.
# shellcheck source=tests/openwrt/lib.sh
. "$(dirname "$0")/lib.sh"

package_up natf-endd
network_up
asked() { grep -qxF -- "$1" "$root/tmp/procd/natf-endd"; }
runs() { service natf-endd running; }
answers() { in_root natf-endd status >/dev/null 2>&1; }
has() { [[ $(sed -n "s/^$1:\t*//p" "/proc/$(pid_of natf-endd)/status") == "$2" ]]; }
snippet() { cat "$root/tmp/dnsmasq.cfg01411c.d/natf-endd.conf" 2>/dev/null; }

in_root sh /etc/uci-defaults/natf-endd
check "a section is made" prints "config end 'end'" cat "$root/etc/config/natf"
once=$(<"$root/etc/config/natf")
in_root sh /etc/uci-defaults/natf-endd
check "a second run changes nothing" test "$(<"$root/etc/config/natf")" = "$once"
check "the configuration is good" in_root natf-endd check
check "without a home nothing starts" service natf-endd start
check "nothing runs" not runs

uri="natf://home.example.net/?id=4711&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8&peer=laptop"
check "root enrols" in_root natf-endd enroll "$uri"
check "with a home a reload starts it" service natf-endd reload
check "and it answers" eventually 10 answers
for parameter in 'param user natf' 'param capabilities /etc/capabilities/natf-endd.json' 'param no_new_privs 1' \
	'jail natf-endd log procfs ronly' 'mount_rw /var/lib/natf /var/run/natf' 'reload_trigger natf dhcp'; do
	check "procd is asked: $parameter" asked "$parameter"
done
check "it has three rights and no others" has CapEff 0000000000003400
check "the key is for natf alone" test "$(in_root stat -c '%a %U' /etc/natf/keys)" = '600 natf'
check "dnsmasq is told" prints '^server=/home.example.net/127.0.0.153#53$' snippet
check "a second home is taken over" in_root natf-endd enroll "${uri/home.example.net/work.example.org}" --name work
check "by a reload" service natf-endd reload
check "and dnsmasq is told" prints '^server=/work.example.org/127.0.0.153#53$' snippet
sed -i "s/none/resolvconf/" "$root/etc/config/natf"
check "a resolver that dnsmasq would not survive is named" prints "must be 'none'" service natf-endd reload
check "nothing runs with it" not runs
check "and dnsmasq is told nothing" test -z "$(snippet)"
check "/etc/resolv.conf is as it was" test "$(<"$root/etc/resolv.conf")" = 'nameserver 127.0.0.1'
