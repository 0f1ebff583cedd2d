# shellcheck shell=bash
# Downloads that take as long as a scenario needs them; to be sourced after lib.sh, used after lab_up.

# large_file NODE...: gives the web servers on these nodes a file of 2 MiB.
large_file() {
	local node
	for node; do head -c 2097152 /dev/urandom >"$(lab dir)/$node/www/large.bin"; done
}

# Hands its input on, so many KiB per second. curl's own limit (7.88) lets most of a file through at once.
slowly() {
	/usr/bin/python3 -uc '
import os, sys, time
while data := os.read(0, int(sys.argv[1]) * 1024 // 50):
    os.write(1, data)
    time.sleep(0.02)' "$1"
}

# download NODE NAME RATE: curl on the node starts to fetch http://NAME/large.bin at RATE KiB per second; one per name
# and node. What the reader does not take stays in the network: the node's receive buffers are small.
download() {
	local node=$1 name=$2 rate=$3 file
	file=$(lab dir)/$node/$name
	rm -f "$file" "$file.status"
	on "$node" sysctl -qw net.ipv4.tcp_rmem="4096 32768 32768"
	(
		set +e
		on "$node" curl -sS --max-time 60 "http://$name/large.bin" 2>"$file.error" | slowly "$rate" >"$file"
		echo "${PIPESTATUS[0]}" >"$file.status"
	) &
	eventually 3 test -s "$file"
}

# goes_on NODE NAME: the download is still under way, and bytes come in.
goes_on() {
	local file before
	file=$(lab dir)/$1/$2
	before=$(stat -c %s "$file")
	eventually 5 sh -c "! test -e '$file.status' && test \$(stat -c %s '$file') -gt $before"
}

# ends_whole NODE NAME: the download comes to its end, and the file is right.
ends_whole() {
	local file
	file=$(lab dir)/$1/$2
	eventually 30 test -e "$file.status"
	echo "curl: exit status $(cat "$file.status"): $(cat "$file.error"); $(stat -c %s "$file") bytes"
	[[ $(cat "$file.status") == 0 ]] && cmp "$file" "$(lab dir)/${2%%.*}/www/large.bin"
}

# breaks NODE NAME: the download does not come to its end.
breaks() {
	local file
	file=$(lab dir)/$1/$2
	eventually 10 test -e "$file.status"
	[[ $(cat "$file.status") != 0 ]]
}
