#!/usr/bin/env bash
#
# luci-app-natf in a real browser, against the real daemons: router1 of the lab has the OpenWrt packages' files, Chromium
# runs on alice. LuCI itself is a stand-in (standin/), everything behind it is not.
#   run.sh [SCENARIO...]     NATF_BIN = where the daemons are
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
# shellcheck source=tests/luci/lab.sh
. "$(dirname "$0")/lab.sh"
need_daemons natf-routerd natf-endd tsn-dnsd natf-bench
command -v chromium >/dev/null || {
	echo "not ok  Chromium is there (apt-get install chromium)"
	exit 1
}

lab_up
install_router
in_router /etc/init.d/natf start
start_web --tick 200
lab start endd en
status=0
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$luci/views.py" "$router_root" "$@" || status=1
if ((status)); then grep -v '^ \|^POST\|^GET' "$(lab dir)/router1/web.err" | tail -n 20 | sed 's/^/        | /' || true; fi
checks=1 failures=$status
