#!/usr/bin/env bash
# Runs the scenarios in tests/netns (all, or those named), each in a lab of its own and with a time limit. A scenario ends with 0, or
# with 77 where it was skipped: this machine lacks what it takes.
# Last line: N passed, N failed, N skipped. Fails if one failed.
#   run-netns.sh [--with FILE] [NAME...]     NATF_BIN = where the daemons are; FILE: one more scenario, after the others
# The limit is 120 s, or what a line "# time limit: N s" in the scenario says; SCENARIO_SECONDS overrides both.
set -euo pipefail

tests=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0 skipped=0 running='' failures=()

scenarios=() more=()
if [[ ${1:-} == --with ]]; then
	more=("${2:?--with: which file?}")
	shift 2
fi
if (($#)); then
	for name; do scenarios+=("$tests/netns/${name%.sh}.sh"); done
else
	for file in "$tests"/netns/*.sh; do
		[[ $file == */lib.sh ]] || scenarios+=("$file")
	done
fi
scenarios+=("${more[@]}")

# A scenario cleans up after itself; this is for one that was killed.
clean() {
	trap '' INT TERM
	if [[ -n $running ]]; then
		kill "$running" 2>/dev/null || true
		wait "$running" 2>/dev/null || true
	fi
	[[ -z ${NATF_LAB:-} ]] || "$tests/lab/lab.sh" down || true
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for scenario in "${scenarios[@]}"; do
	[[ -e $scenario ]] || {
		echo "no scenario '$(basename "$scenario" .sh)': there is no file $scenario" >&2
		exit 2
	}
done

for scenario in "${scenarios[@]}"; do
	name=$(basename "$scenario" .sh)
	echo "== $name"
	begin=$SECONDS status=0
	limit=${SCENARIO_SECONDS:-$(sed -n 's/^# time limit: \([0-9]*\) s$/\1/p' "$scenario")}
	limit=${limit:-120}
	export NATF_LAB=natf$$
	# In the background, so that a signal to this script is handled at once.
	timeout --kill-after=20 "$limit" bash "$scenario" </dev/null &
	running=$!
	wait $running || status=$?
	running=
	"$tests/lab/lab.sh" down
	case $status in
	0) passed=$((passed + 1)) word=passed ;;
	77) skipped=$((skipped + 1)) word=skipped ;;
	124 | 137) failed=$((failed + 1)) failures+=("$name") word="FAILED (time limit ${limit} s)" ;;
	*) failed=$((failed + 1)) failures+=("$name") word="FAILED (status $status)" ;;
	esac
	echo "== $name: $word, $((SECONDS - begin)) s"
	echo
done

if ((failed)); then echo "failed: ${failures[*]}"; fi
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
