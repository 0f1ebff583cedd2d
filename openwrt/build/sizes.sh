#!/usr/bin/env bash
# Prints what each crate costs in the programs as they are packed (symbols kept): size.py's tables, mipsel_24kc.
#   sizes.sh [PROGRAM...]
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

programs=("$@")
((${#programs[@]})) || read -ra programs <<<"$DAEMONS"
target=$(rust_target mipsel_24kc)
for program in "${programs[@]}"; do
	nice openwrt/build/cross.sh mipsel_24kc --cargo rustc --quiet --profile flash --locked -p "$program" --bin "$program" -- -C strip=none
	mkdir -p target/openwrt/unstripped
	cp "target/openwrt/build/$target/flash/$program" target/openwrt/unstripped/
	echo "== $program"
	openwrt/build/size.py "target/openwrt/unstripped/$program"
done
