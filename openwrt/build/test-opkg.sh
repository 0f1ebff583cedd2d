#!/usr/bin/env bash
# The real opkg with a signed feed, in a root directory of its own: update, install, upgrade, remove; and what it has to refuse.
#   OPKG=PROGRAM USIGN=PROGRAM test-opkg.sh FEED-DIRECTORY PUBLIC-KEY ARCH
# Debian has neither program; both are small: https://git.openwrt.org/project/opkg-lede.git (with HAVE_USIGN), …/usign.git
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/checks.sh
. tests/checks.sh

feed=$(realpath "$1")
key=$2 arch=$3
: "${OPKG:?test-opkg.sh: which opkg?}" "${USIGN:?test-opkg.sh: which usign?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mapfile -t packages < <(sed -n 's/^Package: //p' "$feed/Packages")

# As OpenWrt's opkg-key does it: the key's file is named after its fingerprint.
mkdir -p "$work/keys" "$work/feed"
cp "$key" "$work/keys/$("$USIGN" -F -p "$key")"
cat >"$work/opkg-key" <<END
#!/bin/sh
zcat "\$3" 2>/dev/null | "$USIGN" -V -P "$work/keys" -q -x "\$2" -m - || "$USIGN" -V -P "$work/keys" -q -x "\$2" -m "\$3"
END
chmod 755 "$work/opkg-key"

# A router on which everything is installed that the packages need.
fresh_root() {
	local name
	rm -rf "$root"
	mkdir -p "$root"/{tmp,var/lock,usr/lib/opkg/info,etc}
	sed -n 's/^Depends: //p' "$feed/Packages" | tr -d ' ' | tr ',' '\n' | sort -u | while read -r name; do
		grep -qx "Package: $name" "$feed/Packages" ||
			printf 'Package: %s\nVersion: 1\nStatus: install user installed\nArchitecture: %s\n\n' "$name" "$arch"
		: >"$root/usr/lib/opkg/info/$name.list"
	done >"$root/usr/lib/opkg/status"
	printf '%s\n' 'dest root /' 'lists_dir ext /var/opkg-lists' 'option check_signature 1' "option verify_program $work/opkg-key" \
		'arch all 1' "arch $arch 10" "src/gz natf file://$work/feed" >"$work/opkg.conf"
	cp "$feed"/* "$work/feed/"
}

opkg() {
	"$OPKG" -f "$work/opkg.conf" -o "$root" "$@" 2>&1
}

files() { find "$root" ! -type d ! -path "$root/usr/lib/opkg/*" ! -path "$root/var/*" ! -path "$root/tmp/*" -printf '/%P\n' | sort | tr '\n' ' '; }
# Without a name `ls` would be content.
installed() { [[ -s $root/usr/lib/opkg/info/$1.list ]] && (sed "s#^#$root#" "$root/usr/lib/opkg/info/$1.list" | xargs ls -d) >/dev/null; }

# newer PACKAGE: prints an .ipk of the next release, with one more line in its configuration.
newer() {
	local into=$work/newer/$1 conffile
	mkdir -p "$into"/{ipk,data,control}
	tar -C "$into/ipk" -xzf "$(find "$feed" -name "$1_*.ipk")"
	tar -C "$into/data" -xpzf "$into/ipk/data.tar.gz"
	tar -C "$into/control" -xpzf "$into/ipk/control.tar.gz"
	sed -i 's/^\(Version: .*\)-r1$/\1-r2/' "$into/control/control"
	[[ ! -e $into/control/conffiles ]] || while read -r conffile; do
		echo '# of the next release' >>"$into/data$conffile"
	done <"$into/control/conffiles"
	tar -C "$into/data" -czf "$into/ipk/data.tar.gz" .
	tar -C "$into/control" -czf "$into/ipk/control.tar.gz" .
	tar -C "$into/ipk" -czf "$work/newer/$1.ipk" ./debian-binary ./data.tar.gz ./control.tar.gz
	echo "$work/newer/$1.ipk"
}

fresh_root
check "$arch: opkg believes the signed index" opkg update
for package in "${packages[@]}"; do
	check "$arch: opkg installs $package" opkg install "$package"
	check "$arch: every file of $package is there" installed "$package"
done

# What the user wrote, and what he left alone.
echo '# mine' >>"$root/etc/config/natf"
check "$arch: opkg upgrades natf" prints 'Upgrading natf on root from 0' opkg install "$(newer natf)"
check "$arch: its changed configuration is kept" grep -q '^# mine' "$root/etc/config/natf"
check "$arch: the new one lies beside it" grep -q '^# of the next release' "$root/etc/config/natf-opkg"
check "$arch: an unchanged file is the new one" grep -q '^# of the next release' "$root/etc/natf/keys"

check "$arch: opkg removes everything" opkg remove --force-removal-of-dependent-packages natf natf-endd tsn-dnsd
check "$arch: what remains is the changed configuration" prints '^/etc/config/natf /etc/config/natf-opkg $' files

fresh_root
sed -i 's/^\(SHA256sum: \)...../\100000/' "$work/feed/Packages"
gzip -9nf <"$work/feed/Packages" >"$work/feed/Packages.gz"
check "$arch: a forged index is found out" prints 'Signature check failed' opkg update
check "$arch: nothing of it is installed" not opkg install natf
check "$arch: no file is left of the try" prints '^$' files

fresh_root
rm -f "$work"/keys/*
check "$arch: an index signed with an unknown key is found out" prints 'Signature check failed' opkg update
check "$arch: nothing of that is installed" not opkg install natf

fresh_root
cp "$key" "$work/keys/$("$USIGN" -F -p "$key")"
printf x >>"$(find "$work/feed" -name 'natf_*.ipk')"
check "$arch: the index is believed again" opkg update
check "$arch: a package with other bytes than the index says is refused" not opkg install natf

echo "$checks checks, $failures failed"
((failures == 0))
