#!/usr/bin/env python3
"""FTP of an unmodified LAN host through two NAT-f routers (N12, N16): helper by our own rule, before our DNAT.

    alice (curl ftp://240.0.3.7) 192.168.1.10 -- home (fw4) 203.0.113.1 -- inet -- 192.0.2.1 home2 (fw4) -- carol (vsftpd) 192.168.1.10
"""
import os
import tempfile
import threading
from ctnl import *

V, P, G1, G2 = "240.0.3.7", "192.168.1.10", "203.0.113.1", "192.0.2.1"
KEY = "ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service; size 8192; flags timeout"
FLOW = "ip saddr . meta l4proto . th sport . ip daddr . th dport"
END = f"""
table ip natf_end {{
    map vat {{ type {KEY}; }}
    map source {{ type {KEY}; }}
    ct helper ftp {{ type "ftp" protocol tcp; }}
    chain to_daemon {{ }}
    chain hold {{ type filter hook prerouting priority mangle; policy accept;
        HELPER
        iifname br-lan ip daddr 240.0.0.0/8 meta l4proto {{ tcp, udp }} ct state new ct status & dnat == 0 jump to_daemon
    }}
    chain translate {{ type nat hook prerouting priority dstnat - 1; policy accept; dnat ip to {FLOW} map @vat; }}
    chain own_source {{ type nat hook postrouting priority srcnat - 1; policy accept; snat ip to {FLOW} map @source; }}
    chain refuse {{ type filter hook forward priority filter - 1; policy accept; ip daddr 240.0.0.0/8 meta l4proto tcp reject with tcp reset; }}
}}
"""
HELPER = 'iifname br-lan ip daddr 240.0.0.0/8 tcp dport 21 ct helper set "ftp"'


def daemon(lab, queue, far, ask):
    """Maps tcp:21 only; whatever else is asked for is refused and noted."""
    link, n = Netlink(lab, "home"), 16384
    while not ask["stop"]:
        if taken := queue.take(0.1):
            _, s, _, d = ports(taken[1])
            if d == 21:
                m1 = n + 4000
                far.mapping(G1, m1, G2, n, P, 21, extra=nest(5, attr(1, b"ftp\0")))
                pair = lambda addr, port: socket.inet_aton(addr) + struct.pack("!H2x", port)
                element(link, "vat", flow_key(P, TCP, s, V, 21), pair(G2, n))
                element(link, "source", flow_key(P, TCP, s, G2, n), pair(G1, m1))
                n += 1
            else:
                ask["refused"] += 1
            queue.verdict(taken[0], ACCEPT)


def trial(own_helper):
    lab = Lab(60)
    home_net(lab, second=True)
    root = tempfile.mkdtemp()
    os.chmod(root, 0o755)
    with open(root + "/file", "wb") as file:
        file.write(os.urandom(300_000))
    os.chmod(root + "/file", 0o644)
    with open(root + "/conf", "w") as file:
        file.write(f"listen=YES\nbackground=NO\nanonymous_enable=YES\nanon_root={root}\nseccomp_sandbox=NO\nsecure_chroot_dir={root}\n"
                   "connect_from_port_20=YES\nno_anon_password=YES\nxferlog_enable=NO\n")
    lab.start("carol", "vsftpd", root + "/conf")
    lab.nft("home", END.replace("HELPER", HELPER if own_helper else ""))
    queue_rule(lab, "home", "natf_end", "to_daemon", 4450)
    ask = {"stop": False, "refused": 0}
    worker = threading.Thread(target=daemon, args=(lab, Queue(lab, "home", 4450), Conntrack(lab, "home2"), ask))
    worker.start()
    works = {}
    for name, options in (("EPSV", ""), ("PASV", "--disable-epsv --no-ftp-skip-pasv-ip"), ("EPRT", "-P -"), ("PORT", "-P - --disable-eprt")):
        text = lab.sh("alice", f"curl -s -m 3 {options} -o {root}/got ftp://{V}/file; echo rc=$?", check=False)
        works[name] = "rc=0" in text and open(root + "/got", "rb").read() == open(root + "/file", "rb").read()
        run(f"rm -f {root}/got")
    ask["stop"] = True
    worker.join()
    lab.close()
    run(f"rm -r {root}")
    return works, ask["refused"]


works, refused = trial(False)
check("only fw4's own helper rule (it sees the translated port)", not all(works.values()), f"{works}, refused {refused}")
works, refused = trial(True)
check("our own helper rule at mangle", all(works.values()) and not refused, f"{works}, refused {refused}")
