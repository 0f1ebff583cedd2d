#!/usr/bin/env bash
# Packs .ipk files from the feed's packages (openwrt/NAME/Makefile) and the programs that cross.sh built, without an SDK.
#   ipk.sh ARCH [PACKAGE...]        writes target/openwrt/ipk/ARCH/PACKAGE_VERSION_ARCH.ipk
# The same sources give the same bytes: sorted names, owner 0, no time but that of the last commit.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

arch=${1:?ipk.sh: which architecture? one of: $ARCHES}
rust_target "$arch" >/dev/null
shift
feed=${FEED:-openwrt}
packages=("$@")
if ((${#packages[@]} == 0)); then
	mapfile -t packages < <(find -L "$feed" -mindepth 2 -maxdepth 2 -name Makefile -printf '%P\n' | sed 's#/Makefile$##' | sort)
fi
((${#packages[@]})) || { echo "ipk.sh: no package in '$feed'" >&2; exit 1; }

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C TZ=UTC
umask 022
out=$PWD/target/openwrt/ipk/$arch
mkdir -p "$out"
# A package that is no more must not stay in the feed.
(($#)) || rm -f "$out"/*.ipk
stage=$(mktemp -d "$PWD/target/openwrt/stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT

programs=$stage/programs
mkdir -p "$programs"
for daemon in $DAEMONS; do
	[[ ! -e target/openwrt/$arch/$daemon ]] || install -D -m 755 "target/openwrt/$arch/$daemon" "$programs/bin/$daemon"
done

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
	[[ ! -e $stage/$name.conffiles ]] || keep "$name"
}

# keep NAME: conffiles that the package brings are opkg's to keep, others sysupgrade's.
keep() {
	local file
	while read -r file; do
		[[ -n $file ]] || continue
		if [[ -f $stage/$1/data$file ]]; then
			echo "$file" >>"$stage/$1/control/conffiles"
		elif [[ ! -e $stage/$1/data/lib/upgrade/keep.d/$1 ]] || ! grep -qx "$file" "$stage/$1/data/lib/upgrade/keep.d/$1"; then
			mkdir -p "$stage/$1/data/lib/upgrade/keep.d"
			echo "$file" >>"$stage/$1/data/lib/upgrade/keep.d/$1"
		fi
	done <"$stage/$1.conffiles"
}

for package in "${packages[@]}"; do
	make --silent --no-print-directory -C "$feed/$package" -I "$PWD/openwrt/build/sdk/feeds/packages/lang/rust" stage \
		TOPDIR="$PWD/openwrt/build/sdk" STAGE="$stage" PROGRAMS="$programs" ARCH_PACKAGES="$arch"
done

for control in "$stage"/*.control; do
	name=$(basename "$control" .control)
	describe "$name"
	parts=$stage/$name/parts
	mkdir -p "$parts"
	echo 2.0 >"$parts/debian-binary"
	pack "$parts/data.tar.gz" "$stage/$name/data"
	pack "$parts/control.tar.gz" "$stage/$name/control"
	version=$(sed -n 's/^Version: //p' "$stage/$name/control/control")
	architecture=$(sed -n 's/^Architecture: //p' "$stage/$name/control/control")
	ipk=$out/${name}_${version}_$architecture.ipk
	rm -f "$out/${name}_"*.ipk
	# The order is OpenWrt's: what opkg reads first stands first.
	tar -C "$parts" --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - \
		./debian-binary ./data.tar.gz ./control.tar.gz | gzip -9n >"$ipk"
	stat -c '%n %s' "$ipk" | sed "s#^$PWD/##"
done
