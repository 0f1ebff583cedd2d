#!/usr/bin/env bash
# Packs .apk files (OpenWrt 25.12 and later) from the feed's packages and the programs that cross.sh built, without an SDK.
#   apk.sh ARCH [PACKAGE...]        writes target/openwrt/apk/ARCH/PACKAGE-VERSION.apk, or ${OUT}/ARCH/…
# Needs apk-tools 3 in $APK or as `apk`: Alpine 3.23 has it; elsewhere build https://gitlab.alpinelinux.org/alpine/apk-tools.
# The same sources and the same apk give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh
# shellcheck source=openwrt/build/stage.sh
. openwrt/build/stage.sh

arch=${1:?apk.sh: which architecture? one of: $ARCHES}
rust_target "$arch" >/dev/null
shift
apk=${APK:-apk}
"$apk" mkpkg --help >/dev/null 2>&1 || [[ $("$apk" --version 2>/dev/null) == "apk-tools 3"* ]] || {
	echo "apk.sh: '$apk' is no apk-tools 3; name one by APK=PROGRAM (Debian 12 has none)" >&2
	exit 1
}
# apk writes owners down as they are.
((EUID == 0)) || { echo "apk.sh: files in packages have to be root's; run it as root, or by fakeroot" >&2; exit 1; }
out=${OUT:-$PWD/target/openwrt/apk}/$arch
mkdir -p "$out"
(($#)) || rm -f "$out"/*.apk

# script NAME KIND FUNCTION: a maintainer script as OpenWrt's own packages have it: the default's work, then the package's.
script() {
	local name=$1 own=$stage/$1.$2
	echo '#!/bin/sh'
	# shellcheck disable=SC2016
	{
		[[ $2 == prerm ]] || echo '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0'
		printf '%s\n' '[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0' '. ${IPKG_INSTROOT}/lib/functions.sh' \
			'export root="${IPKG_INSTROOT}"' "export pkgname=\"$name\""
	}
	[[ $2 == prerm ]] || echo add_group_and_user
	echo "$3"
	[[ ! -e $own ]] || sed '/^#!/d' "$own"
}

# scripts NAME: writes the package's scripts, and prints apk's arguments for them.
scripts() {
	local name=$1 into=$stage/$1/scripts kind
	mkdir -p "$into"
	script "$name" postinst default_postinst >"$into/post-install"
	{ printf '#!/bin/sh\nexport PKG_UPGRADE=1\n' && sed '/^#!/d' "$into/post-install"; } >"$into/post-upgrade"
	script "$name" prerm default_prerm >"$into/pre-deinstall"
	[[ ! -e $stage/$name.preinst ]] || {
		cp "$stage/$name.preinst" "$into/pre-install"
		{ printf '#!/bin/sh\nexport PKG_UPGRADE=1\n' && sed '/^#!/d' "$into/pre-install"; } >"$into/pre-upgrade"
	}
	[[ ! -e $stage/$name.postrm ]] || cp "$stage/$name.postrm" "$into/post-deinstall"
	chmod 755 "$into"/*
	for kind in "$into"/*; do
		echo "--script=$(basename "$kind"):$kind"
	done
}

# describe NAME: what OpenWrt's scripts find in /lib/apk/packages: files, configuration files with their sums, users.
describe() {
	local name=$1 data=$stage/$1/data about=$stage/$1/data/lib/apk/packages file users
	users=$(field "$name" Require-User)
	[[ ! -e $stage/$name.conffiles ]] || keep "$name" "$stage/$name.kept"
	mkdir -p "$about"
	[[ -z $users ]] || echo "$users" >"$about/$name.rusers"
	(cd "$data" && find . -type f,l -printf '/%P\n' | sort) >"$stage/$name.list"
	mv "$stage/$name.list" "$about/$name.list"
	[[ -e $stage/$name.conffiles ]] || return 0
	sed '/^$/d' "$stage/$name.conffiles" >"$about/$name.conffiles"
	[[ ! -e $stage/$name.kept ]] || while read -r file; do
		echo "$file $(sha256sum <"$data$file" | cut -d' ' -f1)" >>"$about/$name.conffiles_static"
	done <"$stage/$name.kept"
}

stage_packages "$arch" "$@"
for name in $(staged); do
	describe "$name"
	mapfile -t arguments < <(scripts "$name")
	architecture=$(field "$name" Architecture)
	[[ $architecture != all ]] || architecture=noarch
	find "$stage/$name/data" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	file=$out/$name-$(field "$name" Version).apk
	rm -f "$out/$name"-[0-9]*.apk
	"$apk" mkpkg "${arguments[@]}" --compression=deflate:9 --files "$stage/$name/data" --output "$file" \
		--info "name:$name" --info "version:$(field "$name" Version)" --info "arch:$architecture" \
		--info "description:$(tr -s '[:space:]' ' ' <"$stage/$name.description" | sed 's/^ //; s/ $//')" \
		--info "license:$(field "$name" License)" --info "origin:$(field "$name" SourceName)" \
		--info "maintainer:$(field "$name" Maintainer)" --info "url:$(field "$name" URL)" \
		--info "depends:$(field "$name" Depends | tr -d ',')"
	stat -c '%n %s' "$file" | sed "s#^$PWD/##"
done
