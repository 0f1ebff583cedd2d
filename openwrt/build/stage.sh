# shellcheck shell=bash
# What ipk.sh and apk.sh have in common: the content of the feed's packages (openwrt/NAME/Makefile), of the programs that cross.sh
# built. Sourced by them; the same sources give the same content.
#   stage_packages ARCH [PACKAGE...]
# leaves for each package NAME in $stage: NAME/data (its files), NAME.control (fields), NAME.description, and if it has them
# NAME.conffiles, NAME.preinst, NAME.postinst, NAME.prerm, NAME.postrm. $stage goes when the script ends.

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

stage_packages() {
	local arch=$1 feed=${FEED:-openwrt} packages=("${@:2}") package daemon
	if ((${#packages[@]} == 0)); then
		mapfile -t packages < <(find -L "$feed" -mindepth 2 -maxdepth 2 -name Makefile -printf '%P\n' | sed 's#/Makefile$##' | sort)
	fi
	((${#packages[@]})) || { echo "${0##*/}: no package in '$feed'" >&2; return 1; }
	mkdir -p target/openwrt
	stage=$(mktemp -d "$PWD/target/openwrt/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	for daemon in $DAEMONS; do
		[[ ! -e target/openwrt/$arch/$daemon ]] || install -D -m 755 "target/openwrt/$arch/$daemon" "$stage/programs/bin/$daemon"
	done
	for package in "${packages[@]}"; do
		make --silent --no-print-directory -C "$feed/$package" -I "$PWD/openwrt/build/sdk/feeds/packages/lang/rust" stage \
			TOPDIR="$PWD/openwrt/build/sdk" STAGE="$stage" PROGRAMS="$stage/programs" ARCH_PACKAGES="$arch"
	done
}

# staged: prints the names of what was staged.
staged() {
	local control
	for control in "$stage"/*.control; do
		basename "$control" .control
	done
}

# keep NAME FILE: writes the conffiles that the package brings, which are the package manager's to keep, to FILE; others are
# sysupgrade's.
keep() {
	local file list=lib/upgrade/keep.d/$1
	[[ -e $stage/$1.conffiles ]] || return 0
	while read -r file; do
		[[ -n $file ]] || continue
		if [[ -f $stage/$1/data$file ]]; then
			echo "$file" >>"$2"
		elif ! grep -qsx "$file" "$stage/$1/data/$list"; then
			mkdir -p "$stage/$1/data/lib/upgrade/keep.d"
			echo "$file" >>"$stage/$1/data/$list"
		fi
	done <"$stage/$1.conffiles"
}

# field NAME KEY: prints a field of a package.
field() { sed -n "s/^$2: *//p" "$stage/$1.control"; }
