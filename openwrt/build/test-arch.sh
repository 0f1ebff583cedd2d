#!/usr/bin/env bash
# Runs unit tests on each architecture by qemu-user, compiled as the packages are: byte order, word size and the compact
# SHA-2 differ there. The daemons are started for their version only: qemu-user has no netfilter.
#   test-arch.sh [ARCH...]
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

arches=("$@")
((${#arches[@]})) || read -ra arches <<<"$ARCHES"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Messages of panics are kept: a test has to say what failed. Tests run inside one process, for there is nothing to catch.
export RUSTC_BOOTSTRAP=1 PANIC=abort

for arch in "${arches[@]}"; do
	target=$(rust_target "$arch")
	qemu=$(qemu_user "$arch")
	programs=$(openwrt/build/cross.sh "$arch" --cargo test --no-run --locked --lib --tests --profile flash -Z panic-abort-tests \
		-p natf-proto -p natf-config --message-format=json |
		sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
	[[ -n $programs ]] || { echo "test-arch: $arch: no test program was built for $target" >&2; exit 1; }
	for program in $programs; do
		echo "$arch: $(basename "$program")"
		"$qemu" "$program" --quiet -Z unstable-options --force-run-in-process
	done
	for daemon in $DAEMONS; do
		[[ -e target/openwrt/$arch/$daemon ]] || continue
		said=$("$qemu" "target/openwrt/$arch/$daemon" --version)
		[[ $said == "$daemon $version" ]] || { echo "test-arch: $arch: $daemon says '$said', not '$daemon $version'" >&2; exit 1; }
		# Static: no interpreter, no shared library.
		! readelf -lW "target/openwrt/$arch/$daemon" | grep INTERP >/dev/null || { echo "test-arch: $arch/$daemon is not static" >&2; exit 1; }
		echo "$arch: $said"
	done
done
