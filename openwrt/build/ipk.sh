#!/usr/bin/env bash
# Packs .ipk files (opkg: OpenWrt up to 24.10) from the feed's packages and the programs that cross.sh built, without an SDK.
#   ipk.sh ARCH [PACKAGE...]        writes target/openwrt/ipk/ARCH/PACKAGE_VERSION_ARCH.ipk
# The same sources give the same bytes: sorted names, owner 0, no time but that of the last commit.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh
# shellcheck source=openwrt/build/stage.sh
. openwrt/build/stage.sh

arch=${1:?ipk.sh: which architecture? one of: $ARCHES}
rust_target "$arch" >/dev/null
shift
out=$PWD/target/openwrt/ipk/$arch
mkdir -p "$out"
# A package that is no more must not stay in the feed.
(($#)) || rm -f "$out"/*.ipk

# pack FILE DIRECTORY: a tar.gz that depends on nothing but the content. zopfli's is 4 % smaller than gzip's.
pack() {
	tar -C "$2" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf "$1.tar" .
	zopfli -c "$1.tar" >"$1"
	rm "$1.tar"
}

# script NAME FUNCTION GUARD: a maintainer script as OpenWrt's own packages have it.
script() {
	{
		echo '#!/bin/sh'
		[[ -z $3 ]] || echo "$3"
		# shellcheck disable=SC2016
		printf '%s\n' '[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0' '. ${IPKG_INSTROOT}/lib/functions.sh' "$2 \$0 \$@"
	} >"$1"
	chmod 755 "$1"
}

# describe NAME: writes what belongs into control.tar.gz.
describe() {
	local name=$1 control=$stage/$1/control size text
	mkdir -p "$control"
	keep "$name" "$control/conffiles"
	size=$(find "$stage/$name/data" -type f -printf '%s\n' | awk '{s += $1} END {print s + 0}')
	{
		sed '/^$/d' "$stage/$name.control"
		echo "Installed-Size: $size"
		printf 'Description: '
		sed -e 's/^[[:space:]]*/ /' "$stage/$name.description"
	} >"$control/control"
	# shellcheck disable=SC2016
	script "$control/postinst" default_postinst '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0'
	script "$control/prerm" default_prerm ''
	# What a package does itself: OpenWrt's default scripts call the first two by these names.
	for text in postinst:postinst-pkg prerm:prerm-pkg preinst:preinst postrm:postrm; do
		[[ -e $stage/$name.${text%%:*} ]] || continue
		install -m 755 "$stage/$name.${text%%:*}" "$control/${text#*:}"
	done
}

stage_packages "$arch" "$@"
for name in $(staged); do
	describe "$name"
	parts=$stage/$name/parts
	mkdir -p "$parts"
	echo 2.0 >"$parts/debian-binary"
	pack "$parts/data.tar.gz" "$stage/$name/data"
	pack "$parts/control.tar.gz" "$stage/$name/control"
	ipk=$out/${name}_$(field "$name" Version)_$(field "$name" Architecture).ipk
	rm -f "$out/${name}_"*.ipk
	# The order is OpenWrt's: what opkg reads first stands first.
	tar -C "$parts" --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - \
		./debian-binary ./data.tar.gz ./control.tar.gz | gzip -9n >"$ipk"
	stat -c '%n %s' "$ipk" | sed "s#^$PWD/##"
done
