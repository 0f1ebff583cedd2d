#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages in a root directory of their own, by the real dpkg, with maintainer scripts
# run against that directory (DPKG_ROOT), and checks that a second build gives the same bytes. Root; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(natf-endd tsn-dnsd)
# A commit meanwhile would give both builds different dates. The programs are those that `make deb` built.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
export CARGO=true
passed=0
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "test-deb: $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); echo "ok: $*"; }
there() { [[ -e $root$1 ]] || fail "$1 is missing"; }
gone() { [[ ! -e $root$1 ]] || fail "$1 is still there"; }
in_root() {
	dpkg --root="$root" --force-script-chrootless --force-depends --force-confold --log=/dev/null "$@" >"$root/log" 2>&1 || {
		cat "$root/log" >&2
		fail "dpkg $*"
	}
}
newest() { find target/deb -name "$1_*_$(dpkg --print-architecture).deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2; }

mkdir -p "$root"/{etc,usr,var/lib/dpkg/{info,updates}}
: >"$root/var/lib/dpkg/status"
command -v deb-systemd-helper >/dev/null || tests/install-tools.sh --packages init-system-helpers

for package in "${packages[@]}"; do
	packaging/deb/build.sh "$package" >/dev/null || fail "$package cannot be packed; run 'make deb' first"
	deb=$(newest "$package")
	before=$(sha256sum <"$deb")
	packaging/deb/build.sh "$package" >/dev/null
	[[ $(sha256sum <"$deb") == "$before" ]] || fail "a second build of $package gave other bytes"
	ok "$package: two builds are the same"

	conffile=$(cat "packaging/deb/$package/conffiles")
	in_root --install "$deb"
	for file in "/usr/sbin/$package" "/lib/systemd/system/$package.service" "$conffile" "/usr/share/man/man8/$package.8.gz"; do
		there "$file"
	done
	[[ -L $root/etc/systemd/system/multi-user.target.wants/$package.service ]] || fail "$package is not enabled"
	"$root/usr/sbin/$package" -c "$root$conffile" -k "$root/keys" check >/dev/null || fail "$package refuses the configuration it brings"
	ok "$package: installed, enabled, its configuration is good"

	echo "# mine" >>"$root$conffile"
	in_root --install "$deb"
	grep -q '^# mine' "$root$conffile" || fail "an upgrade lost what the user wrote"
	ok "$package: an upgrade keeps the configuration"

	for directory in $(cat "packaging/deb/$package/purge"); do
		mkdir -p "$root$directory" && touch "$root$directory/keys"
	done
	in_root --remove "$package"
	gone "/usr/sbin/$package"
	there "$conffile"
	there "$(cut -d' ' -f1 "packaging/deb/$package/purge")/keys"
	ok "$package: removal keeps configuration and keys"

	in_root --purge "$package"
	left=$(cd "$root" && find . ! -type d ! -path './var/lib/dpkg/*' ! -path ./log)
	[[ -z $left ]] || fail "a purge left: $left"
	ok "$package: a purge leaves nothing"
done

# From 0 (all is taken away) to 100.
exposure_max=25
if command -v systemd-analyze >/dev/null; then
	for package in "${packages[@]}"; do
		systemd-analyze security --offline=true --threshold=$exposure_max "$package/$package.service" >"$root/log" 2>&1 ||
			fail "$package.service is exposed: $(tail -n 1 "$root/log")"
		ok "$package: the unit runs with little power"
	done
fi
if command -v lintian >/dev/null; then
	for package in "${packages[@]}"; do
		lintian --no-cfg --allow-root --fail-on error,warning "$(newest "$package")" || fail "lintian"
		ok "$package: lintian"
	done
fi
echo "$passed passed"
