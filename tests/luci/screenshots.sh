#!/usr/bin/env bash
#
# Pictures of each page for docs/images/luci, with a home as it may be: real daemons, real flows, LuCI's stand-in.
#   screenshots.sh [DIRECTORY]     NATF_BIN = where the daemons are
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
# shellcheck source=tests/luci/lab.sh
. "$(dirname "$0")/lab.sh"
need_daemons natf-routerd natf-endd tsn-dnsd
directory=$(realpath -m "${1:-$luci/../../docs/images/luci}")
mkdir -p "$directory"

lab_up
install_router
in_router /etc/init.d/natf start
in_router sh -c 'mkdir -p /etc/rc.d && ln -s ../init.d/natf /etc/rc.d/S18natf'
start_web
lab start endd en
check "pictures are taken" env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$luci/screenshots.py" "$router_root" "$directory"
for picture in "$directory"/*.png; do
	check "${picture##*/} is small" test "$(stat -c %s "$picture")" -lt 100000
done
