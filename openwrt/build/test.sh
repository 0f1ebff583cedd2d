#!/usr/bin/env bash
# Checks the .ipk files of what `make cross` built: the same bytes twice, unpackable, modes, owners, control fields, sizes; and the
# feed's index and signature; translations. With the real opkg and usign in $OPKG and $USIGN also test-opkg.sh, with the
# real apk in $APK also test-apk.sh.
#   test.sh [ARCH...]       all that are built
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C
ipk_kb_max=550
passed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "test-packages: $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); echo "ok: $*"; }
field() { sed -n "s/^$1: *//p" "$work/control/control"; }

# unpack FILE: in the order in which opkg reads, into $work/{ipk,data,control}.
unpack() {
	rm -rf "$work"/{ipk,data,control}
	mkdir -p "$work"/{ipk,data,control}
	tar -C "$work/ipk" -xzf "$1"
	[[ $(tar -tzf "$1" | tr '\n' ' ') == './debian-binary ./data.tar.gz ./control.tar.gz ' ]] || fail "$1: wrong members"
	[[ $(cat "$work/ipk/debian-binary") == 2.0 ]] || fail "$1: wrong debian-binary"
	tar -C "$work/data" -xpzf "$work/ipk/data.tar.gz"
	tar -C "$work/control" -xpzf "$work/ipk/control.tar.gz"
}

# check FILE ARCH: one package.
check() {
	local ipk=$1 name conffile program
	unpack "$ipk"
	name=$(field Package)
	for key in Package Version Architecture Section License Installed-Size Description; do
		[[ -n $(field $key) ]] || fail "$ipk: no $key"
	done
	[[ $(field Architecture) == "$2" || $(field Architecture) == all ]] || fail "$ipk: architecture '$(field Architecture)'"
	[[ $(field Version) == "$version"-r* ]] || fail "$ipk: version '$(field Version)', but the workspace is at $version"
	[[ $ipk == *"/${name}_$(field Version)_$(field Architecture).ipk" ]] || fail "$ipk: not named after its fields"
	for program in postinst prerm; do
		[[ -x $work/control/$program ]] || fail "$ipk: $program is not executable"
		sh -n "$work/control/$program"
	done
	[[ ! -e $work/control/conffiles ]] || while read -r conffile; do
		[[ -f $work/data$conffile ]] || fail "$ipk: conffile $conffile is not in it"
	done <"$work/control/conffiles"
	if tar -tvzf "$work/ipk/data.tar.gz" | awk '{print $2}' | grep -v '^0/0$' >/dev/null; then
		fail "$ipk: not everything is root's"
	fi
	[[ $name != luci-i18n-* ]] || compgen -G "$work/data/usr/lib/lua/luci/i18n/*.lmo" >/dev/null || fail "$ipk: no translation is in it"
	for program in "$work"/data/usr/sbin/* "$work"/data/etc/init.d/* "$work"/data/usr/libexec/rpcd/*; do
		[[ ! -f $program || -x $program ]] || fail "$ipk: ${program#"$work/data"} is not executable"
	done
	(($(stat -c %s "$ipk") <= ipk_kb_max * 1000)) || fail "$ipk: larger than $ipk_kb_max KB"
}

PYTHONDONTWRITEBYTECODE=1 openwrt/build/po2lmo_test.py 2>"$work/log" || { cat "$work/log" >&2; fail "translations"; }
ok "translations are LuCI's"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
arches=("$@")
((${#arches[@]})) || read -ra arches <<<"$ARCHES"
for arch in "${arches[@]}"; do
	[[ -e target/openwrt/$arch/natf-routerd ]] || { echo "skipped: $arch is not built"; continue; }
	openwrt/build/ipk.sh "$arch" >/dev/null
	before=$(cd "target/openwrt/ipk/$arch" && sha256sum ./*.ipk)
	openwrt/build/ipk.sh "$arch" >/dev/null
	[[ $(cd "target/openwrt/ipk/$arch" && sha256sum ./*.ipk) == "$before" ]] || fail "$arch: a second build gave other bytes"
	ok "$arch: two builds are the same"
	for ipk in target/openwrt/ipk/"$arch"/*.ipk; do
		check "$ipk" "$arch"
		ok "$arch: $(field Package) $(($(stat -c %s "$ipk") / 1000)) KB"
	done

	# With a key of its own: what lies in target/openwrt may be signed with the user's.
	openwrt/build/feed.sh --new-key "$work/key-$arch" >/dev/null
	FEED_KEY=$work/key-$arch openwrt/build/feed.sh "$arch" >/dev/null
	feed=target/openwrt/feed/$arch
	zcat "$feed/Packages.gz" | cmp - "$feed/Packages" || fail "$arch: Packages.gz is not Packages"
	while read -r key value; do
		case $key in
		Filename:) file=$feed/$value ;;
		Size:) [[ $(stat -c %s "$file") == "$value" ]] || fail "$file: wrong Size" ;;
		SHA256sum:) [[ $(sha256sum <"$file" | cut -d' ' -f1) == "$value" ]] || fail "$file: wrong SHA256sum" ;;
		esac
	done <"$feed/Packages"
	signify-openbsd -Vq -p "$work/key-$arch.pub" -m "$feed/Packages" -x "$feed/Packages.sig" || fail "$arch: bad signature"
	sed s/natf/mallory/ "$feed/Packages" >"$work/forged"
	! signify-openbsd -Vq -p "$work/key-$arch.pub" -m "$work/forged" -x "$feed/Packages.sig" 2>/dev/null || fail "$arch: a forged index passes"
	ok "$arch: the feed's index and signature"
	if [[ -n ${OPKG:-} ]]; then
		openwrt/build/test-opkg.sh "$feed" "$work/key-$arch.pub" "$arch" || fail "$arch: opkg"
		ok "$arch: opkg, from the signed feed"
	fi
	if [[ -n ${APK:-} ]]; then
		openwrt/build/test-apk.sh "$arch" || fail "$arch: apk"
		ok "$arch: apk, from the signed feed"
	fi
done
echo "$passed passed"
