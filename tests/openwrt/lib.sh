# shellcheck shell=bash
# For every test in this directory: source it, then `package_up PACKAGE...`, then checks. The whole test runs in mount, network and
# process name spaces of its own; nothing of this machine is changed.
#
#      the test ── chroot ──▶ root directory: overlay over this machine's, with the packages' files and the stubs
#                             network: lo, and a veth pair as wan and br-lan once `network_up` is called
set -euo pipefail

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository=$(cd "$tests/.." && pwd)
((EUID == 0)) || {
	echo "skip    name spaces need root"
	exit 77
}
if [[ -z ${NATF_OPENWRT_TEST:-} ]]; then
	NATF_OPENWRT_TEST=$(mktemp -d) && export NATF_OPENWRT_TEST
	status=0
	unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$@" || status=$?
	rm -rf "$NATF_OPENWRT_TEST"
	exit $status
fi

root=$NATF_OPENWRT_TEST/root
# shellcheck source=tests/checks.sh
. "$tests/checks.sh"

# package_up PACKAGE...: an "OpenWrt" with these packages freshly installed, nothing started.
package_up() {
	local package program
	: "${NATF_BIN:=${CARGO_TARGET_DIR:-$repository/target}/release}"
	mount -t tmpfs tmpfs "$NATF_OPENWRT_TEST"
	mkdir -p "$root" "$NATF_OPENWRT_TEST"/{upper,work}
	mount -t overlay overlay -o "lowerdir=/,upperdir=$NATF_OPENWRT_TEST/upper,workdir=$NATF_OPENWRT_TEST/work" "$root"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs tmpfs "$root/tmp"
	mount -t tmpfs tmpfs "$root/run"
	mkdir -p "$root"/{run/lock,etc/config,tmp/procd}
	cp "$tests"/openwrt/stub/{functions.sh,uci.awk} "$root/lib/"
	cp "$tests/openwrt/stub/rc.common" "$root/etc/rc.common"
	install -m 755 "$tests"/openwrt/stub/{uci,logger} "$root/usr/sbin/"
	install -m 755 "$tests/openwrt/stub/dnsmasq" "$root/etc/init.d/dnsmasq"
	printf "config dnsmasq 'cfg01411c'\n\toption nonwildcard '1'\n" >"$root/etc/config/dhcp"
	rm -f "$root/etc/resolv.conf"
	echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
	in_root groupadd -f natf
	for package; do
		tar -C "$repository/openwrt/$package/files" -c . | tar -C "$root" -x --keep-directory-symlink --no-overwrite-dir --owner=0 --group=0
		case $package in
		natf) program=natf-routerd ;;
		*) program=$package ;;
		esac
		[[ -x $NATF_BIN/$program ]] || {
			echo "not ok  $program is built (looked in $NATF_BIN; set NATF_BIN)"
			exit 1
		}
		install -m 755 "$NATF_BIN/$program" "$root/usr/sbin/"
		case $package in
		tsn-dnsd) in_root useradd -M -N -g natf tsn-dnsd ;;
		*) in_root id natf >/dev/null 2>&1 || in_root useradd -M -N -g natf natf ;;
		esac
	done
	use_busybox
	# What git does not keep.
	chmod -f 0600 "$root"/etc/{natf,tsn-dnsd}/keys "$root/etc/tsn-dnsd/tsig" || true
	ip link set lo up
}

# OpenWrt's shell and tools are those of BusyBox.
use_busybox() {
	local applet
	for applet in ash awk cat chmod chown cut grep head ls mkdir mv rm rmdir sed sh sleep tr; do
		ln -sf /bin/busybox "$root/usr/bin/$applet"
	done
}

# A provider's side (192.0.2.1, 192.0.2.53) in a name space of its own, this router's wan and br-lan.
network_up() {
	mkdir -p /run/netns
	mount -t tmpfs tmpfs /run/netns
	ip netns add outside
	ip link add wan type veth peer name eth0 netns outside
	ip addr add 203.0.113.2/24 dev wan
	ip link set wan up
	ip route add default via 203.0.113.1
	ip link add br-lan type bridge
	ip addr add 192.168.1.1/24 dev br-lan
	ip link set br-lan up
	ip -n outside link set lo up
	ip -n outside addr add 192.0.2.53/32 dev lo
	ip -n outside addr add 203.0.113.1/24 dev eth0
	ip -n outside link set eth0 up
}

# in_root COMMAND...
in_root() {
	PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
}

# service NAME ACTION
service() {
	in_root "/etc/init.d/$1" "$2"
}

# config FILE: writes /etc/config/FILE from stdin, as `uci commit` does: mode kept, file replaced.
config() {
	local new=$root/etc/config/.$1.new
	cat >"$new"
	chmod "$(stat -c %a "$root/etc/config/$1" 2>/dev/null || echo 644)" "$new"
	mv "$new" "$root/etc/config/$1"
}

# prints REGEX COMMAND...: its output has a match, whatever its exit status.
prints() {
	local regex=$1 output
	shift
	output=$("$@" 2>&1) || true
	grep -qE -- "$regex" <<<"$output" || {
		printf 'no match for %s in:\n%s\n' "$regex" "$output"
		return 1
	}
}

pid_of() {
	cat "$root/tmp/procd/$1.pid"
}

finish() {
	local status=$?
	if ((status == 0 && failures > 0)); then status=1; fi
	if ((status == 0 && checks == 0)); then
		echo "not ok  the test checks something"
		status=1
	fi
	if ((status != 0)) && [[ -s $root/tmp/log ]]; then tail -n 30 "$root/tmp/log" | sed 's/^/        | /'; fi
	ip netns del outside 2>/dev/null || true
	exit "$status"
}
trap finish EXIT
