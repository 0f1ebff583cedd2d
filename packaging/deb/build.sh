#!/usr/bin/env bash
# Builds Debian packages of natf-endd and tsn-dnsd for this machine's architecture in target/deb, without debhelper.
#   build.sh [PACKAGE...]
# Each packaging/deb/PACKAGE has: control (fields), config (goes to /etc/config), docs (to /usr/share/doc), purge (what a purge removes);
# the maintainer scripts are shared. The same sources and tools give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=("$@")
((${#packages[@]})) || packages=(natf-endd tsn-dnsd)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C TZ=UTC
umask 022
for tool in dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev; do
	command -v "${tool%:*}" >/dev/null || tests/install-tools.sh --packages "${tool#*:}"
done

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
# Who packs says so as to Debian's own tools; without, an address that is nobody's (RFC 2606), as the field has to have one.
maintainer="${DEBFULLNAME:-The natf authors} <${DEBEMAIL:-nobody@natf.invalid}>"
programs=${CARGO_TARGET_DIR:-target}/release
${CARGO:-cargo} build --release --locked "${packages[@]/#/--package=}"
mkdir -p target/deb

# copyright: Debian's machine-readable form; both licences are known to every Debian system but MIT's text.
copyright() {
	cat <<-END
		Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
		Upstream-Name: natf
		
		Files: *
		Copyright: 2026 The natf authors
		License: Expat or Apache-2.0
		
		License: Apache-2.0
		 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
		
		License: Expat
	END
	sed -e '1,/^Copyright/d' -e '/./,$!d' -e 's/^$/./' -e 's/^/ /' LICENSE-MIT
}

changelog() {
	printf '%s (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/%s/CHANGELOG.md.gz.\n\n -- %s  %s\n' \
		"$1" "$version" "$1" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
}

# manual PACKAGE: a manual page that is the program's own help.
manual() {
	local help
	help=$("$programs/$1" --help)
	printf '.TH %s 8 "%s" "natf %s" "System administration"\n.SH NAME\n' "${1^^}" "$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)" "$version"
	sed -n '1s/: / \\- /p' <<<"$help"
	printf '.SH SYNOPSIS\n.nf\n'
	sed -e 1,2d -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\&&/" <<<"$help"
	printf '.fi\n.SH FILES\n.nf\n'
	sed 's/-/\\-/g' "packaging/deb/$1/files"
	printf '.fi\n.SH SEE ALSO\nThe documentation in /usr/share/doc/%s.\n' "${1//-/\\-}"
}

# stage PACKAGE ROOT: the tree as installed.
stage() {
	local package=$1 root=$2 from=packaging/deb/$1 doc=$2/usr/share/doc/$1 file
	install -D -m 755 "$programs/$package" "$root/usr/sbin/$package"
	install -D -m 644 "$package/$package.service" "$root/lib/systemd/system/$package.service"
	install -D -m 644 "$from/config" "$root/etc/config/$(basename "$(sed -n 's#^/etc/config/##p' "$from/conffiles")")"
	install -d "$doc"
	copyright >"$doc/copyright"
	changelog "$package" | gzip -9n >"$doc/changelog.gz"
	while read -r file; do
		gzip -9nc "$file" >"$doc/${file##*/}.gz"
	done <"$from/docs"
	install -d "$root/usr/share/man/man8"
	manual "$package" | gzip -9n >"$root/usr/share/man/man8/$package.8.gz"
}

# describe PACKAGE ROOT: the DEBIAN directory.
describe() {
	local package=$1 root=$2 from=packaging/deb/$1 depends script
	# dpkg-shlibdeps wants a source tree's debian/control.
	mkdir -p "$root/../shlibs/debian"
	: >"$root/../shlibs/debian/control"
	depends=$(cd "$root/../shlibs" && dpkg-shlibdeps -O "$root/usr/sbin/$package" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
	install -d "$root/DEBIAN"
	{
		printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' "$package" "$version" "$architecture" "$maintainer"
		printf 'Installed-Size: %s\n' "$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)"
		sed "s/@SHLIBS@/$depends/" "$from/control"
	} >"$root/DEBIAN/control"
	install -m 644 "$from/conffiles" "$root/DEBIAN/conffiles"
	for script in postinst prerm postrm; do
		sed -e "s/@PACKAGE@/$package/g" -e "s#@PURGE@#$(cat "$from/purge")#" "packaging/deb/$script" >"$root/DEBIAN/$script"
		chmod 755 "$root/DEBIAN/$script"
	done
	(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
}

for package in "${packages[@]}"; do
	stage=$(mktemp -d "$PWD/target/deb/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	mkdir "$stage/root"
	stage "$package" "$stage/root"
	describe "$package" "$stage/root"
	find "$stage/root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	deb=target/deb/${package}_${version}_$architecture.deb
	dpkg-deb --root-owner-group -Zxz --build "$stage/root" "$deb" >/dev/null
	rm -rf "$stage"
	stat -c '%n %s' "$deb"
done
