#!/usr/bin/env bash
# An emulated OpenWrt-like router: a MIPS 24Kf Malta board (little-endian, 128 MiB), as many home routers have it, with
# Debian's kernel and nftables. Its two network cards are taps in namespaces of this machine.
#
#      en 203.0.113.10 ── tap ── wan 203.0.113.2 [ board: Linux 6.1, mipsel ] 192.168.1.1 br-lan ── tap ── alice .10, bob .11
#
#   board.sh fetch FOLDER                       download kernel and userland (Debian packages of mipsel) into FOLDER
#   board.sh boot FOLDER WORK NS-WAN NS-LAN [TREE...]   boot; TREEs are laid over the root file system
#   board.sh run WORK COMMAND...                run a command on it, by its serial line; prints its output, returns its status
#   board.sh halt WORK                          switch it off
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Seconds that a booted board and a command may take; emulation is slow.
boot_limit=120 run_limit=120

fail() {
	echo "board.sh: $*" >&2
	exit 1
}

fetch() {
	local folder=$1 image deb
	[[ ! -e $folder/ready ]] || return 0
	mkdir -p "$folder"/{lists/partial,cache/archives/partial,debs,kernel,root}
	local -a apt=(-oAPT::Architecture=mipsel -oAPT::Architectures=mipsel -oDir::State::Lists="$folder/lists"
		-oDir::Cache="$folder/cache" -oAPT::Sandbox::User=root)
	apt-get "${apt[@]}" -qq update
	(
		cd "$folder/debs"
		apt-get "${apt[@]}" -qq download linux-image-4kc-malta busybox-static nftables libnftables1 libnftnl11 libmnl0 libc6 \
			libjansson4 libgmp10 libxtables12 libedit2 libtinfo6 libbsd0 libmd0 libgcc-s1
		image=$(dpkg -f linux-image-4kc-malta_*.deb Depends | grep -o 'linux-image-[^ ,]*')
		apt-get "${apt[@]}" -qq download "$image"
	)
	for deb in "$folder"/debs/linux-image-[0-9]*.deb; do dpkg -x "$deb" "$folder/kernel"; done
	for deb in "$folder"/debs/{busybox,nftables,lib}*.deb; do dpkg -x "$deb" "$folder/root"; done
	strip_down "$folder/root"
	modules "$folder"
	touch "$folder/ready"
}

strip_down() {
	rm -rf "$1"/usr/share "$1"/usr/lib/mipsel-linux-gnu/gconv
	mkdir -p "$1"/{proc,sys,dev,tmp,etc/config,run,var/run,var/lib,root}
}

# Only the modules that a router needs: the image has to fit into its memory.
modules() {
	local folder=$1 version
	version=$(ls "$folder/kernel/lib/modules")
	(cd "$folder/kernel" && find lib/modules -name '*.ko*' |
		grep -E 'net/netfilter/|nf_defrag|nf_(nat|reject|conntrack)|nft_|net/bridge/bridge|/stp/|llc/llc|802/(stp|garp|mrp)|lib/ts_|e1000\.ko|crc32c' |
		cpio -o -H newc 2>/dev/null) | (cd "$folder/root" && cpio -idum 2>/dev/null)
	cp "$folder/kernel/lib/modules/$version"/modules.{builtin,order} "$folder/root/lib/modules/$version/"
	depmod -b "$folder/root" "$version"
}

write_init() {
	cat >"$1" <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
		mount -t proc proc /proc
		mount -t sysfs sysfs /sys
		mount -t devtmpfs dev /dev 2>/dev/null
		mount -t tmpfs tmpfs /tmp
		for module in crc32c_generic nf_tables nft_chain_nat nft_nat nft_masq nft_queue nft_ct nft_fib_ipv4 nft_reject_ipv4 nft_reject_inet \
			nft_limit nft_log nft_redir nf_conntrack nf_conntrack_netlink nfnetlink_queue nft_flow_offload e1000 bridge \
			nf_conntrack_amanda nf_conntrack_ftp nf_nat_ftp nf_conntrack_irc nf_conntrack_netbios_ns nf_conntrack_pptp nf_conntrack_h323 \
			nf_conntrack_sane nf_conntrack_sip nf_conntrack_snmp nf_conntrack_tftp; do
			modprobe $module 2>/dev/null || echo "no module $module"
		done
		echo /bin/modprobe >/proc/sys/kernel/modprobe
		sysctl -qw net.ipv4.ip_forward=1
		ip link set lo up
		wan=$(grep -l 52:54:00:00:00:01 /sys/class/net/*/address | cut -d/ -f5)
		lan=$(grep -l 52:54:00:00:00:02 /sys/class/net/*/address | cut -d/ -f5)
		ip link set "$wan" name wan
		ip link set "$lan" name lan0
		brctl addbr br-lan
		brctl addif br-lan lan0
		ip addr add 203.0.113.2/24 dev wan
		ip addr add 192.168.1.1/24 dev br-lan
		for device in wan lan0 br-lan; do ip link set $device up; done
		ip route add default via 203.0.113.1
		[ -x /etc/board.start ] && /etc/board.start
		stty -echo 2>/dev/null
		echo "board is up, $(cut -d' ' -f1 /proc/uptime) s"
		while read -r line; do
			( eval "$line" ) </dev/null 2>&1
			echo "=== $?"
		done
		poweroff -f
	INIT
	chmod +x "$1"
}

boot() {
	local folder=$1 work=$2 wan=$3 lan=$4 version tree
	shift 4
	mkdir -p "$work/root"
	cp -a "$folder/root/." "$work/root/"
	for tree; do cp -a "$tree/." "$work/root/"; done
	write_init "$work/root/init"
	(cd "$work/root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd.gz"
	version=$(ls "$folder/kernel/lib/modules")
	make_tap "$wan" "nb$$w" "$work"
	make_tap "$lan" "nb$$l" "$work"
	mkfifo "$work/in"
	: >"$work/out"
	# Open for reading and writing, so that the line stays up between commands.
	exec 8<>"$work/in"
	setsid qemu-system-mipsel -M malta -cpu 24Kf -m 128 -nographic -vga none -no-reboot -monitor none -serial stdio \
		-kernel "$folder/kernel/boot/vmlinuz-$version" -initrd "$work/initrd.gz" \
		-append 'console=ttyS0 panic=-1 quiet rdinit=/init' \
		-netdev "tap,id=w,ifname=nb$$w,script=no,downscript=no" -device e1000,netdev=w,mac=52:54:00:00:00:01,romfile= \
		-netdev "tap,id=l,ifname=nb$$l,script=no,downscript=no" -device e1000,netdev=l,mac=52:54:00:00:00:02,romfile= \
		<&8 >>"$work/out" 2>"$work/qemu.log" &
	echo $! >"$work/pid"
	local end=$((SECONDS + boot_limit))
	until grep -q "board is up" "$work/out"; do
		kill -0 "$(<"$work/pid")" 2>/dev/null || fail "the board ended: $(tail -n 5 "$work/out" "$work/qemu.log")"
		((SECONDS < end)) || fail "the board does not come up: $(tail -n 5 "$work/out")"
		sleep 0.2
	done
}

# A tap is tied to a namespace by a veth and a bridge here, since QEMU runs here.
make_tap() {
	local namespace=$1 tap=$2 work=$3
	ip tuntap add "$tap" mode tap
	ip link add "$tap-b" type bridge
	ip link add "$tap-v" type veth peer name eth0 netns "$namespace"
	ip link set "$tap" master "$tap-b"
	ip link set "$tap-v" master "$tap-b"
	for device in "$tap" "$tap-b" "$tap-v"; do ip link set "$device" up; done
	ip -n "$namespace" link set eth0 up
	echo "$tap" >>"$work/taps"
}

run() {
	local work=$1 before end status
	shift
	before=$(grep -c '^=== ' "$work/out" || true)
	local lines
	lines=$(wc -l <"$work/out")
	printf '%s\n' "$*" >"$work/in"
	end=$((SECONDS + run_limit))
	until (($(grep -c '^=== ' "$work/out" || true) > before)); do
		((SECONDS < end)) || fail "no answer from the board to: $*"
		sleep 0.05
	done
	tail -n +$((lines + 1)) "$work/out" | tr -d '\r' | sed '/^=== /,$d'
	status=$(tail -n +$((lines + 1)) "$work/out" | tr -d '\r' | sed -n 's/^=== //p' | head -n 1)
	return "${status:-1}"
}

halt() {
	local work=$1 pid tap
	pid=$(cat "$work/pid" 2>/dev/null) || true
	if [[ -n $pid ]]; then
		kill "$pid" 2>/dev/null || true
		while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
	fi
	while read -r tap; do
		for device in "$tap" "$tap-b" "$tap-v"; do ip link del "$device" 2>/dev/null || true; done
	done < <(cat "$work/taps" 2>/dev/null)
}

command=${1:-help}
shift || true
case $command in
fetch | boot | run | halt) "$command" "$@" ;;
*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" ;;
esac
