#!/usr/bin/env python3
"""TCP through a forced mapping: mid-stream move to another m (and another G2), and window tracking.

    en (app -> 240.0.1.2:80, vat) -- inet -- 203.0.113.1 and .2 home (fw4) -- alice 192.168.1.10:80
"""
import socket
import threading
from ctnl import *

V, G1, G2, G2B, P1 = "240.0.1.2", "198.51.100.2", "203.0.113.1", "203.0.113.2", "192.168.1.10"
END = """
table ip natf_end {
    map vat { type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service; flags timeout; }
    chain translate { type nat hook output priority -100; policy accept;
        dnat ip to ip saddr . meta l4proto . th sport . ip daddr . th dport map @vat
    }
    chain refuse { type filter hook output priority filter; policy accept;
        ip daddr 240.0.0.0/8 ct state invalid counter drop
        ip daddr 240.0.0.0/8 meta l4proto tcp counter reject with tcp reset
    }
}
"""
KEEP = """
table ip natf {
    chain keep { type nat hook prerouting priority dstnat; policy accept; }
    chain count { type filter hook prerouting priority mangle; policy accept; ct state invalid counter; }
}
"""


def element(lab, s, g2, m):
    lab.nft("en", f"flush map ip natf_end vat\nadd element ip natf_end vat {{ {G1} . tcp . {s} . {V} . 80 timeout 60s : {g2} . {m} }}")


def connect(lab, home, server, s, m):
    home.mapping(G1, s, G2, m, P1, 80)
    element(lab, s, G2, m)
    app = lab.socket("en", bind=("", s))
    app.connect((V, 80))
    return app, server.accept()[0]


def passes(sender, receiver, seconds=3):
    """Does a byte arrive, retransmissions included?"""
    receiver.settimeout(seconds)
    began = now()
    try:
        sender.send(b"x")
        return bool(receiver.recv(99)), f"{1000 * (now() - began):.0f} ms"
    except OSError as error:
        return False, str(error)


def invalid(lab):
    return lab.sh("home", "nft list chain ip natf count | grep -o packets.[0-9]*").strip()


def moves(lab, home, end, server):
    s = 5000
    for loose in (1, 0):
        for name in ("en", "home"):
            lab.sh(name, f"sysctl -qw net.netfilter.nf_conntrack_tcp_loose={loose}")
        for first in ("EN", "alice"):
            for where, g2 in (("another m", G2), ("another G2", G2B)):
                s += 1
                app, peer = connect(lab, home, server, s, 16384)
                assert passes(app, peer)[0] and passes(peer, app)[0]
                home.delete((TCP, G1, s, G2, 16384))
                end.delete((TCP, G1, s, V, 80))
                home.mapping(G1, s, g2, 17000, P1, 80)
                element(lab, s, g2, 17000)
                order = ((app, peer), (peer, app)) if first == "EN" else ((peer, app), (app, peer))
                results = [passes(*pair) for pair in order]
                check(f"tcp_loose={loose}, both entries deleted, {where}, {first} sends first", True, results)
                # With the EN's own entry written by ctnetlink instead of being left to its nat chain.
                home.delete((TCP, G1, s, g2, 17000))
                end.delete((TCP, G1, s, V, 80))
                home.mapping(G1, s, G2, 17001, P1, 80)
                lab.nft("en", "flush map ip natf_end vat")
                end.insert((TCP, G1, s, V, 80), nat(13, G2, 17001))
                results = [passes(*pair) for pair in order]
                check("     the same with a ctnetlink entry at the EN too", True, results)
                app.close(), peer.close()
    for name in ("en", "home"):
        lab.sh(name, "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1")


def bulk(lab, home, server):
    for way in ("en->alice", "alice->en"):
        s = 6000 + len(way) % 7 + (way == "alice->en")
        app, peer = connect(lab, home, server, s, 16400)
        sender, receiver = (app, peer) if way == "en->alice" else (peer, app)
        size, block, got = 1 << 30, bytes(1 << 20), 0
        threading.Thread(target=lambda: [sender.sendall(block) for _ in range(size >> 20)], daemon=True).start()
        began = now()
        while got < size:
            got += len(receiver.recv(1 << 20))
        scale = lab.sh("en", f"ss -tinH sport = {s} | grep -o wscale:[0-9,]*").strip()
        check(f"1 GiB {way}, no PROTOINFO in the insert", invalid(lab) == "packets 0", f"{8 * size / (now() - began) / 1e9:.1f} Gbit/s, {scale}, invalid {invalid(lab)}")


def main():
    lab = Lab(180)
    home_net(lab)
    lab.nft("en", END)
    lab.nft("home", KEEP)
    lab.sh("home", f"ip addr add {G2B}/24 dev wan")
    home, end = Conntrack(lab, "home"), Conntrack(lab, "en")
    server = lab.socket("alice", bind=("", 80))
    server.listen(9)
    bulk(lab, home, server)
    moves(lab, home, end, server)


main()
