#!/usr/bin/env bash
# Builds the last commit twice from nothing, in two directories, at two times, under another umask, time zone and language, and compares
# programs and packages byte by byte. 5 minutes of computing for each build; the compiler is one and the same.
#   test-reproducible.sh ARCH
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

arch=${1:?test-reproducible.sh: which architecture? one of: $ARCHES}
rust_target "$arch" >/dev/null
openwrt/build/setup.sh
# Whoever commits meanwhile changes nothing.
commit=$(git rev-parse --short HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CARGO_TARGET_DIR SOURCE_DATE_EPOCH FEED FEED_KEY

# build DIRECTORY: the packages of the last commit. zig and cargo-zigbuild are this tree's, everything else is made anew.
build() {
	git clone --quiet --no-checkout . "$1"
	git -C "$1" checkout --quiet --detach "$commit"
	mkdir -p "$1/target/openwrt"
	ln -s "$PWD/target/openwrt/tools" "$1/target/openwrt/tools"
	make --silent -C "$1" ipk "ARCHES=$arch" >"$1/log" 2>&1 || {
		tail -n 20 "$1/log" >&2
		echo "test-reproducible: $arch cannot be built" >&2
		return 1
	}
}

# sums DIRECTORY: of everything that was built to be given away.
sums() {
	(cd "$1/target/openwrt" && find "$arch" "ipk/$arch" -type f -exec sha256sum {} + | sort -k 2)
}

first=$work/first second=$work/in/another/place/the-second
(umask 022 && TZ=UTC LC_ALL=C build "$first")
(umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 build "$second")
sums "$first" >"$work/first.sums"
sums "$second" >"$work/second.sums"
[[ $(wc -l <"$work/first.sums") -ge 6 ]] || { echo "test-reproducible: fewer files than programs and packages" >&2; exit 1; }
diff -u "$work/first.sums" "$work/second.sums" || { echo "test-reproducible: $arch: other bytes" >&2; exit 1; }
cat "$work/first.sums"
echo "$arch: both builds of $commit gave these bytes"
