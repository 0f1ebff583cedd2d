# shellcheck shell=bash
#
# A home behind an emulated router: what the scenario, the faults and the benchmark have in common. To be sourced as
#
#   . home.sh MACHINE [BINARIES]      MACHINE as in board.sh; BINARIES: of this machine, target/release by default
#
#      en 203.0.113.10 ──────── 203.0.113.2 wan [ board ] br-lan 192.168.1.1 ──── lan: alice .10, bob .11
#      natf-endd, tsn-dnsd,                 the package natf,                       a web server each, UDP echo
#      dnsmasq (home.example.net)           OpenWrt's fw4 ruleset
#
# The board has what opkg unpacks from the .ipk, its user, and the shell functions of procd that tests/openwrt/stub stands in for:
# the init script starts the daemon as the jail would, as its user and with its capabilities.
# Root; needs QEMU, cpio, kmod, dnsmasq, curl, dig, socat, python3.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/checks.sh
. "$here/../checks.sh"
machine=${1:?which machine? mipsel, x86_64 or mips}
native=$(cd "${2:-$here/../../target/release}" && pwd)
board=$here/board.sh
case $machine in
mipsel | mips) arch=${machine}_24kc ;;
*) arch=$machine ;;
esac
packages=${NATF_IPK:-$here/../../target/openwrt/ipk}/$arch
en=nb$$-en lan=nb$$-lan work=$(mktemp -d) started=()

finish() {
	local status=$? pid
	trap '' INT TERM
	trap - EXIT
	if ((status == 0 && (failures > 0 || checks == 0))); then status=1; fi
	if ((status != 0 && status != 77)); then
		echo "--- board"
		on_board 'tail -n 30 /tmp/log; nft list table ip natf | head -n 5' 2>/dev/null || true
		tail -n 40 "$work/board/out" 2>/dev/null || true
		tail -n 15 "$work"/*.log 2>/dev/null || true
	fi
	for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
	"$board" halt "$work/board" || true
	for name in "$en" "$lan"; do ip netns del "$name" 2>/dev/null || true; done
	rm -rf --one-file-system "$work"
	((checks == 0)) || echo "$machine: $((checks - failures)) of $checks checks passed"
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

# install_package ROOT NAME: what opkg does but for the scripts: files and user.
install_package() {
	local root=$1 ipk control
	ipk=$(compgen -G "$packages/$2_*.ipk") || { echo "no package $2 in '$packages': make ipk ARCHES=$arch" >&2; return 1; }
	mkdir -p "$root/etc"
	tar -xzOf "$ipk" ./data.tar.gz | tar -C "$root" -xzp
	control=$(tar -xzOf "$ipk" ./control.tar.gz | tar -xzO ./control)
	# "user:group", as OpenWrt's scripts read it.
	sed -n 's/^Require-User: //p' <<<"$control" | tr ' ' '\n' | while IFS=: read -r user group; do
		grep -q "^$group:" "$root/etc/group" || echo "$group:x:$((400 + $(wc -l <"$root/etc/group"))):" >>"$root/etc/group"
		grep -q "^$user:" "$root/etc/passwd" ||
			echo "$user:x:$((400 + $(wc -l <"$root/etc/passwd"))):$(sed -n "s/^$group:x:\([0-9]*\):.*/\1/p" "$root/etc/group")::/var:/bin/false" >>"$root/etc/passwd"
	done
}

# OpenWrt as far as the packages' init scripts need it, with the packages that are named.
install_openwrt() {
	local root=$1 name
	shift
	mkdir -p "$root"/{lib,etc/init.d,etc/config,usr/sbin}
	cp "$here"/../openwrt/stub/{functions.sh,uci.awk} "$root/lib/"
	cp "$here/../openwrt/stub/rc.common" "$root/etc/"
	install -m 755 "$here/../openwrt/stub/logger" "$root/usr/sbin/"
	helpers <"$here/../lab/fw4.nft" >"$root/etc/fw4.nft"
	offloading <"$root/etc/fw4.nft" >"$root/etc/fw4-offload.nft"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	for name; do install_package "$root" "$name"; done
}

# fw4 names only those connection tracking helpers whose kernel module it finds; nft refuses others, and the ruleset with them.
helpers() {
	awk -v modules="$(find "${NATF_BOARDS:-$here/../../target/boards}/$machine/root/lib/modules" -name 'nf_conntrack_*.ko*' -printf '%f ')" '
		function is_there(name) {
			gsub("\"", "", name)
			module = name == "RAS" || name == "Q.931" ? "h323" : name
			gsub("-", "_", module)
			return index(modules, "nf_conntrack_" module ".ko")
		}
		/^\tct helper/ && !is_there($3) { inside = 1 }
		!inside && !(match($0, /ct helper set "[^"]*"/) && !is_there(substr($0, RSTART + 14, RLENGTH - 14))) { print }
		/^\t}/ { inside = 0 }'
}

# What fw4 adds for `option flow_offloading '1'`: a table of flows with the physical devices, and a rule that puts each forwarded flow into it.
offloading() {
	sed -e "s/^table inet fw4 {/&\n\tflowtable ft {\n\t\thook ingress priority 0;\n\t\tdevices = { lan0, wan };\n\t}\n/" \
		-e "s/^\t\ttype filter hook forward priority filter; policy drop;/&\n\t\tmeta l4proto { tcp, udp } flow offload @ft;/"
}

# A home's configuration, with the keys of an outside node and of a TSN server.
configure_home() {
	local root=$1 laptop=$2 isp=$3
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
}

configure_outside() {
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
		spawn "http-${host%:*}" ip netns exec "$lan" "$here/www.py" "$address" "${host%:*}" "$work/enough"
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

# home_up PACKAGE...: everything but the daemon on the board, which has these packages. A function configure_more, where there is one, gets
# the directory of what is laid over the board's root file system.
home_up() {
	local name
	((EUID == 0)) || skip "an emulated board needs root (taps and namespaces)"
	"$board" fetch "$machine"
	laptop=$(key) isp=$(key)
	install_openwrt "$work/tree" "$@"
	configure_home "$work/tree" "$laptop" "$isp"
	configure_outside "$laptop" "$isp"
	if declare -F configure_more >/dev/null; then configure_more "$work/tree"; fi
	for name in "$en" "$lan"; do
		ip netns add "$name"
		ip -n "$name" link set lo up
	done
	"$board" boot "$machine" "$work/board" "$en" "$lan" "$work/tree"
	start_hosts
	start_outside
}

# address DIG-ARGUMENT...: asked again while there is no answer, for a busy machine's board may be too slow for a TSN server.
address() {
	local answer
	for _ in 1 2 3; do
		answer=$(outside dig +short +tries=2 +time=4 "$@" | grep -v '^;' | tail -n 1)
		[[ -z $answer ]] || break
	done
	echo "$answer"
}

# web HOST: by its virtual address (NAT-f).
web() {
	outside curl -sS --max-time 15 "${@:2}" --resolve "$1:80:$(address @127.0.0.153 "$1.home.example.net")" "http://$1/"
}

# announced HOST: by the TSN server's answer.
announced() {
	outside curl -sS --max-time 15 --resolve "$1:80:$(address -p 5301 @127.0.0.1 "$1.home.example.net")" "http://$1/"
}

udp() {
	outside sh -c "echo hello | socat -t 3 - UDP4:$(address @127.0.0.153 alice.home.example.net):7"
}

# service ACTION: the package's init script.
service() { on_board "/etc/init.d/natf $1"; }

start_routerd() {
	service start && eventually 20 on_board 'natf-routerd status >/dev/null 2>&1'
}

# start_download [announced]: from alice, as long as a test needs it; curl's exit status goes into a file. Where nothing comes for
# 15 seconds, curl gives up.
start_download() {
	local resolver=(@127.0.0.153)
	[[ ${1:-} != announced ]] || resolver=(-p 5301 @127.0.0.1)
	rm -f "$work"/{stream,status,enough}
	(
		outside curl -sSN --speed-limit 1 --speed-time 15 --max-time 400 -o "$work/stream" \
			--resolve "alice:80:$(address "${resolver[@]}" alice.home.example.net)" http://alice/stream && echo good >"$work/status" || echo bad >"$work/status"
	) 2>>"$work/curl.log" &
	started+=($!)
	eventually 15 test -s "$work/stream"
}

# More of the download comes in.
is_running() {
	local before
	before=$(stat -c %s "$work/stream")
	eventually 10 sh -c "! test -e '$work/status' && test \$(stat -c %s '$work/stream') -gt $before"
}

# Every line of it is there.
download_ends_well() {
	touch "$work/enough"
	eventually 100 test -e "$work/status"
	[[ $(<"$work/status") == good ]] && awk '$1 == "end" {whole = 1; next} $1 + 0 != NR - 1 || whole {exit whole = 0} END {exit !whole}' "$work/stream"
}

download_breaks() { eventually 100 test -e "$work/status" && [[ $(<"$work/status") == bad ]]; }

no_mappings() { prints '"total":0' on_board 'natf-routerd --json mappings'; }

# must SENTENCE COMMAND...: a check without which the others make no sense.
must() {
	local before=$failures
	check "$@"
	((failures == before)) || exit 1
}
