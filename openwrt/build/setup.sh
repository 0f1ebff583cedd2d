#!/usr/bin/env bash
# Installs what cross-compiling and packing need on Debian 12: Debian's Rust with its source (apt), and zig with
# cargo-zigbuild (pip, in target/openwrt/tools). Idempotent; with everything there it touches no network.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=target/openwrt/tools
packages=()
[[ -x /usr/bin/rustc && -x /usr/bin/cargo ]] || packages+=(rustc-web cargo-web)
[[ -d /usr/src/rustc-$(/usr/bin/rustc --version 2>/dev/null | cut -d' ' -f2)/library ]] || packages+=(rust-web-src)
compgen -G "/usr/lib/python3*/ensurepip" >/dev/null || packages+=(python3-venv)
command -v qemu-mipsel-static >/dev/null || packages+=(qemu-user-static)
command -v signify-openbsd >/dev/null || packages+=(signify-openbsd)
command -v zopfli >/dev/null || packages+=(zopfli)
((${#packages[@]} == 0)) || tests/install-tools.sh --packages "${packages[@]}"

# The versions belong to the result: other ones may give other bytes.
zig=ziglang==0.15.2 zigbuild=cargo-zigbuild==0.24.0
if [[ ! -x $tools/bin/cargo-zigbuild || $(cat $tools/versions 2>/dev/null) != "$zig $zigbuild" ]]; then
	rm -rf $tools
	/usr/bin/python3 -m venv $tools
	$tools/bin/pip install --quiet --disable-pip-version-check $zig $zigbuild
	echo "$zig $zigbuild" >$tools/versions
fi
