#!/usr/bin/env bash
# Fuzzes with libFuzzer, guided by coverage; needs a C++ compiler and no particular Rust.
#   fuzz.sh [SECONDS [TARGET...]]      default: 600 seconds each, all targets, two at a time
# New inputs are kept in target/fuzz/corpus; a finding is written to target/fuzz/findings, and belongs into
# tests/fuzz/corpus/TARGET/ when it is understood.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600}
shift || true
target=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} != /* ]] || target=$CARGO_TARGET_DIR
host=$(rustc -vV | sed -n 's/^host: //p')

# Coverage for libFuzzer; with overflow checks, which a release does without.
flags="--cfg fuzzing -C passes=sancov-module -C codegen-units=1 -C debug-assertions=on -C overflow-checks=on"
for argument in -sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table -sanitizer-coverage-trace-compares; do
	flags+=" -C llvm-args=$argument"
done
cargo build --quiet --locked --release -p natf-fuzz --target-dir "$target/fuzz-seeds"
RUSTFLAGS=$flags cargo build --quiet --locked --profile fuzz -p natf-fuzz --features libfuzzer --target "$host" --target-dir "$target/fuzz"
harness=$target/fuzz/$host/fuzz/natf-fuzz
names=("$@")
((${#names[@]})) || mapfile -t names < <("$target/fuzz-seeds/release/natf-fuzz")

fuzz_one() {
	local name=$1 corpus=$target/fuzz/corpus/$1 findings=$target/fuzz/findings log
	mkdir -p "$corpus" "$findings"
	"$target/fuzz-seeds/release/natf-fuzz" "$name" --write-seeds "$corpus"
	log=$findings/$name.log
	local -a known=()
	[[ ! -d tests/fuzz/corpus/$name ]] || known=("tests/fuzz/corpus/$name")
	if NATF_FUZZ_TARGET=$name "$harness" -max_total_time="$seconds" -max_len=70000 -timeout=5 -rss_limit_mb=1024 \
		-artifact_prefix="$findings/$name-" "$corpus" "${known[@]}" >"$log" 2>&1; then
		printf '%-16s %s\n' "$name" "$(grep -E '^Done|DONE' "$log" | tail -n 1)"
	else
		printf '%-16s FINDING, see %s\n' "$name" "$log"
		tail -n 5 "$log"
		return 1
	fi
}

status=0 running=0
for name in "${names[@]}"; do
	fuzz_one "$name" &
	if ((++running == 2)); then
		wait -n || status=1
		running=1
	fi
done
while ((running > 0)); do
	wait -n || status=1
	running=$((running - 1))
done
exit $status
