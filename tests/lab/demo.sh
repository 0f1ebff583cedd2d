#!/usr/bin/env bash
# Shows NAT-f and TSN on real programs: nodes on the internet talk to hosts behind a NAT router by their names.
# Installs what is missing, builds, sets the lab up (its drawing is in lab.sh), and takes it down at the
# end, also on Ctrl-C.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
export NATF_LAB=${NATF_LAB:-natf$$}
jobs=()

bold='' dim='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi

lab() {
	"$here/lab.sh" "$@"
}

heading() {
	printf '\n%s== %s%s\n' "$bold" "$*" "$plain"
}

# on NODE COMMAND: says what it does, then does it; a failure is shown, not fatal.
on() {
	local node=$1
	shift
	printf '%s%s$ %s%s\n' "$dim" "$node" "$*" "$plain"
	lab exec "$node" bash -c "$*" 2>&1 || printf '%s(exit status %s)%s\n' "$dim" "$?" "$plain"
}

quietly() {
	lab exec "$@" >/dev/null 2>&1 || true
}

cleanup() {
	local status=$?
	trap '' INT TERM HUP
	trap - EXIT
	((${#jobs[@]} == 0)) || kill "${jobs[@]}" 2>/dev/null || true
	lab down
	exit "$status"
}

prepare() {
	((EUID == 0)) || {
		echo "the demonstration needs root: it makes network namespaces" >&2
		exit 1
	}
	"$repository/tests/install-tools.sh"
	# A real browser; the demonstration goes on without one where it is not to be had.
	command -v chromium >/dev/null || "$repository/tests/install-tools.sh" --packages chromium || true
	if [[ -z ${NATF_BIN:-} ]]; then
		echo "building ..."
		(cd "$repository" && cargo build --quiet --release --locked -p natf-routerd -p natf-endd -p tsn-dnsd)
	fi
	trap cleanup EXIT
	trap 'echo; echo "interrupted: taking the lab down"; exit 130' INT
	trap 'exit 143' TERM HUP
	lab up
	# Something that takes two seconds to fetch.
	for host in alice bob; do
		head -c 40000000 /dev/zero >"$(lab dir)/$host/www/big"
	done
}

show_topology() {
	cat <<-'TEXT'

		   en 198.51.100.10 ---- the internet ---- router1 203.0.113.2  (home.example.net, fw4 firewall, NAT)
		                                              |-- alice    192.168.1.10   allowed
		                                              |-- bob      192.168.1.11   allowed
		                                              '-- mallory  192.168.1.12   denied
	TEXT
}

show_before() {
	heading "Without NAT-f: every name leads to the router, and the router refuses"
	on en 'dig +short alice.home.example.net bob.home.example.net'
	on en 'curl -sS --max-time 3 http://alice.home.example.net/'
}

show_names() {
	heading "natf-routerd on router1, natf-endd on en: each name has its own virtual address"
	lab start routerd router1 --measure
	lab start endd en
	on en 'dig +short alice.home.example.net bob.home.example.net'
}

show_web() {
	heading "Two web servers behind one NAT, both on port 80, at the same time"
	on en 'curl -sS http://alice.home.example.net/ http://bob.home.example.net/'
	local host
	for host in alice bob; do
		lab exec en curl -sS --limit-rate 18M -o /dev/null \
			-w "en: $host sent %{size_download} bytes from %{remote_ip}:%{remote_port} in %{time_total} s\n" \
			"http://$host.home.example.net/big" &
		jobs+=($!)
	done
	sleep 0.7
	on router1 'natf-routerd mappings'
	wait "${jobs[@]}"
	jobs=()
}

show_ftp() {
	heading "FTP: a control and a data connection, passive and active"
	on en 'curl -sS --max-time 5 ftp://alice.home.example.net/readme.txt'
	on en 'curl -sS --max-time 5 --ftp-port - ftp://alice.home.example.net/readme.txt'
	on en 'curl -sS --max-time 5 -w "%{size_download} bytes\n" -o /dev/null ftp://alice.home.example.net/photo.bin'
}

show_throughput() {
	heading "iperf3 to bob: the data path is the kernel's own NAT"
	on en 'iperf3 -c bob.home.example.net -t 2 | grep -E "sender|receiver"'
}

show_udp() {
	heading "UDP: datagrams to alice and back"
	on en 'for word in one two three; do echo $word; sleep 0.1; done | socat -t 0.5 - UDP4:alice.home.example.net:7'
}

show_refusal() {
	heading "mallory is denied: refused at once, and the reason is told to who has a key"
	on en 'curl -sS -w "after %{time_total} s\n" --max-time 5 http://mallory.home.example.net/'
	echo "natf-endd's log: $(grep refused "$(lab dir)/en/endd.log" | tail -n 1)"
	heading "Somebody without a key gets nothing"
	on stranger 'curl -sS --max-time 3 http://alice.home.example.net/'
}

show_tsn() {
	heading "TSN: a client that runs nothing of ours; its DNS server, tsn-dnsd on isp, announces it to the router"
	lab start dnsd isp
	on client 'cat /etc/resolv.conf | head -n 1; curl -sS http://alice.home.example.net/ http://bob.home.example.net/'
	if command -v chromium >/dev/null; then
		# Its vendor's names do not exist here; after such failures it would prefer a second server.
		quietly client sh -c 'echo nameserver 192.0.3.53 >/etc/resolv.conf'
		on client 'chromium --headless --no-sandbox --disable-gpu --user-data-dir=/run/browser --dump-dom http://alice.home.example.net/ 2>/dev/null'
	else
		echo "(chromium is not installed: no browser is shown)"
	fi
	on router1 'natf-routerd guide'
	heading "The same for mallory, who is denied: a definite answer without an address, and why"
	on client 'dig mallory.home.example.net | grep -E "status|EDE"'
	heading "alice registers another name of hers at a provider; the router reads it as it passes"
	on alice "nsupdate -k $(lab dir)/dns/named/home.key <<< $'server 192.0.2.54\\nzone dyn.example.net\\nupdate add laptop.dyn.example.net 5 A 203.0.113.2\\nsend'"
	on client 'curl -sS http://laptop.dyn.example.net/'
}

show_tables() {
	heading "The tables"
	on router1 'natf-routerd mappings'
	on en 'natf-endd status'
	heading "A flow in router1's connection tracking: the kernel translates, no daemon in between"
	on router1 'conntrack -L -p udp --orig-src 198.51.100.10 2>/dev/null | head -n 1'
}

# `status --json` has medians in microseconds; a step that was not measured is shown as "-".
show_times() {
	heading "The times of each step, beside the paper's (Pentium 4, 3 GHz), in microseconds"
	local i
	for i in {1..40}; do
		quietly en curl -sS --max-time 2 http://alice.home.example.net/
	done
	on en 'natf-endd ping alice.home.example.net:80'
	/usr/bin/python3 - "$(lab exec en natf-endd status --json)" "$(lab exec router1 natf-routerd status --json)" <<-'TABLE'
		import json, sys

		end, router = json.loads(sys.argv[1]), json.loads(sys.argv[2])
		steps = end.get("steps_us") or {}
		parts = ["dns_rewrite", "negotiation_start", "request_to_response", "release"]
		ours = [steps.get(part) for part in parts]
		whole = sum(ours) if None not in ours else None
		rows = [
		    ("DNS answer rewritten", "7.13", steps.get("dns_rewrite")),
		    ("negotiation started", "3.38", steps.get("negotiation_start")),
		    ("request sent -> response", "388", steps.get("request_to_response")),
		    ("  of which the router", "114", router.get("router_us")),
		    ("response -> packet released", "27", steps.get("release")),
		    ("whole start-up overhead", "650", whole),
		]
		print(f"  {'':30}{'paper':>8}{'here':>10}")
		for name, paper, value in rows:
		    print(f"  {name:30}{paper:>8}{'-' if value is None else format(value, '.1f'):>10}")
	TABLE
	echo "  (medians of some forty connections on this machine; make bench-natf measures properly)"
}

prepare
show_topology
show_before
show_names
show_web
show_ftp
show_throughput
show_udp
show_refusal
show_tsn
show_tables
show_times
heading "Done; taking the lab down"
