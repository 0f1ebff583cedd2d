#!/usr/bin/env bash
#
# NAT-f and TSN through an emulated home router that has the package natf installed, with the real `queue` statement and real flow
# offloading. The drawing is in home.sh.
#
#   scenario.sh MACHINE [BINARIES-OF-THIS-MACHINE]
set -euo pipefail
# shellcheck source=tests/boards/home.sh
. "$(dirname "$0")/home.sh"

both_at_once() {
	web alice >"$work/one" &
	web bob >"$work/two"
	wait $!
	grep -q "This is alice" "$work/one" && grep -q "This is bob" "$work/two"
}

set_access() {
	on_board "sed -i \"/config host '$1'/,/access/s/'\(allow\|deny\)'/'$2'/\" /etc/config/natf && /etc/init.d/natf reload"
}

# What the flow table has taken over is marked in the kernel's list.
is_offloaded() { eventually 5 on_board 'grep -q "port=80 .*OFFLOAD" /proc/net/nf_conntrack' && is_running; }

home_up natf

must "the program runs" prints '^natf-routerd [0-9]' on_board 'natf-routerd --version'
check "the configuration is accepted" on_board 'natf-routerd check'
must "OpenWrt's firewall rules are loaded" on_board 'nft -f /etc/fw4.nft'
# A router without a battery: 1970, until NTP comes.
on_board 'date -s @1000 >/dev/null' || true
must "the service starts, with the clock at 1970" start_routerd
check "it runs as its own user, with two capabilities" \
	prints '^CapEff:[[:space:]]*0*3000$' on_board 'grep -E "^(Uid|CapEff)" /proc/$(cat /tmp/procd/natf.pid)/status; [ "$(stat -c %U /proc/$(cat /tmp/procd/natf.pid))" = natf ]'
check "the kernel's own queue statement is used" prints 'queue' on_board 'nft list chain ip natf to_daemon'
check "alice is reached (N7)" prints "This is alice" web alice
check "alice and bob at once, on one port (N11)" both_at_once
check "UDP" prints '^hello$' udp
check "the clock is set: peers go on (N15)" on_board "date -s @$(date +%s) >/dev/null"
check "alice is reached" prints "This is alice" web alice
check "TSN: a client without anything of ours is led to alice (T7)" prints "This is alice" announced alice
check "and to bob" prints "This is bob" announced bob

check "every ruleset is flushed in one go with loading the firewall, and ours comes back" \
	on_board '(echo flush ruleset; cat /etc/fw4.nft) | nft -f - && sleep 4 && nft list table ip natf >/dev/null'
start_download || true
check "a download runs through a mapping" is_running
check "the firewall is loaded anew" on_board 'nft -f /etc/fw4.nft'
check "the daemon is killed" on_board 'kill -9 $(cat /tmp/procd/natf.pid)'
must "and started again" start_routerd
check "the download runs on" is_running
check "the daemon finds its flow in the kernel's table" prints '"inside":"192.168.1.10:80"' on_board 'natf-routerd --json mappings'
check "the download has come to its end, whole" download_ends_well
check "alice is reached after all that" prints "This is alice" web alice

start_download || true
check "alice is denied" set_access alice deny
check "her download ends" download_breaks
check "she is refused" not web alice
check "bob is not concerned" prints "This is bob" web bob
check "alice is allowed" set_access alice allow

check "the firewall offloads flows" on_board '(echo flush ruleset; cat /etc/fw4-offload.nft) | nft -f - && sleep 4 && nft list table ip natf >/dev/null'
start_download || true
check "a download runs through a mapping" is_running
check "it is offloaded" is_offloaded
check "the daemon is killed" on_board 'kill -9 $(cat /tmp/procd/natf.pid)'
must "and started again" start_routerd
# Longer than the daemon waits between two looks.
sleep 5
check "it keeps the offloaded flow" prints '"inside":"192.168.1.10:80"' on_board 'natf-routerd --json mappings'
check "the download has come to its end, whole" download_ends_well
start_download || true
check "another download is offloaded" is_offloaded
check "alice is denied" set_access alice deny
check "her offloaded download ends" download_breaks
check "alice is allowed" set_access alice allow
start_download announced || true
check "TSN: a download is offloaded" is_offloaded
check "alice is denied" set_access alice deny
check "her offloaded download ends" download_breaks

# Timers: on 32-bit MIPS they need care.
check "timers fire: mappings of ended flows are forgotten" eventually 150 no_mappings
check "the service stops, and leaves no rules" on_board '/etc/init.d/natf stop && sleep 1 && ! nft list table ip natf 2>/dev/null'
on_board 'free | head -n 2' || true
