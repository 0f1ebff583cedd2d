# shellcheck shell=bash
# What runs on the lab's nodes from the start: real servers, and the configuration that the daemons read.
# Sourced by lab.sh, which has `enter`, `spawn`, `wait_for`, `state`, `here`.

start_servers() {
	local node
	start_nsd
	start_named
	for node in router1 router2; do start_dnsmasq "$node"; done
	for node in alice bob mallory carol dave plain stranger router1; do start_lighttpd "$node"; done
	for node in alice bob carol; do spawn "$node" udp-echo /usr/bin/python3 "$here/udp_echo.py" 7; done
	start_vsftpd
	spawn bob iperf3 iperf3 --server --forceflush

	ready dns udp 53
	ready dns tcp 53
	ready_at dns 192.0.2.54
	for node in router1 router2; do ready "$node" udp 53; done
	for node in alice bob mallory carol dave plain stranger router1; do ready "$node" tcp 80; done
	for node in alice bob carol; do ready "$node" udp 7; done
	ready alice tcp 21
	ready bob tcp 5201
}

# ready NODE tcp|udp PORT
ready() {
	wait_for 10 listens "$@" || fail "nothing listens on $2 port $3 of $1; logs: $(tail -n 3 "$state/$1"/*.log)"
}

ready_at() {
	wait_for 10 enter "$1" dig +short +time=1 +tries=1 "@$2" version.bind TXT CH || fail "no DNS server answers at $2 of $1"
}

listens() {
	[[ -n $(enter "$1" ss -Hln --"$2" "sport = :$3") ]]
}

start_nsd() {
	local dir=$state/dns/nsd
	mkdir -p "$dir"
	cp "$here"/zones/*.zone "$dir"
	cat >"$dir/nsd.conf" <<-CONF
		server:
		    ip-address: 192.0.2.53
		    server-count: 1
		    username: ""
		    zonesdir: "$dir"
		    database: ""
		    zonelistfile: "$dir/zone.list"
		    xfrdfile: "$dir/xfrd.state"
		    pidfile: "$dir/nsd.pid"
		    hide-version: yes
		    log-time-ascii: yes
		remote-control:
		    control-enable: no
		zone:
		    name: example.net
		    zonefile: example.net.zone
		zone:
		    name: example.org
		    zonefile: example.org.zone
	CONF
	spawn dns nsd nsd -d -c "$dir/nsd.conf"
}

# A provider's resolver, whose zone is changed by dynamic updates (T1); the key is the home's.
start_named() {
	local dir=$state/dns/named
	mkdir -p "$dir"
	printf 'key "home-key" {\n\talgorithm hmac-sha256;\n\tsecret "%s";\n};\n' \
		"$(head -c 32 /dev/urandom | base64 -w 0)" >"$dir/home.key"
	cp "$here/zones/dyn.example.net" "$dir/dyn.example.net"
	cat >"$dir/named.conf" <<-CONF
		include "$dir/home.key";
		options {
			directory "$dir";
			listen-on { 192.0.2.54; };
			listen-on-v6 { none; };
			pid-file none;
			session-keyfile none;
			forwarders { 192.0.2.53; };
			forward only;
			allow-recursion { any; };
			dnssec-validation no;
		};
		controls { };
		zone "dyn.example.net" {
			type primary;
			file "dyn.example.net";
			allow-update { key home-key; };
		};
	CONF
	spawn dns named named -g -n 1 -U 1 -c "$dir/named.conf"
}

# As OpenWrt starts it: rebinding protection on. The lab's "public" addresses are documentation networks,
# which dnsmasq counts as private, therefore the exemption.
start_dnsmasq() {
	local dir=$state/$1
	cat >"$dir/dnsmasq.conf" <<-CONF
		no-resolv
		no-hosts
		server=192.0.2.53
		servers-file=$dir/dnsmasq.servers
		listen-address=192.168.1.1,127.0.0.1
		bind-dynamic
		local-service
		domain-needed
		stop-dns-rebind
		rebind-localhost-ok
		rebind-domain-ok=/example.net/example.org/
		cache-size=1000
		edns-packet-max=1232
		user=root
		pid-file=
		log-facility=-
	CONF
	: >"$dir/dnsmasq.servers"
	spawn "$1" dnsmasq dnsmasq --keep-in-foreground -C "$dir/dnsmasq.conf"
}

# The far home's names go to the proxy of the router's own NAT-f daemon, from its start to its orderly stop (N12).
use_natf_resolver() {
	local node=$1 name=$2 far
	[[ $name == routerd && -n $(enter "$node" ss -Hlnu "src 127.0.0.153:53") ]] || return 0
	case $node in
	router1) far=home2.example.net ;;
	router2) far=home.example.net ;;
	*) return 0 ;;
	esac
	echo "server=/$far/127.0.0.153" >"$state/$node/dnsmasq.servers"
	kill -HUP "$(running "$node" dnsmasq)"
}

forget_natf_resolver() {
	local node=$1 name=$2
	[[ $name == routerd && -s $state/$node/dnsmasq.servers ]] || return 0
	: >"$state/$node/dnsmasq.servers"
	kill -HUP "$(running "$node" dnsmasq)"
}

start_lighttpd() {
	local node=$1 dir=$state/$1
	echo "This is the web server of $node." >"$dir/www/index.html"
	cat >"$dir/lighttpd.conf" <<-CONF
		server.modules = ( "mod_indexfile", "mod_accesslog" )
		server.document-root = "$dir/www"
		server.bind = "0.0.0.0"
		server.port = 80
		server.errorlog = "$dir/lighttpd-error.log"
		accesslog.filename = "$dir/lighttpd-access.log"
		accesslog.format = "%h %r %s"
		index-file.names = ( "index.html" )
		mimetype.assign = ( ".html" => "text/html" )
	CONF
	spawn "$node" lighttpd lighttpd -D -f "$dir/lighttpd.conf"
}

# Anonymous downloads, passive and active.
start_vsftpd() {
	local dir=$state/alice
	mkdir -p "$dir/ftp" "$dir/empty"
	echo "A file on alice, fetched by FTP." >"$dir/ftp/readme.txt"
	head -c 1048576 /dev/urandom >"$dir/ftp/photo.bin"
	cat >"$dir/vsftpd.conf" <<-CONF
		listen=YES
		listen_ipv6=NO
		background=NO
		anonymous_enable=YES
		no_anon_password=YES
		local_enable=NO
		anon_root=$dir/ftp
		connect_from_port_20=YES
		secure_chroot_dir=$dir/empty
		isolate_network=NO
		xferlog_enable=NO
	CONF
	chmod 755 "$dir" "$dir/ftp" "$dir/empty"
	spawn alice vsftpd vsftpd "$dir/vsftpd.conf"
}

# --- the daemons' configuration -------------------------------------------------------------------

write_configuration() {
	local node laptop roamer en_home2 far1 far2 tsn1 tsn2
	for node in router1 router2 en en3; do
		enter "$node" tee /etc/config/natf <"$here/config/$node" >/dev/null
	done
	enter isp tee /etc/config/tsn-dnsd <"$here/config/isp" >/dev/null
	tsn1=$(new_key) tsn2=$(new_key)
	laptop=$(new_key) roamer=$(new_key) en_home2=$(new_key) far1=$(new_key) far2=$(new_key)
	write_keys router1 "laptop 4711 $laptop" "roamer 4712 $roamer" "router2 4713 $far1" "home2 4714 $far2" \
		"isp 4720 $tsn1"
	write_keys router2 "laptop 4715 $en_home2" "router1 4714 $far2" "home 4713 $far1" "isp 4721 $tsn2"
	write_keys en "home 4711 $laptop" "cname 4711 $laptop" "multi 4711 $laptop" "home2 4715 $en_home2"
	write_keys en3 "home 4712 $roamer"
	printf '%s\n' "home 4720 $tsn1" "home2 4721 $tsn2" "plain 4722 $(new_key)" |
		enter isp sh -c 'umask 077; cat >/etc/tsn-dnsd/keys'
}

# 256 random bits, base64url without padding.
new_key() {
	head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '='
}

write_keys() {
	local node=$1
	shift
	printf '%s\n' "$@" | enter "$node" sh -c 'umask 077; cat >/etc/natf/keys'
}
