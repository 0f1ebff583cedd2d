#!/usr/bin/env bash
# Benchmarks in network namespaces, beside those that do the like (root). Figures go to target/bench/PART.json.
#   bench.sh                 all of them, 15 minutes, and docs/benchmarks.md with its plots anew
#   bench.sh PART...         only these parts (startup mapping throughput crowd dns distance ordinary), and the document
#   QUICK=1 bench.sh ...     few rounds, to see that everything works; all goes to target/bench/quick/
# A tunnel or server that cannot be installed here is left out, and the document says so.
set -euo pipefail

cd "$(dirname "$0")/../.."
here=tests/bench
target=${CARGO_TARGET_DIR:-target}
figures=target/bench
document=docs/benchmarks.md
options=()
export PATH=$PATH:/usr/sbin:/sbin:$PWD/target/tools/bin

if [[ ${QUICK:-} == 1 ]]; then
	figures=target/bench/quick
	document=$figures/benchmarks.md
	options+=(--quick)
fi
if (($#)); then
	options+=(--only "$(IFS=,; echo "$*")")
fi

missing=()
for program in dnsperf unbound miniupnpd wireguard-go wg:wireguard-tools socat nsd dnsmasq; do
	command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
done
((${#missing[@]} == 0)) || tests/install-tools.sh --packages "${missing[@]/%miniupnpd/miniupnpd-nftables}"
command -v boringtun-cli >/dev/null ||
	cargo install --quiet --locked --root target/tools --version 0.7.1 boringtun-cli </dev/null ||
	echo "bench.sh: boringtun-cli cannot be installed; its column stays empty" >&2

cargo build --quiet --release --locked -p natf-routerd -p natf-endd -p tsn-dnsd -p natf-bench
status=0
python3 "$here/bench.py" "${options[@]}" "$target/release" "$figures" || status=$?
python3 "$here/report.py" "$figures" "$document" || status=$?
exit "$status"
