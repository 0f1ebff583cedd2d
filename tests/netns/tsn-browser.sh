#!/usr/bin/env bash
#
# A browser that knows nothing of us opens pages of two hosts behind one NAT router (T4, T7).
#
#   client (chromium) ── inet ──┬── router1 ──┬── alice, bob
#                               └── isp       └── mallory (denied)
. "$(dirname "$0")/lib.sh"
need_daemons natf-routerd tsn-dnsd
command -v chromium >/dev/null || skip "no chromium here (apt-get install chromium)"

page() {
	on client chromium --headless --no-sandbox --disable-gpu --user-data-dir="/run/browser-$1" --timeout=20000 \
		--dump-dom "http://$1.home.example.net/" 2>"$(lab dir)/client/browser.log"
}

lab_up
# Chromium asks its vendor's names, which do not exist here, and after such failures prefers its other server, which
# announces nothing (T10). So it has one.
on client sh -c 'echo nameserver 192.0.3.53 >/etc/resolv.conf'
printf '<html><body><p id="who">alice</p>%s</body></html>' "$(printf '<img src="/%s.png">' {1..12})" >"$(lab dir)/alice/www/index.html"
lab start routerd router1
lab start dnsd isp
check "it opens alice's page, with a dozen connections for its images" prints '<p id="who">alice</p>' page alice
check "and bob's" prints "web server of bob" page bob
check "alice served its images, too" eventually 5 prints '/12.png' sh -c "kill -HUP $(lab pid lighttpd alice); sleep 0.3; cat $(lab dir)/alice/lighttpd-access.log"
check "of mallory it shows an error" not prints "web server of" page mallory
check "no private address was seen on the internet" nothing_leaked
