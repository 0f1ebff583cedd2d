#!/usr/bin/env bash
# Installs what building, the demonstration and the tests need on Debian 12 (root, Rust present).
# Idempotent: if every program is there, no package manager and no network is touched.
# Packages may not start their services: a policy-rc.d says no while they are installed.
#   install-tools.sh [--packages PACKAGE...]     other packages instead, as benchmarks and the demonstration need them
set -euo pipefail

# PROGRAM PACKAGE: the program proves that the package is there.
tools='
cc          gcc
make        make
ip          iproute2
nft         nftables
iptables    iptables
conntrack   conntrack
sysctl      procps
setsid      util-linux
flock       util-linux
ping        iputils-ping
ethtool     ethtool
strace      strace
curl        curl
dig         dnsutils
tcpdump     tcpdump
iperf3      iperf3
socat       socat
named       bind9
nsupdate    bind9-dnsutils
nsd         nsd
nsd-checkzone nsd
dnsmasq     dnsmasq-base
jq          jq
busybox     busybox-static
vsftpd      vsftpd
lighttpd    lighttpd
chromium    chromium
/usr/bin/python3 python3
'

export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=()
if [[ ${1:-} == --packages ]]; then
	missing=("${@:2}")
	tools=
fi
while read -r program package; do
	[[ -z $program ]] && continue
	command -v "$program" >/dev/null || missing+=("$package")
done <<<"$tools"
[[ -z $tools || -e /usr/include/stdio.h ]] || missing+=(libc6-dev)

if ((${#missing[@]} == 0)); then
	exit 0
fi
if ((EUID != 0)); then
	echo "install-tools: these packages are missing and only root can install them: ${missing[*]}" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "install-tools: no apt-get here; install by hand what provides: ${missing[*]}" >&2
	exit 1
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
echo "installing: ${missing[*]}"

# 101 = "action forbidden by policy"; a policy that is already there is left alone.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
install_packages() {
	apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}" </dev/null
}
log=$(mktemp)
if ! install_packages >"$log" 2>&1; then
	# The package lists of a fresh machine are empty or old.
	apt-get update -qq -o DPkg::Lock::Timeout=120 >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
	install_packages >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
rm -f "$log"

# No service of these packages may run or come up at the next boot: the lab starts its own copies.
if [[ -d /run/systemd/system ]]; then
	for unit in nsd named vsftpd lighttpd iperf3; do
		case " ${missing[*]} " in *" $unit "*) systemctl disable --now "$unit" >/dev/null 2>&1 || true ;; esac
	done
fi
