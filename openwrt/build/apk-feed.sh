#!/usr/bin/env bash
# Makes a feed directory for apk from what apk.sh packed: target/openwrt/apk-feed/ARCH with the signed index packages.adb.
#   apk-feed.sh [ARCH...]       all that are packed; signs with the secret key $FEED_KEY.pem
#   apk-feed.sh --new-key NAME  makes a key pair: NAME.pem (secret, 0600) and NAME.pub.pem
# Without FEED_KEY the feed is signed with a key made on the spot, target/openwrt/apk-key.pem, good for trying only.
# Keys are as OpenWrt's own (ECDSA, P-256). Signatures of that kind have a random part: the index differs each time, packages do not.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

new_key() {
	(umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out "$1.pem")
	openssl ec -in "$1.pem" -pubout -out "$1.pub.pem" 2>/dev/null
}

if [[ ${1:-} == --new-key ]]; then
	[[ ! -e ${2:?apk-feed.sh: --new-key needs a name}.pem ]] || { echo "apk-feed.sh: '$2.pem' exists already" >&2; exit 1; }
	new_key "$2"
	echo "secret key: $2.pem (keep it off the build machine); public key: $2.pub.pem, on routers in /etc/apk/keys"
	exit
fi

apk=${APK:-apk}
key=${FEED_KEY:-}
if [[ -z $key ]]; then
	key=target/openwrt/apk-key
	[[ -e $key.pem ]] || new_key $key
	echo "apk-feed.sh: FEED_KEY names no key; signing with $key.pem, good for trying only" >&2
fi
[[ -r $key.pem && -r $key.pub.pem ]] || { echo "apk-feed.sh: '$key.pem' and '$key.pub.pem' have to be there and readable" >&2; exit 1; }

arches=("$@")
((${#arches[@]})) || read -ra arches <<<"$ARCHES"
for arch in "${arches[@]}"; do
	compgen -G "target/openwrt/apk/$arch/*.apk" >/dev/null || continue
	feed=target/openwrt/apk-feed/$arch
	rm -rf "$feed"
	mkdir -p "$feed"
	cp target/openwrt/apk/"$arch"/*.apk "$feed"
	# Packages need no signature of their own: the signed index has their hashes.
	"$apk" mkndx --allow-untrusted --sign-key "$key.pem" --output "$feed/packages.adb" "$feed"/*.apk
	cp "$key.pub.pem" "target/openwrt/apk-feed/"
	echo "$feed: $(find "$feed" -name '*.apk' | wc -l) packages"
done
