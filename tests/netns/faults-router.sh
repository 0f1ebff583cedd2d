#!/usr/bin/env bash
#
# The router's daemon dies, its firewall is reloaded or flushed, its tables are full, its configuration is bad, and
# strangers send what they like.
#
#   en 198.51.100.10 ───────── inet ── router1 (natf-routerd, fw4) ─┬─ alice 192.168.1.10
#   stranger 198.51.101.10 ────'       203.0.113.2                  '─ bob   192.168.1.11
#   (sends bad messages, also with en's address as source)
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/downloads.bash"
need_daemons
packets=$(realpath "$(dirname "$0")/packets.py")

web() {
	on en curl -sS --max-time 4 "http://$1/"
}

mappings() {
	on router1 natf-routerd mappings --json
}

# has_mapping HOST [PEER]
has_mapping() {
	mappings | /usr/bin/python3 -c '
import json, sys
rows = json.load(sys.stdin)["mappings"]
sys.exit(not any(row["host"] == sys.argv[1] and row["peer"] == sys.argv[2] and row["state"] == "live" for row in rows))' "$1" "${2:-laptop}"
}

counter() {
	on router1 natf-routerd counters --json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# raises COUNTER AMOUNT COMMAND...
raises() {
	local name=$1 amount=$2 before after
	shift 2
	before=$(counter "$name")
	"$@" || return 1
	eventually 3 test "$(counter "$name")" -ge $((before + amount)) || after=$(counter "$name")
	after=$(counter "$name")
	echo "$name: $before, then $after"
	((after == before + amount))
}

resident() {
	awk '/VmRSS/ { print $2 }' "/proc/$(lab pid routerd router1)/status"
}

reload() {
	kill -HUP "$(lab pid routerd router1)"
	sleep 0.2
}

logs() {
	prints "$1" tail -n "${2:-5}" "$dir/router1/routerd.log"
}

# says REGEX COMMAND...: the output has a match, whatever the exit status.
says() {
	local regex=$1
	shift
	prints "$regex" sh -c '"$@" 2>&1 || true' - "$@"
}

fails_at_once() {
	local begin=${EPOCHREALTIME/./} status=0 took
	"$@" || status=$?
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
	echo "exit status $status after $took ms"
	((status != 0 && took < 1000))
}

lab_up
dir=$(lab dir)
large_file alice bob
lab start routerd router1
lab start endd en

# --- killed -----------------------------------------------------------------------------------------
download en alice.home.example.net 400
download en bob.home.example.net 400
lab stop routerd router1 KILL
check "killed in the middle of two downloads" goes_on en alice.home.example.net
check "a router whose daemon is dead refuses at once, as it mirrors the request (N10)" fails_at_once web mallory.home.example.net
on router1 sed -i "/config host 'bob'/,/^\$/ s/allow/deny/" /etc/config/natf
lab start routerd router1
check "killed and started again, it finds the live mapping by its label" has_mapping alice
check "a mapping that was revoked meanwhile is ended" not has_mapping bob
check "and no connection to bob is left in the kernel" \
	prints '^0$' sh -c "ip netns exec $NATF_LAB-router1 conntrack -L -p tcp --reply-src 192.168.1.11 2>/dev/null | wc -l"
check "new connections work" prints "server of alice" web alice.home.example.net
check "bob is denied now, and en's user is told (N6)" says denied "$tests/lab/lab.sh" exec en natf-endd ping bob.home.example.net:80
check "the download that is allowed runs on to its end" ends_whole en alice.home.example.net
check "the one that is not does not" breaks en bob.home.example.net
on router1 sed -i "/config host 'bob'/,/^\$/ s/deny/allow/" /etc/config/natf
reload
sleep 2.1
check "allowed again, bob is reached" prints "server of bob" web bob.home.example.net

# --- firewall ---------------------------------------------------------------------------------------
download en alice.home.example.net 1000
on router1 nft -f - <"$tests/lab/fw4.nft"
on router1 nft -f - <"$tests/lab/fw4.nft"
check "a download runs on through reloads of fw4" ends_whole en alice.home.example.net
check "new connections work after them" prints "server of bob" web bob.home.example.net

mkfifo "$dir/en/typed"
on en socat -t 1 - TCP4:alice.home.example.net:21 <"$dir/en/typed" >"$dir/en/ftp" &
exec 9<>"$dir/en/typed"
check "a connection is open and idle" eventually 3 grep -qs '^220' "$dir/en/ftp"
on router1 nft flush ruleset
check "our table is back within 3 s of a flushed ruleset" eventually 3 on router1 nft list table ip natf
check "so is the one for the LAN" eventually 7 on router1 nft list table ip natf_end
on router1 nft -f - <"$tests/lab/fw4.nft"
echo SYST >&9
check "a connection that was idle meanwhile goes on" eventually 3 grep -q '^530' "$dir/en/ftp"
exec 9>&-
check "and new ones work" prints "server of alice" web alice.home.example.net

# --- configuration ----------------------------------------------------------------------------------
on router1 cp /etc/config/natf /etc/config/natf.good
line=$(on router1 grep -n "config host 'alice'" /etc/config/natf | cut -d: -f1)
on router1 sed -i "$((line + 2))s/allow/yes/" /etc/config/natf
reload
check "a bad configuration at a reload is named with file and line" logs "/etc/config/natf:$((line + 2)).*access.*'yes'"
check "'check' says the same" says "natf:$((line + 2))" "$tests/lab/lab.sh" exec router1 natf-routerd check
check "the former configuration stays in force" prints "server of alice" web alice.home.example.net
on router1 cp /etc/config/natf.good /etc/config/natf
reload
check "a good one is taken again" logs "configuration loaded" 1

# --- what strangers send ------------------------------------------------------------------------------
on en /usr/bin/python3 "$packets" record "$dir/en/message" &
recording=$!
eventually 5 test -e "$dir/en/message.ready"
web alice.home.example.net >/dev/null
wait $recording
mapped=$(counter mapped)
resend() {
	on stranger /usr/bin/python3 "$packets" send "$@" 203.0.113.2 "$dir/en/message"
}
send_bad() {
	on stranger /usr/bin/python3 "$packets" bad "$@" 203.0.113.2
}
warm=$(send_bad forged --count 500 && resident)
check "a recorded request, sent once more, is a replay (N15)" raises replayed 1 resend
check "so it is with en's address as its source" raises replayed 5 resend --from 198.51.100.10 --count 5
check "neither makes a mapping" test "$(counter mapped)" == "$mapped"
check "noise is no message of ours; the rule does not even catch it" raises malformed 0 send_bad noise --count 300
check "oversized messages are counted" raises malformed 300 send_bad oversized --count 300
check "so are those of another version" raises malformed 300 send_bad version --count 300
check "so are unknown kinds" raises malformed 300 send_bad unknown-kind --count 300
check "so are kinds that only routers send" raises unexpected_kind 300 send_bad kind --count 300
check "so are unknown keys" raises unknown_key 300 send_bad unknown-key --count 300
check "so are forged messages of a known key (N15)" raises forged 300 send_bad forged --count 300
check "also with en's address as their source" raises forged 300 send_bad forged --count 300 --from 198.51.100.10
check "so are strangers while no host is open to anyone" raises anonymous_ignored 300 send_bad anonymous --count 300
before=$(counter malformed)
send_bad truncated --count 300
check "truncated ones are counted as far as they have the magic number" eventually 3 test "$(counter malformed)" -gt "$((before + 150))"
check "none of them makes a mapping" test "$(counter mapped)" == "$mapped"
echo "        resident: $warm KiB after the first 500 messages, $(resident) KiB after 3,000"
check "memory does not grow by them" test "$(resident)" -le "$((warm + 128))"
check "the service goes on" prints "server of bob" web bob.home.example.net

lab stop routerd router1
lab start routerd router1
check "a replay is recognised after a restart, too (N15)" raises mapped 0 resend
check "an honest peer is served at once after it" prints "server of alice" web alice.home.example.net

# --- a full connection table --------------------------------------------------------------------------
download en alice.home.example.net 200
status=0
on router1 /usr/bin/python3 "$packets" fill 203.0.113.2 >"$dir/router1/filled" || status=$?
if ((status == 77)); then
	echo "skip    a full connection table: this machine's is too large to be filled"
else
	echo "        $(cat "$dir/router1/filled")"
	# The first ones may still push a connection out that is closing.
	check "with the kernel's table full a connection is refused at once" eventually 8 fails_at_once web bob.home.example.net
	check "and the reason is 'busy'" says busy "$tests/lab/lab.sh" exec en natf-endd ping alice.home.example.net:80
	check "the kernel's refusal is counted" test "$(counter refused_busy)" -gt 0
	check "an established download runs on" ends_whole en alice.home.example.net
	on router1 conntrack -D -p udp --orig-port-dst 40000 >/dev/null 2>&1
	sleep 2.1
	check "with room again it works again" eventually 5 prints "server of bob" web bob.home.example.net
fi
check "no private address was seen on the internet" test "$(leaked private_leaked)" == 0
