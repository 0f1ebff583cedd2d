#!/usr/bin/env bash
# Builds the package natf for emulated boards and runs everything on each (root): scenario.sh and faults.sh.
#   run.sh MACHINE...       mipsel, x86_64, mips (board.sh)
# Exit status 77 = skipped: this machine cannot get what it takes, and nothing else failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
native=${CARGO_TARGET_DIR:-target}/release

skip() {
	echo "skip    $*"
	exit 77
}

# The board's kernel is downloaded while the package is compiled.
prepare() {
	local machine=$1 arch=$2 fetching
	((EUID == 0)) || skip "an emulated board needs root (taps and namespaces)"
	openwrt/build/setup.sh || skip "what cross-compiling needs cannot be installed here: is there a network?"
	tests/boards/board.sh fetch "$machine" &
	fetching=$!
	openwrt/build/cross.sh "$arch" natf-routerd
	openwrt/build/ipk.sh "$arch" natf
	wait $fetching
}

run_machine() {
	local machine=$1 arch=$1 test begin
	[[ $machine != mips* ]] || arch=${machine}_24kc
	prepare "$machine" "$arch"
	for test in scenario faults; do
		echo "== $machine: $test"
		begin=$SECONDS
		"tests/boards/$test.sh" "$machine" "$native"
		echo "== $machine: $test, $((SECONDS - begin)) s"
	done
}

skipped=0
for machine; do
	status=0
	# Not as a condition, where -e would not count.
	set +e
	(
		set -e
		run_machine "$machine"
	)
	status=$?
	set -e
	case $status in
	0) ;;
	77) skipped=77 ;;
	*) exit "$status" ;;
	esac
done
exit $skipped
