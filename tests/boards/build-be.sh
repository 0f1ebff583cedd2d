#!/usr/bin/env bash
#
# Builds what a big-endian Malta board runs, from Debian's sources by Debian's cross compiler, for Debian packs nothing for it any
# more: a kernel with nothing but what a router needs (malta-be.config), BusyBox, nft, setpriv, all static.
# Some eight minutes of one processor for the kernel, three for the programs.
#
#   build-be.sh FOLDER          writes FOLDER/kernel/{boot,lib/modules} and FOLDER/root
#
# Source archives that lie in the folder NATF_SOURCES (NAME_VERSION.orig.tar.{gz,bz2,xz}, as Debian names them) are taken from there,
# as they are; only the others are downloaded, and compared with Debian's checksums. For machines whose mirror lacks some.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mkdir -p "${1:?which folder?}" && cd "$1" && pwd)
triple=mips-linux-gnu

"$here/../install-tools.sh" --packages gcc-$triple libc6-dev-mips-cross linux-source-6.1 bison flex bc pkg-config

# archive FOLDER NAME: prints the path of the upstream archive there.
archive() { compgen -G "$1/$2_*.orig.tar.*[z2]"; }

# sources PACKAGE...: their upstream archives, from the user's folder or by lists of our own.
sources() {
	local package missing=()
	mkdir -p "$folder"/{lists/partial,cache/archives/partial,sources}
	for package; do
		if [[ -n ${NATF_SOURCES:-} ]] && archive "$NATF_SOURCES" "$package" >/dev/null; then
			rm -f "$folder/sources/${package}"_*
			cp "$(archive "$NATF_SOURCES" "$package")" "$folder/sources/"
		else
			missing+=("$package")
		fi
	done
	((${#missing[@]})) || return 0
	echo 'deb-src http://deb.debian.org/debian bookworm main' >"$folder/sources.list"
	local -a apt=(-oDir::Etc::sourcelist="$folder/sources.list" -oDir::Etc::sourceparts=- -oDir::State::Lists="$folder/lists"
		-oDir::Cache="$folder/cache" -oAPT::Sandbox::User=root -oAcquire::Retries=3)
	apt-get -qq "${apt[@]}" update
	(cd "$folder/sources" && apt-get -qq "${apt[@]}" source --download-only "${missing[@]}") || {
		echo "build-be: put what was not found into a folder and name it in NATF_SOURCES (${missing[*]})" >&2
		return 1
	}
}

# unpack NAME: its archive, into build/NAME.
unpack() {
	rm -rf "$folder/build/$1"
	mkdir -p "$folder/build/$1"
	tar -C "$folder/build/$1" --strip-components=1 -xf "$(archive "$folder/sources" "$1")"
	cd "$folder/build/$1"
}

# autotools NAME OPTION...: static, into $folder/stage.
autotools() {
	unpack "$1"
	PKG_CONFIG_LIBDIR=$folder/stage/lib/pkgconfig PKG_CONFIG_PATH='' CFLAGS="-Os -I$folder/stage/include" LDFLAGS="-L$folder/stage/lib" \
		./configure --quiet --host=$triple --prefix="$folder/stage" --enable-static --disable-shared "${@:2}" >/dev/null
}

build_kernel() {
	local source=$folder/build/linux version
	version=$(sha256sum <"$here/malta-be.config")
	[[ $(cat "$folder/kernel/ready" 2>/dev/null) != "$version" ]] || return 0
	rm -rf "$folder/kernel" "$source"
	mkdir -p "$source" "$folder/kernel/boot"
	tar -C "$source" --strip-components=1 -xf /usr/src/linux-source-6.1.tar.xz
	cd "$source"
	make -s ARCH=mips CROSS_COMPILE=$triple- KCONFIG_ALLCONFIG="$here/malta-be.config" allnoconfig
	# A line that does not count is a mistake: something that it depends on is missing.
	local line
	while read -r line; do grep -qx "$line" .config || { echo "build-be: $line is not taken over" >&2; exit 1; }; done < <(grep ^CONFIG_ "$here/malta-be.config")
	make -s -j"$(nproc)" ARCH=mips CROSS_COMPILE=$triple- vmlinux modules
	make -s ARCH=mips CROSS_COMPILE=$triple- INSTALL_MOD_PATH="$folder/kernel" modules_install
	cp vmlinux "$folder/kernel/boot/"
	echo "$version" >"$folder/kernel/ready"
	rm -rf "$source"
}

build_programs() {
	sources busybox libmnl libnftnl nftables libcap-ng util-linux
	mkdir -p "$folder"/root/{bin,usr/sbin,usr/bin}
	unpack busybox
	make -s ARCH=mips CROSS_COMPILE=$triple- defconfig >/dev/null
	# Debian's kernel headers are newer than this program's traffic control.
	sed -i -e 's/^# CONFIG_STATIC is not set/CONFIG_STATIC=y/' -e 's/^CONFIG_TC=y/# CONFIG_TC is not set/' .config
	make -s -j"$(nproc)" ARCH=mips CROSS_COMPILE=$triple- busybox >/dev/null
	cp busybox "$folder/root/bin/"
	autotools libmnl && make -s -j"$(nproc)" install
	autotools libnftnl && make -s -j"$(nproc)" install
	autotools nftables --with-mini-gmp --without-cli --disable-man-doc
	make -s -j"$(nproc)" LDFLAGS="-all-static -L$folder/stage/lib"
	$triple-strip -o "$folder/root/usr/sbin/nft" src/nft
	autotools libcap-ng --without-python --without-python3
	make -s -j"$(nproc)" -C src install
	autotools util-linux --disable-all-programs --enable-setpriv --without-python --without-systemd --without-ncurses
	make -s -j"$(nproc)" setpriv LDFLAGS="-all-static -L$folder/stage/lib"
	$triple-strip -o "$folder/root/usr/bin/setpriv" setpriv
}

build_kernel
build_programs
rm -rf "$folder"/{build,sources,stage,lists,cache,sources.list}
