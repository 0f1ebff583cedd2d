#!/usr/bin/env bash
# The real apk with a signed feed, in a root directory of its own, where BusyBox runs the packages' scripts: install, upgrade,
# remove; and what it has to refuse. Root.
#   APK=PROGRAM test-apk.sh ARCH
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/checks.sh
. tests/checks.sh

arch=$1
: "${APK:?test-apk.sh: which apk?}"
export APK SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root feed=target/openwrt/apk-feed/$arch

apk() {
	"$APK" --root "$root" --arch "$arch" --repositories-file "$work/repositories" --no-cache --no-progress "$@" 2>&1
}

# Empty packages of these names: what the router has already.
others() {
	local name empty=$work/empty
	mkdir -p "$empty" "$work/others"
	for name in libc luci-base nftables procd-ujail kmod-nf-conntrack-netlink kmod-nft-fib kmod-nft-nat kmod-nft-queue; do
		"$APK" mkpkg --files "$empty" --info "name:$name" --info version:1-r1 --info arch:noarch --output "$work/others/$name-1-r1.apk"
	done
	"$APK" mkndx --allow-untrusted --sign-key "$work/key.pem" --output "$work/others/packages.adb" "$work"/others/*.apk
}

# A router: BusyBox, and the functions that OpenWrt's base-files bring, which write down that they were called.
fresh_root() {
	rm -rf "$root" "$work/feed"
	mkdir -p "$root"/{bin,dev,tmp,var,usr/lib,lib,etc/apk/keys}
	cp /bin/busybox "$root/bin/"
	ln -s busybox "$root/bin/sh"
	for applet in rm rmdir; do ln -s busybox "$root/bin/$applet"; done
	cat >"$root/lib/functions.sh" <<-'END'
		add_group_and_user() { echo "user $pkgname $(while read -r line; do echo "$line"; done <"/lib/apk/packages/$pkgname.rusers")" >>/tmp/log; }
		default_postinst() { echo "postinst $pkgname upgrade=$PKG_UPGRADE" >>/tmp/log; }
		default_prerm() { echo "prerm $pkgname" >>/tmp/log; }
	END
	cp -r "$feed" "$work/feed"
	cp "$work/key.pub.pem" "$root/etc/apk/keys/"
	printf '%s\n' "$work/feed/packages.adb" "$work/others/packages.adb" >"$work/repositories"
	apk add --initdb >/dev/null
}

files() {
	find "$root" ! -type d ! -path "$root/lib/apk/*" ! -path "$root/etc/apk/*" ! -path "$root/bin/*" ! -path "$root/tmp/*" \
		! -path "$root/var/*" ! -path "$root/lib/functions.sh" ! -path "$root/usr/lib/apk/*" ! -path "$root/dev/*" -printf '/%P\n' | sort | tr '\n' ' '
}
installed() { (sed "s#^#$root#" "$root/lib/apk/packages/$1.list" | xargs ls -d) >/dev/null; }

openwrt/build/apk.sh "$arch" >/dev/null
before=$(sha256sum target/openwrt/apk/"$arch"/*.apk)
openwrt/build/apk.sh "$arch" >/dev/null
check "$arch: two packings give the same .apk files" test "$(sha256sum target/openwrt/apk/"$arch"/*.apk)" = "$before"
openwrt/build/apk-feed.sh --new-key "$work/key" >/dev/null
FEED_KEY=$work/key openwrt/build/apk-feed.sh "$arch" >/dev/null
others

fresh_root
check "$arch: apk believes the signed index and installs" apk add natf natf-endd tsn-dnsd luci-app-natf
for package in natf natf-endd tsn-dnsd luci-app-natf; do
	check "$arch: every file of $package is there" installed "$package"
	check "$arch: OpenWrt's own script ran for $package" grep -qx "postinst $package upgrade=" "$root/tmp/log"
done
check "$arch: the user is made that natf runs as" grep -qx 'user natf natf:natf' "$root/tmp/log"
check "$arch: programs and keys have their modes" prints '^755 600 $' stat --printf '%a ' "$root/usr/sbin/natf-routerd" "$root/etc/natf/keys"

echo '# mine' >>"$root/etc/config/natf"
cp -rL openwrt "$work/newer"
sed -i 's/^PKG_RELEASE:=1/PKG_RELEASE:=2/' "$work/newer/natf/Makefile"
echo '# of the next release' | tee -a "$work/newer/natf/files/etc/config/natf" >>"$work/newer/natf/files/etc/natf/keys"
FEED=$work/newer OUT=$work/newer openwrt/build/apk.sh "$arch" natf >/dev/null
check "$arch: apk upgrades natf" apk add --allow-untrusted "$work/newer/$arch/natf-0.1.0-r2.apk"
check "$arch: and says so to OpenWrt's script" grep -qx 'postinst natf upgrade=1' "$root/tmp/log"
check "$arch: its changed configuration is kept" grep -q '^# mine' "$root/etc/config/natf"
check "$arch: the new one lies beside it" grep -q '^# of the next release' "$root/etc/config/natf.apk-new"
check "$arch: an unchanged file is the new one" grep -q '^# of the next release' "$root/etc/natf/keys"

check "$arch: apk removes everything" apk del luci-app-natf natf natf-endd tsn-dnsd
check "$arch: OpenWrt's own script ran before" grep -qx 'prerm natf' "$root/tmp/log"
check "$arch: what remains is the changed configuration" prints '^/etc/config/natf $' files

fresh_root
rm "$root"/etc/apk/keys/*
check "$arch: an index signed with an unknown key is refused" not apk add natf
check "$arch: nothing of it is installed" not test -e "$root/usr/sbin/natf-routerd"

fresh_root
printf '\1' | dd of="$work/feed/packages.adb" bs=1 seek=200 conv=notrunc status=none
check "$arch: a forged index is refused" not apk add natf

fresh_root
printf '\1' | dd of="$(find "$work/feed" -name 'natf-0*.apk')" bs=1 seek=5000 conv=notrunc status=none
check "$arch: a package with other bytes than the index says is refused" not apk add natf
check "$arch: nothing of that is installed" not test -s "$root/usr/sbin/natf-routerd"

echo "$checks checks, $failures failed"
((failures == 0))
