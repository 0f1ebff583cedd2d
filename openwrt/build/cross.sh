#!/usr/bin/env bash
# Builds the daemons for one OpenWrt architecture: static musl programs, as small as they get, in target/openwrt/ARCH.
#   cross.sh ARCH [PACKAGE...]      mips_24kc mipsel_24kc arm_cortex-a7 aarch64_cortex-a53 x86_64; all daemons
#   cross.sh ARCH --cargo ARG...    runs cargo for that architecture with other arguments (test --no-run, tree, ...)
# Why these flags: docs/adr/0006-footprint.md. The result depends on the sources and the tools' versions alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

arch=${1:?cross.sh: which architecture? one of: $ARCHES}
shift
target=$(rust_target "$arch")
openwrt/build/setup.sh

out=$PWD/target/openwrt
export CARGO_TARGET_DIR=$out/build${PANIC:+-$PANIC}
# Debian's compiler and its source are of one version, so that the standard library can be built along.
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1
export PATH=$out/tools/bin:$PATH
export ZIG_GLOBAL_CACHE_DIR=$out/cache/zig ZIG_LOCAL_CACHE_DIR=$out/cache/zig-local XDG_CACHE_HOME=$out/cache

flags=(-C target-feature=+crt-static -C relocation-model=static -C link-self-contained=no)
# A panic aborts: nobody reads unwinding tables.
flags+=(-C force-unwind-tables=no)
# No path of the building machine in the programs.
flags+=(--remap-path-prefix "$PWD=natf" --remap-path-prefix "${CARGO_HOME:-$HOME/.cargo}/registry/src=crates"
	--remap-path-prefix "$($RUSTC --print sysroot)/lib/rustlib/src=rust" --remap-path-prefix /usr/src=rust)
read -ra own <<<"$(rust_flags "$arch")"
flags+=("${own[@]}")
# PANIC=abort keeps panics' messages, for 10 % more flash.
[[ ${PANIC:-} == abort ]] || flags+=(-Z unstable-options -C panic=immediate-abort)
printf -v CARGO_ENCODED_RUSTFLAGS '%s\x1f' "${flags[@]}"
export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}

std=(-Z 'build-std=std,panic_abort' -Z build-std-features=optimize_for_size --target "$target")
if [[ ${1:-} == --cargo ]]; then
	exec cargo-zigbuild "$2" "${std[@]}" "${@:3}"
fi

packages=("$@")
((${#packages[@]})) || read -ra packages <<<"$DAEMONS"
mkdir -p "$out/$arch"
# cargo sees only the name of a linker script: another content, another name.
order=$out/order-$(sha256sum openwrt/build/order.ld | cut -c1-12).ld
cp openwrt/build/order.ld "$order"
for package in "${packages[@]}"; do
	nice cargo-zigbuild rustc --profile flash --locked "${std[@]}" -p "$package" --bin "$package" -- \
		-C link-arg=-Wl,-T,"$order"
	install -m 755 "$CARGO_TARGET_DIR/$target/flash/$package" "$out/$arch/$package"
done
openwrt/build/shrink.py "${packages[@]/#/$out/$arch/}"
(cd "$out/$arch" && stat -c '%n %s' "${packages[@]}")
