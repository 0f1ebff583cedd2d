#!/usr/bin/env python3
"""FTP through a forced mapping to m != 21: curl (EPSV, PASV, active) and vsftpd, helper at the router and at the EN.

    en (curl ftp://240.0.1.2) -- inet -- 203.0.113.1 home (fw4) -- alice (vsftpd :21)
    V:21 => G2:16384 at the EN,  G1:s -> G2:16384 => alice:21 with CTA_HELP ftp at home;  only tcp:21 is allowed
"""
import os
import socket
import tempfile
import threading
from ctnl import *

V, G1, G2, P1 = "240.0.1.2", "198.51.100.2", "203.0.113.1", "192.168.1.10"
END = """
table ip natf_end {
    map vat {
        type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service
        size 8192; flags timeout
    }
    ct helper ftp { type "ftp" protocol tcp; }
    chain to_daemon { }
    chain hold { type filter hook output priority mangle; policy accept;
        HELPER
        ip daddr 240.0.0.0/8 meta l4proto { tcp, udp } ct state new ct status & dnat == 0 jump to_daemon
    }
    chain translate { type nat hook output priority -100; policy accept;
        dnat ip to ip saddr . meta l4proto . th sport . ip daddr . th dport map @vat
    }
    chain refuse { type filter hook output priority filter; policy accept;
        ip daddr 240.0.0.0/8 meta l4proto tcp counter reject with tcp reset
    }
    FIREWALL
}
"""
AT_END = 'ip daddr 240.0.0.0/8 tcp dport 21 ct helper set "ftp"'
STRICT = "chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; }"


def daemon(lab, queue, home, ask, helper):
    """Maps tcp:21 only; whatever else is asked for is refused and noted."""
    m = 16384
    while not ask["stop"]:
        if taken := queue.take(0.1):
            _, s, _, d = ports(taken[1])
            if d == 21:
                home.mapping(G1, s, G2, m, P1, 21, extra=nest(5, attr(1, b"ftp\0")) if helper else b"")
                lab.nft("en", f"add element ip natf_end vat {{ {G1} . tcp . {s} . {V} . 21 timeout 10s : {G2} . {m} }}")
                m += 1
            else:
                ask["refused"] += 1
            queue.verdict(taken[0], ACCEPT)


def trial(title, home_helper, end_helper, firewall, wanted):
    lab = Lab(60)
    home_net(lab)
    root = tempfile.mkdtemp()
    os.chmod(root, 0o755)
    with open(root + "/file", "wb") as file:
        file.write(os.urandom(300_000))
    conf = root + "/vsftpd.conf"
    with open(conf, "w") as file:
        file.write(f"listen=YES\nbackground=NO\nanonymous_enable=YES\nanon_root={root}\nseccomp_sandbox=NO\nsecure_chroot_dir={root}\n"
                   "connect_from_port_20=YES\npasv_promiscuous=NO\nport_promiscuous=NO\nno_anon_password=YES\nxferlog_enable=NO\n")
    os.chmod(root + "/file", 0o644)
    lab.start("alice", "vsftpd", conf)
    lab.nft("en", END.replace("HELPER", AT_END if end_helper else "").replace("FIREWALL", STRICT if firewall else ""))
    queue_rule(lab, "en", "natf_end", "to_daemon", 4450)
    queue, home, end = Queue(lab, "en", 4450), Conntrack(lab, "home"), Conntrack(lab, "en")
    ask = {"stop": False, "refused": 0}
    worker = threading.Thread(target=daemon, args=(lab, queue, home, ask, home_helper))
    worker.start()
    try:
        for name, options in (("EPSV", "--ftp-skip-pasv-ip"), ("PASV", "--disable-epsv --no-ftp-skip-pasv-ip"),
                              ("PASV, address ignored", "--disable-epsv"), ("EPRT", "-P -"), ("PORT", "-P - --disable-eprt")):
            ask["refused"] = 0
            text = lab.sh("en", f"curl -sv -m 3 --connect-timeout 2 {options} -o {root}/got ftp://{V}/file; echo rc=$?", check=False)
            good = "rc=0" in text and open(root + "/got", "rb").read() == open(root + "/file", "rb").read()
            lines = [line[2:].strip() for line in text.splitlines() if line.startswith(("< 22", "> PORT", "> EPRT", "> PASV", "> EPSV")) and "220" not in line and "226" not in line]
            check(f"{title} | {name}", good == (name not in wanted), ("works" if good else "fails") + f", refused {ask['refused']}, " + " / ".join(lines))
            if os.path.exists(root + "/got"):
                os.unlink(root + "/got")
        if end_helper and home_helper:
            for side, table in (("en", end), ("home", home)):
                data = [e for e in table.dump() if e.master]
                check(f"{side}: data connections name their master (CTA_TUPLE_MASTER)", len(data) == 5)
                print("    ", data[-2:], "control:", [e for e in table.dump() if e.helper][-1])
    finally:
        ask["stop"] = True
        worker.join()
        lab.close()
        run(f"rm -r {root}")


def main():
    passive = {"EPSV", "PASV", "PASV, address ignored"}
    trial("no helper anywhere", False, False, False, passive)
    trial("helper at home only", True, False, False, {"EPSV", "PASV, address ignored"})
    trial("helper at home and EN", True, True, False, set())
    trial("both, EN's firewall lets in established,related only", True, True, True, set())


main()
