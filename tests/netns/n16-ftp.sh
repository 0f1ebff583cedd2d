#!/usr/bin/env bash
#
# FTP through a forced mapping, as the paper verified it (N16): a control and a data connection, all four ways of
# agreeing on the latter, and HTTP to another host meanwhile.
#
#   en (curl) ── inet ── router1 ──┬── alice: vsftpd; only tcp:21 of her is allowed
#                                  '── bob: web server
. "$(dirname "$0")/lib.sh"
need_daemons

ftp() {
	on en curl -sS --max-time 10 "$@"
}

url=ftp://alice.home.example.net

same_photo() {
	[[ $(ftp "$@" $url/photo.bin | sha256sum) == "$(sha256sum <"$(lab dir)/alice/ftp/photo.bin")" ]]
}

lab_up
on router1 sed -i "/config host 'alice'/a\\	list service 'tcp:21'" /etc/config/natf
lab start routerd router1
lab start endd en

check "of alice only FTP's control connection is allowed (N6)" exits 7 on en curl -sS --max-time 5 http://alice.home.example.net/
check "extended passive mode: the file is whole (N16)" same_photo
check "passive mode: the file is whole (N16)" same_photo --disable-epsv
check "extended active mode: the file is whole (N16)" same_photo --ftp-port -
check "active mode: the file is whole (N16)" same_photo --disable-eprt --ftp-port -
check "the client is told the virtual address for the data connection" \
	prints '227 Entering Passive Mode \(240,' on en sh -c "curl -sSv --disable-epsv $url/readme.txt 2>&1"
check "the web server of another host answers at the same time (N11, N16)" \
	prints 'server of bob' on en curl -sS --max-time 5 http://bob.home.example.net/
check "data connections need no mapping of their own" \
	not prints '"inside":"192.168.1.10:(20|[3-6][0-9]{4})"' on router1 natf-routerd mappings --json

check "the peer is removed" on router1 natf-routerd peer remove laptop
check "a removed peer begins no further transfer" not ftp $url/readme.txt
check "no virtual and no private address was seen on the internet" nothing_leaked
