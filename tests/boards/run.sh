#!/usr/bin/env bash
# Builds the package natf for emulated boards and runs everything on each (root): scenario.sh and faults.sh.
#   run.sh MACHINE...       mipsel, x86_64, mips (board.sh)
set -euo pipefail
cd "$(dirname "$0")/../.."

native=${CARGO_TARGET_DIR:-target}/release
for machine; do
	case $machine in
	mips | mipsel) arch=${machine}_24kc ;;
	*) arch=$machine ;;
	esac
	openwrt/build/cross.sh "$arch" natf-routerd
	openwrt/build/ipk.sh "$arch" natf
	for test in scenario faults; do
		echo "== $machine: $test"
		"tests/boards/$test.sh" "$machine" "$native"
	done
done
