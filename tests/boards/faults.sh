#!/usr/bin/env bash
#
# What can go wrong on a router, on an emulated one with the package natf: each has a defined outcome, and words that say what to do.
# The drawing is in home.sh.
#
#   faults.sh MACHINE [BINARIES-OF-THIS-MACHINE]
set -euo pipefail
# shellcheck source=tests/boards/home.sh
. "$(dirname "$0")/home.sh"

# fails_saying REGEX: the service is started, its daemon ends, and the log has a match.
fails_saying() {
	on_board ': >/tmp/log; /etc/init.d/natf start; for i in 1 2 3 4 5 6 7 8 9 10; do [ -d /proc/$(cat /tmp/procd/natf.pid) ] || break; sleep 1; done; ! natf-routerd status >/dev/null 2>&1' || return 1
	says "$1"
}

# says REGEX: the log has a match by now.
says() { eventually 20 prints "$1" on_board 'cat /tmp/log'; }

# without MODULE COMMAND...: the command, while the kernel module is neither loaded nor installed.
without() {
	local module=$1 status=0
	shift
	on_board "/etc/init.d/natf stop; file=\$(find /lib/modules -name '$module.ko*'); nft flush ruleset; rmmod $module; mv \$file \$file.away && ! lsmod | grep -q '^$module '" || return 1
	"$@" || status=$?
	on_board "file=\$(find /lib/modules -name '$module.ko*.away'); mv \$file \${file%.away}; modprobe $module"
	return $status
}

home_up natf
must "the firewall is loaded" on_board 'nft -f /etc/fw4.nft'
on_board "date -s @$(date +%s) >/dev/null"

# A kernel without a module: the log names the package to install, and the start fails instead of serving nobody.
for module in nft_queue:kmod-nft-queue nf_conntrack_netlink:kmod-nf-conntrack-netlink nft_fib_ipv4:kmod-nft-fib nfnetlink_queue:kmod-nfnetlink-queue; do
	check "without ${module%:*} the log names ${module#*:}" without "${module%:*}" fails_saying "${module#*:}"
done
check "without nft the log names the package nftables" eval \
	'on_board "/etc/init.d/natf stop; mv /usr/sbin/nft /usr/sbin/nft.away" && fails_saying "package .nftables."; status=$?; on_board "mv /usr/sbin/nft.away /usr/sbin/nft"; ((status == 0))'
on_board 'nft -f /etc/fw4.nft; /etc/init.d/natf stop'

# A wrong option: the last good configuration counts, at a reload and at a start.
must "the service starts" start_routerd
on_board "sed -i \"s/option access 'allow'/option acess 'allow'/\" /etc/config/natf" || true
check "a wrong option changes nothing at a reload" not service reload
check "alice is reached" prints "This is alice" web alice
on_board '/etc/init.d/natf stop' || true
check "nor at a start" start_routerd
check "alice is reached" prints "This is alice" web alice
check "the log has file, line, section, option" says "/etc/config/natf:[0-9]+:.*alice.*acess"
check "so does the service's status" prints "acess" on_board '/etc/init.d/natf status; true'
on_board "sed -i \"s/option acess 'allow'/option access 'allow'/\" /etc/config/natf; /etc/init.d/natf stop" || true

# Flash is full: counters cannot be saved.
check "with a full flash the service starts" eval \
	'on_board "mount -t tmpfs -o size=16k,mode=0700 tmpfs /etc/natf/state; dd if=/dev/zero of=/etc/natf/state/full bs=1k count=64 2>/dev/null; : >/tmp/log" && start_routerd'
check "alice is reached" prints "This is alice" web alice
check "the log says what was not written, and what follows from it" says 'cannot write /etc/natf/state/counters.*(No space|full).*'
check "there is room again: what was not written is, without a restart" eval \
	'on_board "rm /etc/natf/state/full" && eventually 30 on_board "[ -s /etc/natf/state/counters ]"'
on_board '/etc/init.d/natf stop; umount /etc/natf/state' || true

# The internet comes later than the daemon.
check "without a WAN the service starts" eval \
	'on_board "ip link set wan down; ip addr flush dev wan; : >/tmp/log" && start_routerd'
check "the WAN comes up: alice is reached" eval \
	'on_board "ip addr add 203.0.113.2/24 dev wan; ip link set wan up" && sleep 3 && prints "This is alice" web alice'

# The kernel's table of connections is full of such as may not be evicted: more than one is too many now.
start_download || true
check "a download runs" is_running
check "with a full table bob is refused" eval 'on_board ": >/tmp/log; echo 1 >/proc/sys/net/netfilter/nf_conntrack_max" && not web bob'
check "the router's log says that the table is full" says 'the connection tracking table is full'
check "the outside node's log says what the router said" eventually 10 grep -q "bob.home.example.net tcp/80: the router refused: the router is busy" "$work/endd.log"
check "the download runs on" is_running
check "there is room: bob is reached" eval 'on_board "echo 8192 >/proc/sys/net/netfilter/nf_conntrack_max" && prints "This is bob" web bob'
