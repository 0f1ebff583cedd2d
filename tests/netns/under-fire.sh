#!/usr/bin/env bash
# time limit: 240 s
#
# A thousand conversations while everything else goes wrong: floods, a daemon killed again and again, firewall reloads, a
# flushed ruleset, a full disk, no descriptors left, a clock that jumps. None may break, and new connections go on.
#
#   en 198.51.100.10 ─────────── inet ── router1 (natf-routerd, fw4) ─┬─ alice 192.168.1.10
#   1,000 conversations,         │       203.0.113.2                  '─ bob   192.168.1.11
#   10 new connections a second  │
#   stranger 198.51.101.10 ──────┘  floods
#
# `make soak` repeats this for an hour and draws memory and entries: SOAK_SECONDS, and SOAK_DIR for figures and plot.
. "$(dirname "$0")/lib.sh"
need_daemons
seconds=${SOAK_SECONDS:-50} port=7000 count=1000
packets=$(realpath "$(dirname "$0")/packets.py")
flows=$tests/soak/flows.py

counters() {
	on router1 natf-routerd counters --json | jq "$1"
}

resident() {
	awk '/VmRSS/ { print $2 }' "/proc/$(lab pid "$1" "$2")/status" 2>/dev/null || echo 0
}

# phase NAME: what flows.py counts from here on.
phase() {
	echo "$1" >&9
}

# sample: a row of the figures, once a second until the scenario ends.
sample() {
	local now mappings entries
	echo "seconds routerd_kib endd_kib mappings router_entries en_entries" >"$figures"
	while sleep 1; do
		now=$((SECONDS - begun))
		mappings=$(on router1 natf-routerd status --json 2>/dev/null | jq .mappings 2>/dev/null || echo nan)
		entries="$(on router1 cat /proc/sys/net/netfilter/nf_conntrack_count) $(on en cat /proc/sys/net/netfilter/nf_conntrack_count)"
		echo "$now $(resident routerd router1) $(resident endd en) ${mappings:-nan} $entries" >>"$figures"
	done
}

# --- what goes wrong ------------------------------------------------------------------------------------------------

flood_noise() { on stranger /usr/bin/python3 "$packets" bad anything --count 20000 203.0.113.2; }
flood_forged() { on stranger /usr/bin/python3 "$packets" bad forged --count 10000 203.0.113.2; }
flood_spoofed() { on stranger /usr/bin/python3 "$packets" bad forged --count 10000 --from 198.51.100.10 203.0.113.2; }
flood_notices() {
	# A TSN server's key gone bad: notifications as quickly as it can.
	on isp "$NATF_BIN/natf-bench" notify-rate 203.0.113.2 192.0.3.53 "$isp_key" 4720 alice.home.example.net 50000 >/dev/null
}
kill_router() {
	local turn
	for turn in 1 2 3; do
		lab stop routerd router1 KILL
		sleep 0.2
		start_router
		sleep 0.5
	done
}
kill_end() {
	lab stop endd en KILL
	sleep 0.2
	lab start endd en
}
# The chains of a deleted table judge for some microseconds more, without the elements of their sets: "established: accept" does
# not match, and fw4's last rule resets the connection, natf or not (tests/experiments/m_generation.py). Here that rule is
# silent towards connections that stand, so that what is seen broken was broken by natf.
load_firewall() {
	sed 's/chain handle_reject {/&\n\t\tct state established,related drop/' "$tests/lab/fw4.nft" | on router1 nft -f -
}
reload_firewall() {
	local turn
	for turn in 1 2 3 4 5; do
		load_firewall
		sleep 0.1
	done
}
flush_ruleset() {
	on router1 nft flush ruleset
	sleep 0.5
	load_firewall
	eventually 5 on router1 nft list table ip natf >/dev/null
}
fill_disk() {
	on router1 sh -c 'cat /dev/zero >/etc/natf/fill 2>/dev/null' || true
	# A new block of counters has to be written at a start.
	lab stop routerd router1 KILL
	start_router
	sleep 1
	on router1 rm -f /etc/natf/fill
}
exhaust_descriptors() {
	# Whoever may open the control socket opens it as often as it lets him.
	on router1 /usr/bin/python3 -c '
import socket, time
held = []
for _ in range(900):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.settimeout(0.2)
    try:
        one.connect("/var/run/natf/routerd.sock")
    except OSError:
        break
    held.append(one)
time.sleep(2)'
}
jump_clock() {
	# Ahead by a year, back to 1970, and right again; the daemon's clock only.
	local offset
	for offset in +31536000 -1700000000 +0; do
		echo "$offset" >"$clock"
		sleep 1
	done
}
reload_configuration() {
	local turn
	for turn in 1 2 3 4 5 6 7 8 9 10; do
		kill -HUP "$(lab pid routerd router1)" "$(lab pid endd en)"
		sleep 0.05
	done
}
faults=(flood_noise flood_forged flood_spoofed flood_notices kill_router kill_end reload_firewall flush_ruleset fill_disk
	exhaust_descriptors jump_clock reload_configuration)

# The daemon reads the time through libfaketime, where that is installed; other clocks stay as they are.
start_router() {
	local library
	library=$(find /usr/lib -name libfaketime.so.1 -print -quit)
	if [[ -n $library ]]; then
		LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$clock FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1 lab start routerd router1
	else
		lab start routerd router1
	fi
}

# --- the scenario ---------------------------------------------------------------------------------------------------

lab_up
load_firewall
dir=$(lab dir)
figures=$dir/figures report=$dir/en/phases clock=$dir/clock begun=$SECONDS
echo +0 >"$clock"
isp_key=$(key_hex router1 isp)
on router1 mount -t tmpfs -o size=256k tmpfs /mnt
on router1 sh -c 'cp -a /etc/natf/. /mnt/ && mount --move /mnt /etc/natf'
start_router
lab start endd en
for host in alice bob; do
	on "$host" /usr/bin/python3 "$flows" serve $port </dev/null >"$dir/$host/serve.log" 2>&1 &
done
sleep 0.5
mkfifo "$dir/en/phase"
on en /usr/bin/python3 "$flows" drive $port $count "$report" alice.home.example.net bob.home.example.net \
	<"$dir/en/phase" >"$dir/en/drive" 2>"$dir/en/drive.errors" &
exec 9>"$dir/en/phase"
check "a thousand conversations are open" eventually 30 grep -qx "open $count" "$dir/en/drive"
phase idle
sample 2>/dev/null &
sampler=$!
sleep 5
warm=$(resident routerd router1)

while ((SECONDS - begun < seconds)); do
	for fault in "${faults[@]}"; do
		phase "$fault"
		"$fault" >>"$dir/faults.log" 2>&1 || echo "$fault: status $?" >>"$dir/faults.log"
		phase "after_$fault"
		sleep 1
	done
done
phase quiet
sleep 5
cold=$(resident routerd router1)
busy=$(tail -n 1 "$figures")
echo end >&9
exec 9>&-
kill $sampler
cp "$figures" "$dir/figures.kept"

# in_phases JQ: over all phases' lines.
in_phases() {
	jq -s "$1" "$report"
}
jq -r '"        \(.phase): \(.said) lines, \(.broken) broken, \(.opened) opened, \(.refused) refused; p50 \(.p50_ms) ms, p99 \(.p99_ms) ms"' "$report" |
	awk 'NR <= 40 { print } NR == 41 { print "        …" }'
echo "        resident: $warm KiB at the beginning, $cold KiB at the end; seconds, daemons' KiB, mappings, entries: $busy"
check "no conversation broke" test "$(in_phases 'map(.broken) | add')" == 0
check "each went on in every phase" prints '^true$' in_phases 'map(select(.seconds > 5) | .said > 0) | all'
check "conversations were answered within the patience of TCP" prints '^true$' in_phases 'map(.slowest_s) | max < 10'
check "under floods enrolled nodes get mappings" prints '^true$' in_phases 'map(select(.phase | startswith("flood")) | .opened > 5 * .refused) | all'
check "at the end all new connections come about" prints '^true$' in_phases '.[-1] | .opened > 20 and .refused == 0'
idle_p50=$(in_phases 'map(select(.phase == "idle"))[0].p50_ms')
flood_p50=$(in_phases 'map(select(.phase | startswith("flood")).p50_ms) | max')
echo "        new connection, median: idle $idle_p50 ms, under the worst flood $flood_p50 ms"
check "memory stays where it was" test "$cold" -le "$((warm + 1024))"
check "what the floods sent is counted" prints '^true$' counters '.forged >= 0 and .mapped > 0'
# entries_gone: of the conversations' connections none is left.
entries_gone() { [[ $(on router1 conntrack -L -p tcp 2>/dev/null | grep -c "dport=$port.*ESTABLISHED") == 0 ]]; }
check "with the conversations their entries end" eventually 20 entries_gone
few_mappings() { [[ $(on router1 natf-routerd status --json | jq .mappings) -lt 100 ]]; }
check "and their mappings" eventually 30 few_mappings
check "no private address was seen on the internet" test "$(leaked private_leaked)" == 0
if [[ -n ${SOAK_DIR:-} ]]; then
	mkdir -p "$SOAK_DIR"
	cp "$dir/figures.kept" "$SOAK_DIR/figures"
	cp "$report" "$SOAK_DIR/phases"
fi
