#!/usr/bin/env bash
#
# The lab: a small internet in network namespaces, on one machine, without any other network.
#
#      en (outside node)   stranger (other node)   client (runs nothing    isp (TSN server,  dns (authoritative:
#      198.51.100.10       198.51.101.10           of ours) 198.51.102.10  192.0.3.53)       nsd .53, named .54)
#            |                   |                       |                     |             192.0.2.53, .54
#   .--------'-------------------'-----------------------'---------------------'-------------------'.
#   | inet: the internet, a router with no NAT; counts virtual and private addresses it sees  |
#   '--.-----------------------.-----------------------.---------------------.----------------'
#      | 203.0.113.2 wan       | 203.0.114.2 wan       | 203.0.115.2 wan     | 203.0.116.2 wan
#   router1                 router2                  plain                  nat3
#   fw4, dnsmasq, NAT-f     fw4, dnsmasq, NAT-f      no NAT-f,              masquerade with
#   home.example.net        home2.example.net        own web server         random ports
#      | 192.168.1.1 br-lan    | 192.168.1.1 br-lan                            | 10.0.3.1 lan
#      |-- alice    .10        |-- carol .10  (alice's address)                |
#      |-- bob      .11        '-- dave  .11                                  |-- en3 10.0.3.10 (outside node
#      '-- mallory  .12 (denied)                                              |   behind a NAT)
#                                                                             '-- pc3 10.0.3.11 (runs nothing of ours)
#
# Every node is a network namespace with its own /etc (overlay), /run and /var/lib/natf, held by one
# sleeping process. Labs are told apart by NATF_LAB (default "natf"); several may run at once.
#
#   lab.sh up [--echo-drop] [--no-offload]   build it; router firewalls drop pings; no checksum or segment offload
#   lab.sh down                              take it down (idempotent, kills only what runs in these namespaces)
#   lab.sh exec NODE COMMAND...              run a command on a node
#   lab.sh start routerd|endd|dnsd NODE [ARG...]  start a daemon, wait until it answers; NATF_BIN = where it is
#   lab.sh stop NAME NODE [SIGNAL]           stop a daemon or server (TERM); waits until it is gone
#   lab.sh pid NAME NODE                     its process id
#   lab.sh dir                               where state, logs (NODE/NAME.log) and web pages lie
#   lab.sh status                            nodes, addresses, processes
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
tag=${NATF_LAB:-natf}
registry=/run/natf-lab
nodes=(inet en stranger client isp dns router1 alice bob mallory router2 carol dave plain nat3 en3 pc3)
echo_drop=0 offload=1 state=

# shellcheck source=tests/lab/servers.sh
. "$here/servers.sh"

fail() {
	echo "lab.sh: $*" >&2
	exit 1
}

# wait_for SECONDS COMMAND...: repeats the command until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.02
	done
}

find_state() {
	state=$(readlink "$registry/$tag") || fail "no lab named '$tag' is up (NATF_LAB)"
}

is_node() {
	[[ " ${nodes[*]} " == *" $1 "* ]] || fail "no node '$1'; nodes: ${nodes[*]}"
}

# --- nodes --------------------------------------------------------------------------------------

# Where the daemons are: NATF_BIN, else the release build, else the debug build.
binaries() {
	local target=${CARGO_TARGET_DIR:-$repository/target}
	if [[ -n ${NATF_BIN:-} ]]; then
		(cd "$NATF_BIN" && pwd)
	elif [[ -x $target/release/natf-routerd ]]; then
		echo "$target/release"
	else
		echo "$target/debug"
	fi
}

# Replaces this process with a command on a node; so the caller's $! is the command's own process id.
become() {
	local node=$1
	shift
	exec nsenter --net="/run/netns/$tag-$node" --mount="/proc/$(<"$state/$node/holder.pid")/ns/mnt" \
		--wdns="$PWD" env PATH="$(binaries):$PATH:/usr/sbin:/sbin" NATF_LAB="$tag" "$@"
}

enter() (
	become "$@"
)

# spawn NODE NAME COMMAND...: starts a server in its own session, so that Ctrl-C does not reach it.
spawn() {
	local node=$1 name=$2
	shift 2
	(become "$node" setsid "$@" </dev/null >>"$state/$node/$name.log" 2>&1) &
	echo $! >"$state/$node/$name.pid"
}

# Prints the process id behind a pid file if that process still runs on that node.
running() {
	local node=$1 name=$2 pid
	pid=$(cat "$state/$node/$name.pid" 2>/dev/null) || return 1
	[[ /proc/$pid/ns/net -ef /run/netns/$tag-$node ]] || return 1
	echo "$pid"
}

stop() {
	local name=$1 node=$2 signal=${3:-TERM} pid
	pid=$(running "$node" "$name") || return 0
	[[ $signal == KILL ]] || forget_natf_resolver "$node" "$name"
	kill -s "$signal" "$pid" 2>/dev/null || true
	wait_for 5 gone "$node" "$name" || fail "$name on $node (process $pid) does not end on SIG$signal"
	rm -f "$state/$node/$name.pid"
}

gone() {
	! running "$@" >/dev/null
}

# What a node has of its own besides the network; runs inside the node's new mount namespace.
private_files='
	set -e
	dir=$1
	mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/work" /etc 2>/dev/null || {
		cp -a /etc/. "$dir/etc/"
		mount --bind "$dir/etc" /etc
	}
	rm -f /etc/resolv.conf
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /run/lock /etc/config /etc/natf /etc/tsn-dnsd
	mount --bind "$dir/lib" /var/lib
	: >"$dir/ready"
	exec sleep infinity
'

make_node() {
	local node=$1 dir=$state/$1
	mkdir -p "$dir"/{etc,work,lib/natf,www}
	ip netns add "$tag-$node"
	setsid ip netns exec "$tag-$node" sh -c "$private_files" sh "$dir" </dev/null >>"$dir/holder.log" 2>&1 &
	echo $! >"$dir/holder.pid"
}

# link NODE DEVICE ADDRESS/LEN PEER PEER-DEVICE [PEER-ADDRESS/LEN]
link() {
	ip link add "$2" netns "$tag-$1" type veth peer name "$5" netns "$tag-$4"
	ip -n "$tag-$1" addr add "$3" dev "$2"
	[[ -z ${6:-} ]] || ip -n "$tag-$4" addr add "$6" dev "$5"
	ip -n "$tag-$1" link set "$2" up
	ip -n "$tag-$4" link set "$5" up
	if ((!offload)); then
		enter "$1" ethtool -K "$2" tx off rx off sg off tso off gso off gro off >/dev/null 2>&1 || true
		enter "$4" ethtool -K "$5" tx off rx off sg off tso off gso off gro off >/dev/null 2>&1 || true
	fi
}

# public NODE DEVICE NETWORK HOST: a node on the internet, with its own /24.
public() {
	link "$1" "$2" "$3.$4/24" inet "to-$1" "$3.1/24"
	ip -n "$tag-$1" route add default via "$3.1"
}

# lan_host NODE ROUTER HOST MAC: a host on a router's bridge; the port is named after the host.
lan_host() {
	link "$1" eth0 "192.168.1.$3/24" "$2" "lan-$1"
	ip -n "$tag-$1" link set eth0 address "$4"
	ip -n "$tag-$2" link set "lan-$1" master br-lan
	ip -n "$tag-$1" route add default via 192.168.1.1
	nameserver "$1" 192.168.1.1
}

# nameserver NODE ADDRESS...
nameserver() {
	local node=$1
	shift
	{
		printf 'nameserver %s\n' "$@"
		echo 'options timeout:2 attempts:2'
	} | enter "$node" tee /etc/resolv.conf >/dev/null
}

# --- topology -----------------------------------------------------------------------------------

make_topology() {
	local node
	for node in "${nodes[@]}"; do make_node "$node"; done
	for node in "${nodes[@]}"; do
		wait_for 5 test -e "$state/$node/ready" || fail "node $node does not come up: $(cat "$state/$node/holder.log")"
		ip -n "$tag-$node" link set lo up
		# A namespace inherits these from whatever machine this is.
		enter "$node" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.ip_forward=0
	done
	for node in inet router1 router2 plain nat3; do enter "$node" sysctl -qw net.ipv4.ip_forward=1; done
	# An ordinary Debian host has the loose reverse path filter.
	for node in en en3; do enter "$node" sysctl -qw net.ipv4.conf.all.rp_filter=2; done

	public en eth0 198.51.100 10
	public stranger eth0 198.51.101 10
	public client eth0 198.51.102 10
	public isp eth0 192.0.3 53
	public dns eth0 192.0.2 53
	ip -n "$tag-dns" addr add 192.0.2.54/24 dev eth0
	public router1 wan 203.0.113 2
	public router2 wan 203.0.114 2
	public plain wan 203.0.115 2
	public nat3 wan 203.0.116 2
	for node in router1 router2; do
		ip -n "$tag-$node" link add br-lan type bridge
		ip -n "$tag-$node" addr add 192.168.1.1/24 dev br-lan
		ip -n "$tag-$node" link set br-lan up
	done
	lan_host alice router1 10 02:00:00:00:01:10
	lan_host bob router1 11 02:00:00:00:01:11
	lan_host mallory router1 12 02:00:00:00:01:12
	lan_host carol router2 10 02:00:00:00:02:10
	lan_host dave router2 11 02:00:00:00:02:11
	ip -n "$tag-nat3" link add lan type bridge
	ip -n "$tag-nat3" addr add 10.0.3.1/24 dev lan
	ip -n "$tag-nat3" link set lan up
	for node in en3:10 pc3:11; do
		link "${node%:*}" eth0 "10.0.3.${node#*:}/24" nat3 "lan-${node%:*}"
		ip -n "$tag-nat3" link set "lan-${node%:*}" master lan
		ip -n "$tag-${node%:*}" route add default via 10.0.3.1
	done
	for node in en stranger isp dns plain nat3 en3; do nameserver "$node" 192.0.2.53; done
	# The TSN server first, an ordinary one second (T10).
	for node in client pc3; do nameserver "$node" 192.0.3.53 192.0.2.53; done
	for node in router1 router2; do nameserver "$node" 127.0.0.1; done

	make_firewalls
}

make_firewalls() {
	local node ruleset
	ruleset=$(<"$here/fw4.nft")
	if ((echo_drop)); then
		ruleset=$(sed '/Allow-Ping/s/counter accept/counter drop/' "$here/fw4.nft")
	fi
	for node in router1 router2; do enter "$node" nft -f - <<<"$ruleset"; done

	enter nat3 nft -f - <<-'RULES'
		table ip nat3 {
			chain forward {
				type filter hook forward priority filter; policy drop;
				ct state established,related accept
				ct state invalid drop
				iifname "lan" oifname "wan" accept
			}
			chain srcnat {
				type nat hook postrouting priority srcnat;
				oifname "wan" masquerade fully-random
			}
		}
	RULES

	# What no provider would carry: a test reads these counters to see that nothing leaks.
	enter inet nft -f - <<-'RULES'
		table ip watch {
			counter virtual_leaked { }
			counter private_leaked { }
			chain prerouting {
				type filter hook prerouting priority raw;
				ip daddr 240.0.0.0/4 counter name virtual_leaked drop
				ip saddr { 10.0.0.0/8, 192.168.0.0/16, 240.0.0.0/4 } counter name private_leaked drop
				ip daddr { 10.0.0.0/8, 192.168.0.0/16 } counter name private_leaked drop
			}
		}
	RULES
}

# --- commands -----------------------------------------------------------------------------------

up() {
	while (($#)); do
		case $1 in
		--echo-drop) echo_drop=1 ;;
		--no-offload) offload=0 ;;
		*) fail "up: unknown option '$1'; accepted: --echo-drop, --no-offload" ;;
		esac
		shift
	done
	((EUID == 0)) || fail "network namespaces need root"
	mkdir -p "$registry"
	state=$(mktemp -d "${TMPDIR:-/tmp}/$tag.XXXXXXXX")
	# The link is the lab's name: whoever makes it owns the name.
	ln -sn "$state" "$registry/$tag" 2>/dev/null || {
		rmdir "$state"
		fail "a lab named '$tag' is already up; take it down or set NATF_LAB"
	}
	trap 'status=$?; trap "" INT TERM; ((status == 0)) || down; exit $status' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	# FTP's anonymous user walks through it.
	chmod 711 "$state"
	make_topology
	write_configuration
	start_servers
}

# Ends every process in a namespace of this lab, politely, then by force.
end_processes() {
	local node signal pids round
	for signal in TERM KILL; do
		for round in {1..50}; do
			pids=$(for node in "${nodes[@]}"; do ip netns pids "$tag-$node" 2>/dev/null || true; done)
			[[ -n $pids ]] || return 0
			# shellcheck disable=SC2086
			if ((round == 1)); then kill -s $signal $pids 2>/dev/null || true; fi
			sleep 0.04
		done
	done
}

down() {
	local node
	state=$(readlink "$registry/$tag") || return 0
	end_processes
	for node in "${nodes[@]}"; do ip netns del "$tag-$node" 2>/dev/null || true; done
	if [[ -n $state ]]; then rm -rf --one-file-system -- "$state"; fi
	rm -f "$registry/$tag"
	rmdir "$registry" 2>/dev/null || true
}

start_daemon() {
	local name=$1 node=$2 pid program
	shift 2
	case $name in
	routerd | endd) program=natf-$name ;;
	dnsd) program=tsn-dnsd ;;
	*) fail "start: '$name' is none of routerd, endd, dnsd" ;;
	esac
	[[ -x $(binaries)/$program ]] || fail "no $program in $(binaries): build first, or set NATF_BIN"
	! running "$node" "$name" >/dev/null || fail "$name already runs on $node"
	spawn "$node" "$name" env RUST_LOG="${RUST_LOG:-info}" "$program" "$@"
	pid=$(<"$state/$node/$name.pid")
	local end=$((SECONDS + 10))
	until enter "$node" "$program" status >/dev/null 2>&1; do
		if ! kill -0 "$pid" 2>/dev/null || ((SECONDS >= end)); then
			tail -n 20 "$state/$node/$name.log" >&2
			fail "$program on $node (process $pid) does not answer"
		fi
		sleep 0.05
	done
	use_natf_resolver "$node" "$name"
}

print_status() {
	local node file name
	echo "lab '$tag' in $state"
	for node in "${nodes[@]}"; do
		printf '%-9s %s\n' "$node" "$(ip -n "$tag-$node" -4 -br addr | awk '$1 != "lo" { sub(/@.*/, "", $1); printf "%s %s  ", $1, $3 }')"
		for file in "$state/$node"/*.pid; do
			name=$(basename "$file" .pid)
			[[ $name == holder ]] && continue
			printf '          %-9s %s\n' "$name" "$(running "$node" "$name" || echo "not running")"
		done
	done
}

main() {
	local command=${1:-help}
	shift || true
	case $command in
	up) up "$@" ;;
	down) down ;;
	exec)
		find_state
		is_node "${1:?NODE}"
		become "$@"
		;;
	start)
		find_state
		is_node "${2:?NODE}"
		start_daemon "$@"
		;;
	stop)
		find_state
		is_node "${2:?NODE}"
		stop "$@"
		;;
	pid)
		find_state
		is_node "${2:?NODE}"
		running "$2" "$1"
		;;
	dir) find_state && echo "$state" ;;
	status) find_state && print_status ;;
	*) sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" ;;
	esac
}

main "$@"
