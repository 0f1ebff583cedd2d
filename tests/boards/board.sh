#!/usr/bin/env bash
#
# An emulated OpenWrt-like router with two network cards, which are taps in namespaces of this machine.
#
#      en 203.0.113.10 ── tap ── wan 203.0.113.2 [ board: Linux 6.1 ] 192.168.1.1 br-lan ── tap ── alice .10, bob .11
#
# MACHINE is one of
#   mipsel    Malta board, MIPS 24Kf little-endian, 128 MiB, as many home routers have it; Debian's kernel and programs
#   x86_64    PC, 256 MiB; Debian's kernel for virtual machines and programs
#   mips      Malta board, big-endian: build-be.sh builds kernel and programs, since nobody packs them
#
#   board.sh fetch MACHINE                      download (or build) kernel and programs, into target/boards/MACHINE; 77 = not to be had
#   board.sh boot MACHINE WORK NS-WAN NS-LAN [TREE...]   boot; TREEs are laid over the root file system
#   board.sh run WORK COMMAND...                run a command on it, by its serial line; prints its output, returns its status
#   board.sh halt WORK                          switch it off
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
boards=${NATF_BOARDS:-$here/../../target/boards}
# Seconds that a booted board and a command may take; emulation is slow.
boot_limit=120 run_limit=120

fail() {
	echo "board.sh: $*" >&2
	exit 1
}

# What this machine cannot get is no fault of the board's: 77 counts as skipped.
unavailable() {
	echo "skip    $*"
	exit 77
}

# Debian's architecture and kernel, QEMU's program with what makes the machine, its network card, where the kernel image lies.
describe() {
	case $1 in
	mipsel) debian=mipsel kernel=linux-image-4kc-malta qemu=(qemu-system-mipsel -M malta -cpu 24Kf -m 128) card=e1000 ;;
	mips) debian='' kernel='' qemu=(qemu-system-mips -M malta -cpu 24Kf -m 128) card=e1000 ;;
	x86_64) debian=amd64 kernel=linux-image-cloud-amd64 qemu=(qemu-system-x86_64 -accel 'tcg,thread=multi' -m 256) card=virtio-net-pci ;;
	*) fail "no machine '$1'; there are mipsel, x86_64, mips" ;;
	esac
}

fetch() {
	local folder=$boards/$1 version
	mkdir -p "$folder"
	describe "$1"
	local -a tools=()
	command -v "${qemu[0]}" >/dev/null || tools+=("qemu-system-$([[ $1 == x86_64 ]] && echo x86 || echo mips)")
	command -v cpio >/dev/null || tools+=(cpio)
	command -v depmod >/dev/null || tools+=(kmod)
	((${#tools[@]} == 0)) || "$here/../install-tools.sh" --packages "${tools[@]}" ||
		unavailable "$1: ${tools[*]} cannot be installed here: is there a network?"
	# What was fetched by another version of this script is fetched anew.
	version=$( (declare -f describe download modules; cat "$here"/{build-be.sh,malta-be.config}) | sha256sum)
	[[ $(cat "$folder/ready" 2>/dev/null) != "$version" ]] || return 0
	if [[ -z $debian ]]; then
		"$here/build-be.sh" "$folder"
	else
		download "$folder"
	fi
	modules "$folder"
	echo "$version" >"$folder/ready"
}

# By a package manager of its own, whose lists and cache lie in the folder: nothing of this machine's changes.
download() {
	local folder=$1 image deb
	rm -rf "$folder"/{debs,kernel,root}
	mkdir -p "$folder"/{lists/partial,cache/archives/partial,debs,kernel,root}
	local -a apt=(-oAPT::Architecture="$debian" -oAPT::Architectures="$debian" -oDir::State::Lists="$folder/lists"
		-oDir::Cache="$folder/cache" -oAPT::Sandbox::User=root -oAcquire::Retries=3 -oAcquire::http::Timeout=30)
	apt-get "${apt[@]}" -qq update || unavailable "no list of Debian's packages for $debian: is there a network?"
	(
		cd "$folder/debs" &&
			apt-get "${apt[@]}" -qq download "$kernel" busybox-static util-linux libcap-ng0 nftables libnftables1 libnftnl11 libmnl0 libc6 \
				libjansson4 libgmp10 libxtables12 libedit2 libtinfo6 libbsd0 libmd0 libgcc-s1 &&
			image=$(dpkg -f "$kernel"_*.deb Depends | grep -o 'linux-image-[^ ,]*') &&
			apt-get "${apt[@]}" -qq download "$image"
	) || unavailable "Debian's kernel and programs for $debian could not be downloaded"
	for deb in "$folder"/debs/linux-image-[0-9]*.deb; do dpkg -x "$deb" "$folder/kernel"; done
	for deb in "$folder"/debs/{busybox,nftables,lib}*.deb; do dpkg -x "$deb" "$folder/root"; done
	dpkg --fsys-tarfile "$folder"/debs/util-linux_*.deb | tar -C "$folder/root" -x ./usr/bin/setpriv
	rm -rf "$folder"/root/usr/share "$folder"/root/usr/lib/*/{gconv,audit} "$folder"/{debs,lists,cache}
}

# Only the modules that a router needs: the image has to fit into its memory. Like OpenWrt it has nothing of iptables.
modules() {
	local folder=$1 version
	version=$(ls "$folder/kernel/lib/modules")
	(cd "$folder/kernel" && find lib/modules -name '*.ko*' |
		grep -E 'net/(netfilter|bridge|llc|802)/|net/ipv[46]/netfilter/nf|lib/(libcrc32c|ts_)|crc32c|e1000\.ko|/virtio/|/virtio_net|failover' |
		grep -vE '/(xt_|nft_compat|ip_set)' |
		cpio -o -H newc 2>/dev/null) | (cd "$folder/root" && cpio -idum 2>/dev/null)
	cp "$folder/kernel/lib/modules/$version"/modules.{builtin,order} "$folder/root/lib/modules/$version/"
	depmod -b "$folder/root" "$version" 2>/dev/null
}

# As on OpenWrt /var is in memory; `/etc/board.start` of a TREE is run before anything else is done.
write_init() {
	cat >"$1" <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox mkdir -p /proc /sys /dev /tmp /root /etc /run /sbin /usr/bin /usr/sbin
		/bin/busybox --install -s 2>/dev/null
		export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
		mount -t proc proc /proc
		mount -t sysfs sysfs /sys
		mount -t devtmpfs dev /dev 2>/dev/null
		mount -t tmpfs tmpfs /tmp
		rm -rf /var
		ln -s /tmp /var
		mkdir -p /tmp/run /tmp/lib
		for module in crc32c_generic crc32c-intel nf_tables nft_chain_nat nft_nat nft_masq nft_queue nft_ct nft_fib_ipv4 nft_reject_ipv4 nft_reject_inet \
			nft_limit nft_log nft_redir nf_conntrack nf_conntrack_netlink nfnetlink_queue nf_flow_table_inet nft_flow_offload e1000 virtio_pci virtio_net bridge \
			nf_conntrack_amanda nf_conntrack_ftp nf_nat_ftp nf_conntrack_irc nf_conntrack_netbios_ns nf_conntrack_pptp nf_conntrack_h323 \
			nf_conntrack_sane nf_conntrack_sip nf_conntrack_snmp nf_conntrack_tftp; do
			modprobe $module 2>/dev/null
		done
		echo /sbin/modprobe >/proc/sys/kernel/modprobe
		# As OpenWrt has it; the kernel's own limit follows from the memory.
		sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_max=16384
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
	local folder=$boards/$1 work=$2 wan=$3 lan=$4 version tree image
	describe "$1"
	shift 4
	mkdir -p "$work/root"
	cp -a "$folder/root/." "$work/root/"
	for tree; do cp -a "$tree/." "$work/root/"; done
	write_init "$work/root/init"
	(cd "$work/root" && find . | cpio -o -H newc --owner 0:0 2>/dev/null | gzip -1) >"$work/initrd.gz"
	image=$(find "$folder/kernel/boot" -name 'vmlinu[xz]*')
	make_tap "$wan" "nb$$w" "$work"
	make_tap "$lan" "nb$$l" "$work"
	mkfifo "$work/in"
	: >"$work/out"
	# Open for reading and writing, so that the line stays up between commands.
	exec 8<>"$work/in"
	setsid "${qemu[@]}" -nographic -vga none -no-reboot -monitor none -serial stdio \
		-kernel "$image" -initrd "$work/initrd.gz" -append 'console=ttyS0 panic=-1 quiet rdinit=/init' \
		-netdev "tap,id=w,ifname=nb$$w,script=no,downscript=no" -device "$card,netdev=w,mac=52:54:00:00:00:01,romfile=" \
		-netdev "tap,id=l,ifname=nb$$l,script=no,downscript=no" -device "$card,netdev=l,mac=52:54:00:00:00:02,romfile=" \
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
	echo "$tap" >>"$work/taps"
	ip link add "$tap-b" type bridge
	ip link add "$tap-v" type veth peer name eth0 netns "$namespace"
	ip link set "$tap" master "$tap-b"
	ip link set "$tap-v" master "$tap-b"
	for device in "$tap" "$tap-b" "$tap-v"; do ip link set "$device" up; done
	ip -n "$namespace" link set eth0 up
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
		kill -0 "$(<"$work/pid")" 2>/dev/null || fail "the board is off, asked to: $*"
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
