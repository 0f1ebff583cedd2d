#!/usr/bin/env bash
# Whose reader goes away: a command ends without a word, a daemon stays.
# shellcheck source=tests/openwrt/lib.sh
. "$(dirname "$0")/lib.sh"

package_up natf natf-endd tsn-dnsd
network_up

# ends_with_reader PROGRAM [ARGUMENT]...: nobody reads its output; SIGPIPE ends it and stderr stays empty.
ends_with_reader() {
	local status=0 said
	said=$(
		{ (sleep 0.2 && exec chroot "$root" "$@") 2>&1 >&3 | cat; exit "${PIPESTATUS[0]}"; } 3> >(exec true)
	) || status=$?
	[[ $status == 141 && -z $said ]] || {
		printf 'status %s, said: %s\n' "$status" "$said"
		return 1
	}
}

for program in natf-routerd natf-endd tsn-dnsd; do
	check "$program --help" ends_with_reader "$program" --help
	check "$program --version" ends_with_reader "$program" --version
	check "$program dnsmasq or check" ends_with_reader "$program" check
done

config natf <<-'UCI'
	config router 'router'
		option domain 'home.example.net'
UCI
# A log that is gone before the first line.
chroot "$root" natf-routerd 2> >(exec true) </dev/null >/dev/null &
daemon=$!
answers() { in_root natf-routerd status >/dev/null 2>&1; }
check "the daemon starts without a reader of its log" eventually 10 answers
kill -HUP $daemon
check "and reads its configuration anew" eventually 5 answers
kill $daemon
ended() { ! kill -0 $daemon 2>/dev/null; }
check "it ends when it is told to" eventually 5 ended
