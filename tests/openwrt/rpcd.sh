#!/usr/bin/env bash
# rpcd's exec plugin: what `ubus call natf METHOD` gets, who may call what, and hostile callers.
# shellcheck source=tests/openwrt/lib.sh
. "$(dirname "$0")/lib.sh"

package_up natf tsn-dnsd
network_up
plugin=/usr/libexec/rpcd/natf
rights=$root/usr/share/rpcd/acl.d/natf.json

# call METHOD [ARGUMENTS]
call() { in_root "$plugin" call "$1" <<<"${2-"{}"}"; }
# gives METHOD JQ-CONDITION [ARGUMENTS]
gives() {
	local answer
	answer=$(call "$1" "${3-"{}"}") || return
	jq -e "type == \"object\" and ($2)" <<<"$answer" >/dev/null || {
		echo "$answer"
		return 1
	}
}
methods() { in_root "$plugin" list | jq -r 'keys[]'; }
allowed() { jq -r ".natf.$1.ubus.natf[]" "$rights"; }

check "the plugin lists methods with their arguments" prints '"why":\{"name":"text","peer":"text","service":"text"\}' in_root "$plugin" list
check "every method is either read or write" test "$(methods)" = "$({ allowed read && allowed write; } | sort)"
check "without the daemon an answer says so" gives status '.error | test("no natf-routerd answers")'
check "the configuration can be checked all the same" gives check '.good'

config natf <<-'UCI'
	config router 'router'
		option domain 'home.example.net'
	config host 'alice'
		option ip '192.168.1.10'
		option access 'allow'
UCI
service natf start
answers() { in_root natf-routerd status >/dev/null 2>&1; }
eventually 10 answers

check "status" gives status '.version and .hosts == 1'
check "counters" gives counters '.requests == 0'
for method in mappings guide names peers refusals; do check "$method" gives "$method" ".$method == []"; done
check "tables say how many rows there are" gives mappings '.total == 0'
for method in mappings guide; do
	check "$method may begin further on" gives "$method" ".$method == [] and .total == 0" '{"from": 1000}'
done
check "status names the address towards the internet, if there is one" gives status 'has("outside")'
check "hosts: the table and who is there" gives hosts '.hosts[0].name == "alice" and (.discovered | type == "array")'
check "why" gives why '.allowed == false and .because' '{"name": "alice"}'
check "each step names the reason that it may give" gives why '[.steps[].reason] == ["unknown_host", "denied", "expired", "peer_not_allowed"]' '{"name": "alice"}'
check "uhttpd's session is passed over" gives status .version '{"ubus_rpc_session": "00000000000000000000000000000000"}'

# --- the key ------------------------------------------------------------------------------------------------------
added=$(call peer_add '{"name": "laptop", "hosts": ["alice"]}')
key=$(jq -r .uri <<<"$added" | sed -n 's/.*key=\([^&]*\).*/\1/p')
check "peer_add gives the enrol text" test "${#key}" = 43
check "and a QR code" test "$(jq '.qr | length == (.[0] | length) and length > 20' <<<"$added")" = true
check "the daemon knows the peer" gives peers '.peers[0].name == "laptop"'
check "a second one of that name is refused" gives peer_add '.error' '{"name": "laptop"}'
for method in $(allowed read); do
	check "$method does not tell the key" not prints "$key" call "$method"
done
check "nor does the configuration that may be read" not grep -q "$key" "$root/etc/config/natf"
check "no file of the rights is a key file" not grep -q 'etc/natf' "$rights"
check "end" gives end '.ended == false' '{"id": 1}'
check "end takes the source of the flow that is meant" gives end '.ended == false' '{"id": 1, "source": "198.51.100.2:40000"}'

# --- another name -------------------------------------------------------------------------------------------------
printf "\tlist peer 'laptop'\n" >>"$root/etc/config/natf.host"
sed -i "/option ip '192.168.1.10'/r $root/etc/config/natf.host" "$root/etc/config/natf" && rm "$root/etc/config/natf.host"
for bad in '{"name": "laptop", "to": "alice"}' '{"name": "laptop", "to": "a b"}' '{"name": "laptop", "to": "anyone"}' '{"name": "laptop"}' \
	'{"name": "nobody", "to": "phone"}' '{"name": "alice", "to": "phone"}' "{\"name\": \"laptop\", \"to\": \"x'\\noption role\"}"; do
	check "peer_rename refuses $bad" gives peer_rename .error "$bad"
done
check "peer_rename" gives peer_rename '.renamed and .ended == 0' '{"name": "laptop", "to": "work"}'
check "the daemon knows the new name alone" gives peers '[.peers[].name] == ["work"]'
check "the key has it, too" grep -q "^work [0-9]* $key\$" "$root/etc/natf/keys"
check "and no other" test "$(grep -vc '^#' "$root/etc/natf/keys")" = 1
check "the rows that name the peer follow" grep -q "list peer 'work'" "$root/etc/config/natf"
check "nothing is left of the former name" not grep -q laptop "$root/etc/config/natf" "$root/etc/natf/keys"
check "peer_remove" gives peer_remove '.removed and .ended == 0' '{"name": "work"}'
check "an unknown peer cannot be removed" gives peer_remove .error '{"name": "work"}'

# --- the web interface's own ---------------------------------------------------------------------------------------
app=$repository/luci-app-natf/root
install -m 755 "$app/usr/libexec/rpcd/luci.natf" "$root/usr/libexec/rpcd/"
# busybox's answers, as far as the plugin reads them; and hostile ones.
cat >"$root/usr/sbin/nslookup" <<-'SH'
	#!/bin/sh
	for name; do :; done
	printf 'Server:\t\t127.0.0.1\nAddress:\t127.0.0.1:53\n\n'
	case $name in
	alice.home.example.net) printf 'Name:\t%s\nAddress: 203.0.113.2\n\nName:\t%s\nAddress: 203.0.113.3\n' "$name" "$name" ;;
	silent.*) printf ';; connection timed out; no servers could be reached\n\n' ;;
	*) printf 'Name:\tx\nAddress: 1.2.3.4"],"x":["\nAddress: $(reboot)\nAddress: 2001:db8::1\n' ;;
	esac
SH
chmod +x "$root/usr/sbin/nslookup"
# Not by busybox's shell, which would take its own nslookup.
looked_up() { in_root bash --posix /usr/libexec/rpcd/luci.natf call lookup <<<'{}'; }
check "its plugin lists lookup, without arguments" test "$(in_root /usr/libexec/rpcd/luci.natf list)" = '{"lookup":{}}'
check "lookup tells what the home's names resolve to" test "$(looked_up | jq -c .)" \
	= '{"names":[{"name":"alice.home.example.net","addresses":["203.0.113.2","203.0.113.3"]}]}'
printf "config host 'x'\n\toption name '-type=any'\n\toption access 'allow'\nconfig host 'bob'\n\toption access 'allow'\nconfig host 'silent'\n\toption access 'allow'\n" >>"$root/etc/config/natf"
check "neither a name nor an answer gets further than it should, and silence is no answer" test "$(looked_up | jq -c '.names[1:]')" \
	= '[{"name":"bob.home.example.net","addresses":[]},{"name":"silent.home.example.net","addresses":null}]'
sed -i "/config host 'x'/,\$d" "$root/etc/config/natf"
check "another method is refused" test "$(in_root /usr/libexec/rpcd/luci.natf call reboot | jq 'has("error")')" = true
for right in read write; do
	check "its right to $right has the same methods" test "$(jq -c ".[\"luci-app-natf\"].$right.ubus.natf" "$app/usr/share/rpcd/acl.d/luci-app-natf.json")" \
		= "$(jq -c ".natf.$right.ubus.natf" "$rights")"
done

# --- hostile callers ----------------------------------------------------------------------------------------------
for bad in '{"name": "a b"}' '{"name": "../../etc/passwd"}' "{\"name\": \"x'\\noption role\"}" '{"name": ""}' '{}' '{"name": 7}' \
	'{"name": "ok", "role": "root"}' '{"name": "ok", "hosts": ["a\u0000b"]}' '{"name": "ok", "hosts": ["x'"'"'"]}' \
	'{"name": "ok", "domain": "a/b"}' '{"name": "ok", "config": "/etc/passwd"}' '[]' 'x' ''; do
	check "peer_add refuses $bad" gives peer_add .error "$bad"
done
check "and none of them changed the configuration" prints ': good \(1 hosts, 0 peers\)' in_root natf-routerd check
check "no file outside was made" not test -e "$root/etc/passwd.new"
long=$(printf '{"name": "%05000d"}' 0)
check "long arguments are refused" gives why .error "$long"
check "deep ones too" gives why .error "$(printf '[%.0s' {1..3000})"
check "a method of another name is refused" gives '../status' .error
check "nor is an option a method" gives --version .error
check "a method cannot bring in a command" gives why .error '{"name": "alice", "command": "reload"}'
printf 'config host x\n\toption ip nonsense\n' >>"$root/etc/config/natf"
check "a wrong configuration is told line by line" gives check '(.good | not) and (.errors[0] | test("nonsense"))'
check "and a reload keeps the former one" gives reload '.error | test("nonsense")'
check "tsn-dnsd that does not run is named" gives dnsd_status '.error | test("tsn-dnsd")'
