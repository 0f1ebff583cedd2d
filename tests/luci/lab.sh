# shellcheck shell=bash disable=SC2154 # $tests comes from there
# The lab with an OpenWrt-like router1 that has a web interface: the packages' files and init scripts in a root directory of
# their own (tests/openwrt), and router.py in front of it. To be sourced after tests/netns/lib.sh.
#
#   alice (Chromium) ── 192.168.1.1:8080 router.py ──▶ /usr/libexec/rpcd/natf ──▶ natf-routerd, tsn-dnsd
#                                                 └──▶ /etc/config, /etc/init.d/natf, …
luci=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# in_router COMMAND...: in the router's root directory.
in_router() {
	on router1 env PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$router_root" "$@"
}

# Installs the packages into router1, with the lab's configuration and keys.
install_router() {
	local directory app=$luci/../../luci-app-natf
	# As OpenWrt sets it.
	on router1 sysctl -qw net.netfilter.nf_conntrack_acct=1
	directory=$(lab dir)/router1
	router_root=$directory/openwrt/root
	mkdir -p "$directory/openwrt"
	# shellcheck disable=SC2016 # the inner shell expands
	on router1 env NATF_OPENWRT_TEST="$directory/openwrt" NATF_BIN="$NATF_BIN" \
		bash -c '. "$0" && trap - EXIT && package_up natf tsn-dnsd' "$tests/openwrt/lib.sh"
	on router1 cp -r "$app/root/." "$router_root/"
	on router1 cp /etc/natf/keys "$router_root/etc/natf/keys"
	in_router tee /etc/config/natf <"$tests/lab/config/router1" >/dev/null
	in_router tee /etc/config/network >/dev/null <<-'UCI'
		config interface 'lan'
			option device 'br-lan'
			option proto 'static'
			option ipaddr '192.168.1.1'

		config interface 'wan'
			option device 'wan'
			option proto 'dhcp'
	UCI
	in_router tee /etc/config/firewall >/dev/null <<-'UCI'
		config defaults
			option input 'REJECT'
			option output 'ACCEPT'
			option forward 'REJECT'

		config zone
			option name 'lan'
			list network 'lan'
			option input 'ACCEPT'
			option output 'ACCEPT'
			option forward 'ACCEPT'

		config zone
			option name 'wan'
			list network 'wan'
			option input 'REJECT'
			option output 'ACCEPT'
			option forward 'REJECT'
			option masq '1'
	UCI
	# The lab has a dnsmasq of its own there.
	printf '#!/bin/sh\n[ "$1" != running ]\n' | in_router tee /etc/init.d/dnsmasq >/dev/null
}

# start_web [OPTION...]: router.py on port 8080 of router1.
start_web() {
	PYTHONDONTWRITEBYTECODE=1 "$tests/lab/lab.sh" exec router1 python3 "$luci/router.py" --root "$router_root" --port 8080 \
		--log "$(lab dir)/router1/web.log" "$@" </dev/null >>"$(lab dir)/router1/web.err" 2>&1 &
	echo $! >"$(lab dir)/router1/web.pid"
	eventually 10 on router1 curl -s -o /dev/null http://127.0.0.1:8080/cgi-bin/luci
}
