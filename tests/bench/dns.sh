#!/usr/bin/env bash
# Benchmarks of tsn-dnsd beside dnsmasq and unbound, in network namespaces (root); figures also in target/bench/dns.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PATH:/usr/sbin:/sbin
if ! command -v dnsperf >/dev/null || ! command -v unbound >/dev/null; then
	tests/install-tools.sh --packages dnsperf unbound
fi
cargo build --quiet --release --locked -p natf-routerd -p tsn-dnsd -p natf-bench
target=${CARGO_TARGET_DIR:-target}
exec python3 tests/bench/dns.py "$target/release" target/bench/dns.json "$@"
