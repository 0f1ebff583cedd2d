#!/usr/bin/env bash
# Benchmarks of NAT-f in network namespaces (root); figures also in target/bench/natf.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release --locked -p natf-routerd -p natf-endd -p natf-bench
target=${CARGO_TARGET_DIR:-target}
exec python3 tests/bench/natf.py "$target/release" target/bench/natf.json "$@"
