# shellcheck shell=bash
# Sentences that are true or not: what scenarios in namespaces and on emulated boards have in common. To be sourced.
checks=0 failures=0 skipped=

# check SENTENCE COMMAND...: runs the command (or function) and says whether the sentence is true.
check() {
	local sentence=$1 output
	shift
	checks=$((checks + 1))
	# In a subshell with -e off, as any condition is; functions say && between their steps.
	if output=$("$@" 2>&1); then
		echo "ok      $sentence"
	else
		failures=$((failures + 1))
		echo "not ok  $sentence"
		printf '        command: %s\n' "$*"
		if [[ -n $output ]]; then printf '%s\n' "$output" | tail -n 15 | sed 's/^/        | /'; fi
	fi
}

# To be put before a command in a check: the command has to fail.
not() {
	! "$@"
}

# exits STATUS COMMAND...: the command ends with exactly this status.
exits() {
	local wanted=$1 status=0
	shift
	"$@" || status=$?
	((status == wanted)) || {
		echo "exit status $status instead of $wanted"
		return 1
	}
}

# prints REGEX COMMAND...: the command succeeds and its output has a match.
prints() {
	local regex=$1 output
	shift
	output=$("$@") || return 1
	grep -qE -- "$regex" <<<"$output" || {
		printf 'no match for %s in:\n%s\n' "$regex" "$output"
		return 1
	}
}

# eventually SECONDS COMMAND...
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.1
	done
}

skip() {
	skipped=$*
	echo "skip    $skipped"
	exit 77
}
