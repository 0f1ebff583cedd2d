#!/usr/bin/env bash
#
# NAT-f and TSN through an emulated home router: mipsel binaries on a Malta board (24Kf, 128 MiB, Linux 6.1) with the real
# `queue` statement; outside node and hosts are namespaces of this machine.
#
#      en 203.0.113.10 ──────── 203.0.113.2 wan [ board ] br-lan 192.168.1.1 ──── lan: alice .10, bob .11
#      natf-endd, tsn-dnsd,                 natf-routerd,                           a web server each, UDP echo
#      dnsmasq (home.example.net)           OpenWrt's fw4 ruleset
#
#   mipsel.sh BINARIES-OF-MIPSEL [BINARIES-OF-THIS-MACHINE]      root; needs qemu-system-mips, cpio, kmod, dnsmasq, curl
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/checks.sh
. "$here/../checks.sh"
board=$here/board.sh
mipsel=$(cd "${1:?directory of mipsel binaries}" && pwd)
native=$(cd "${2:-$here/../../target/release}" && pwd)
folder=${NATF_BOARDS:-$here/../../target/boards}/mipsel
en=nb$$-en lan=nb$$-lan work=$(mktemp -d) started=()

finish() {
	local status=$? pid
	trap '' INT TERM
	trap - EXIT
	if ((status == 0 && (failures > 0 || checks == 0))); then status=1; fi
	if ((status != 0)); then
		echo "--- board"
		tail -n 40 "$work/board/out" 2>/dev/null || true
		tail -n 15 "$work"/*.log 2>/dev/null || true
	fi
	for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
	"$board" halt "$work/board" || true
	for name in "$en" "$lan"; do ip netns del "$name" 2>/dev/null || true; done
	rm -rf --one-file-system "$work"
	echo "$((checks - failures)) of $checks checks passed"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# outside|inside COMMAND...: in the namespace of the outside node or of the LAN.
outside() { ip netns exec "$en" "$@"; }
inside() { ip netns exec "$lan" "$@"; }
on_board() { "$board" run "$work/board" "$@"; }

# spawn NAME COMMAND...: a server that ends with this script.
spawn() {
	local log=$work/$1.log
	shift
	setsid "$@" </dev/null >"$log" 2>&1 &
	started+=($!)
}

key() { head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '='; }

# What the package installs, and a home's configuration.
write_root() {
	local root=$1 laptop=$2 isp=$3
	mkdir -p "$root"/{usr/sbin,etc/config,etc/natf}
	cp "$mipsel/natf-routerd" "$root/usr/sbin/"
	cp "$here/../lab/fw4.nft" "$root/etc/fw4.nft"
	cat >"$root/etc/config/natf" <<-'CONF'
		config router 'router'
			option wan 'wan'
			option lan 'br-lan'
			option domain 'home.example.net'
		config host 'alice'
			option ip '192.168.1.10'
			option access 'allow'
		config host 'bob'
			option ip '192.168.1.11'
			option access 'allow'
		config peer 'laptop'
			option id '4711'
		config peer 'isp'
			option id '4720'
			option role 'tsn'
	CONF
	printf 'laptop 4711 %s\nisp 4720 %s\n' "$laptop" "$isp" >"$root/etc/natf/keys"
	chmod 600 "$root/etc/natf/keys"
}

write_outside() {
	local laptop=$1 isp=$2
	mkdir -p "$work/end" "$work/dnsd"
	printf "config end 'end'\n\toption resolver 'none'\n\tlist upstream '127.0.0.1:5300'\nconfig home 'home'\n\toption domain 'home.example.net'\n\toption id '4711'\n" >"$work/end/config"
	printf 'home 4711 %s\n' "$laptop" >"$work/end/keys"
	printf "config server 'server'\n\tlist listen '127.0.0.1#5301'\n\tlist upstream '127.0.0.1#5300'\nconfig router 'home'\n\tlist domain 'home.example.net'\n\toption id '4720'\n" >"$work/dnsd/config"
	printf 'home 4720 %s\n' "$isp" >"$work/dnsd/keys"
	chmod 600 "$work"/{end,dnsd}/keys
}

start_hosts() {
	local host address
	for host in alice:10 bob:11; do
		address=192.168.1.${host#*:}
		ip -n "$lan" addr add "$address/24" dev eth0
		mkdir -p "$work/www-${host%:*}"
		echo "This is ${host%:*}." >"$work/www-${host%:*}/index.html"
		head -c 6000000 /dev/zero >"$work/www-${host%:*}/big"
		spawn "http-${host%:*}" ip netns exec "$lan" /usr/bin/python3 -m http.server -b "$address" -d "$work/www-${host%:*}" 80
	done
	ip -n "$lan" route add default via 192.168.1.1
	spawn echo ip netns exec "$lan" /usr/bin/python3 "$here/../lab/udp_echo.py" 7
	for address in 192.168.1.{10,11}; do
		eventually 20 inside curl -sS -o /dev/null --max-time 2 "http://$address/" 2>/dev/null
	done
}

start_outside() {
	ip -n "$en" addr add 203.0.113.10/24 dev eth0
	ip -n "$en" route add default via 203.0.113.2
	spawn dnsmasq ip netns exec "$en" dnsmasq -k -C /dev/null -p 5300 -a 127.0.0.1 -z -R -h --pid-file= --address=/home.example.net/203.0.113.2
	spawn endd ip netns exec "$en" "$native/natf-endd" -c "$work/end/config" -k "$work/end/keys" --run-dir "$work/end" --state-dir "$work/end"
	spawn dnsd ip netns exec "$en" "$native/tsn-dnsd" -c "$work/dnsd/config" -k "$work/dnsd/keys" --run-dir "$work/dnsd" --state-dir "$work/dnsd"
}

address() { outside dig +short +tries=2 +time=4 "$@" | tail -n 1; }

# web HOST: by its virtual address (NAT-f).
web() {
	outside curl -sS --max-time 15 "${@:2}" --resolve "$1:80:$(address @127.0.0.153 "$1.home.example.net")" "http://$1/"
}

# announced HOST: by the TSN server's answer.
announced() {
	outside curl -sS --max-time 15 --resolve "$1:80:$(address -p 5301 @127.0.0.1 "$1.home.example.net")" "http://$1/"
}

both_at_once() {
	web alice >"$work/one" &
	web bob >"$work/two"
	wait $!
	grep -q "This is alice" "$work/one" && grep -q "This is bob" "$work/two"
}

udp() {
	outside sh -c "echo hello | socat -t 3 - UDP4:$(address @127.0.0.153 alice.home.example.net):7"
}

start_routerd() {
	on_board '/usr/sbin/natf-routerd >/tmp/routerd.log 2>&1 & echo $! >/tmp/routerd.pid'
	eventually 20 on_board 'natf-routerd status >/dev/null 2>&1'
}

# A download that takes some forty seconds, to see whether it lives on; its exit status goes into a file.
start_download() {
	rm -f "$work/big" "$work/status"
	(
		outside curl -sS --limit-rate 150k --max-time 100 -o "$work/big" \
			--resolve "alice:80:$(address @127.0.0.153 alice.home.example.net)" http://alice/big && echo good >"$work/status" || echo bad >"$work/status"
	) 2>/dev/null &
	started+=($!)
	eventually 10 test -s "$work/big"
}

is_running() { [[ -s $work/big && ! -e $work/status ]]; }
download_ends_well() { eventually 100 test -e "$work/status" && [[ $(<"$work/status") == good && $(stat -c %s "$work/big") == 6000000 ]]; }

mappings() { on_board 'natf-routerd --json mappings' | grep -o '"id":' | wc -l; }

((EUID == 0)) || skip "an emulated board needs root (taps and namespaces)"
command -v qemu-system-mipsel >/dev/null || skip "no qemu-system-mipsel here (apt-get install qemu-system-mips)"
"$board" fetch "$folder"
laptop=$(key) isp=$(key)
write_root "$work/tree" "$laptop" "$isp"
write_outside "$laptop" "$isp"
for name in "$en" "$lan"; do
	ip netns add "$name"
	ip -n "$name" link set lo up
done
"$board" boot "$folder" "$work/board" "$en" "$lan" "$work/tree"
start_hosts
start_outside

check "the program runs on mipsel" prints '^natf-routerd [0-9]' on_board 'natf-routerd --version'
check "the configuration is accepted" on_board 'natf-routerd check'
check "OpenWrt's firewall rules are loaded" on_board 'nft -f /etc/fw4.nft'
# A router without a battery: 1970, until NTP comes.
on_board 'date -s @1000 >/dev/null' || true
check "the daemon starts, with the clock at 1970" start_routerd
check "the kernel's own queue statement is used" prints 'queue' on_board 'nft list chain ip natf to_daemon'
check "alice is reached (N7)" prints "This is alice" web alice
check "alice and bob at once, on one port (N11)" both_at_once
check "UDP" prints '^hello$' udp
check "the clock is set: peers go on (N15)" on_board "date -s @$(date +%s) >/dev/null"
check "alice is reached" prints "This is alice" web alice
check "TSN: a client without anything of ours is led to alice (T7)" prints "This is alice" announced alice
check "and to bob" prints "This is bob" announced bob

start_download
check "a download runs through a mapping" is_running
check "the firewall is loaded anew" on_board 'nft -f /etc/fw4.nft'
check "every ruleset is flushed in one go with loading the firewall, and ours comes back" \
	on_board '(echo flush ruleset; cat /etc/fw4.nft) | nft -f - && sleep 4 && nft list table ip natf >/dev/null'
check "the daemon is killed" on_board 'kill -9 $(cat /tmp/routerd.pid)'
check "and started again" start_routerd
check "the download runs on" is_running
check "the daemon finds its flow in the kernel's table" prints '"inside":"192.168.1.10:80"' on_board 'natf-routerd --json mappings'
check "the download has come to its end, whole" download_ends_well
check "alice is reached after all that" prints "This is alice" web alice

start_download
check "alice is denied" on_board "sed -i \"/config host 'alice'/,/access/s/allow/deny/\" /etc/config/natf; kill -HUP \$(cat /tmp/routerd.pid); sleep 2"
check "her download ends" not download_ends_well
check "she is refused" not web alice
check "bob is not concerned" prints "This is bob" web bob
# Timers: on 32-bit MIPS they need care.
check "timers fire: mappings of ended flows are forgotten" eventually 150 eval '[[ $(mappings) == 0 ]]'
check "the daemon stops, and leaves no rules" on_board 'kill $(cat /tmp/routerd.pid); sleep 2; ! nft list table ip natf 2>/dev/null'
on_board 'free | head -n 2' || true
