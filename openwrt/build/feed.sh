#!/usr/bin/env bash
# Makes a feed directory for opkg from what ipk.sh packed: target/openwrt/feed/ARCH with Packages, Packages.gz, Packages.sig.
#   feed.sh [ARCH...]       all that are packed; signs with the secret key $FEED_KEY.sec
#   feed.sh --new-key NAME  makes a key pair: NAME.sec (secret, 0600) and NAME.pub
# Without FEED_KEY the feed is signed with a key made on the spot, target/openwrt/feed-key.sec, good for trying only.
# signify's keys and signatures are usign's, which opkg on OpenWrt verifies with.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=openwrt/build/arch.sh
. openwrt/build/arch.sh

new_key() {
	(umask 077 && signify-openbsd -G -n -c "natf feed" -p "$1.pub" -s "$1.sec")
	chmod 644 "$1.pub"
}

# fingerprint PUBLIC-KEY: the name that opkg looks for in /etc/opkg/keys (the key number of 8 bytes in hexadecimal digits).
fingerprint() {
	tail -n 1 "$1" | base64 -d | od -An -tx1 -j2 -N8 | tr -d ' \n'
}

# index DIRECTORY: prints the feed's Packages.
index() {
	local ipk
	for ipk in "$1"/*.ipk; do
		tar -xzOf "$ipk" ./control.tar.gz | tar -xzOf - ./control |
			sed "s/^Description:/Filename: $(basename "$ipk")\nSize: $(stat -c %s "$ipk")\nSHA256sum: $(sha256sum "$ipk" | cut -d' ' -f1)\n&/"
		echo
	done
}

if [[ ${1:-} == --new-key ]]; then
	[[ ! -e ${2:?feed.sh: --new-key needs a name}.sec ]] || { echo "feed.sh: '$2.sec' exists already" >&2; exit 1; }
	new_key "$2"
	echo "secret key: $2.sec (keep it off the build machine); public key: $2.pub, on routers /etc/opkg/keys/$(fingerprint "$2.pub")"
	exit
fi

key=${FEED_KEY:-}
if [[ -z $key ]]; then
	key=target/openwrt/feed-key
	[[ -e $key.sec ]] || new_key $key
	echo "feed.sh: FEED_KEY names no key; signing with $key.sec, good for trying only" >&2
fi
[[ -r $key.sec && -r $key.pub ]] || { echo "feed.sh: '$key.sec' and '$key.pub' have to be there and readable" >&2; exit 1; }

export LC_ALL=C
arches=("$@")
((${#arches[@]})) || read -ra arches <<<"$ARCHES"
for arch in "${arches[@]}"; do
	compgen -G "target/openwrt/ipk/$arch/*.ipk" >/dev/null || continue
	feed=target/openwrt/feed/$arch
	rm -rf "$feed"
	mkdir -p "$feed"
	cp target/openwrt/ipk/"$arch"/*.ipk "$feed"
	index "$feed" >"$feed/Packages"
	gzip -9nk "$feed/Packages"
	signify-openbsd -S -s "$key.sec" -m "$feed/Packages" -x "$feed/Packages.sig"
	signify-openbsd -Vq -p "$key.pub" -m "$feed/Packages" -x "$feed/Packages.sig"
	echo "$feed: $(grep -c ^Package: "$feed/Packages") packages"
done
cp "$key.pub" "target/openwrt/feed/$(fingerprint "$key.pub")"
