#!/usr/bin/env python3
"""EN: the first packet to a virtual address waits in NFQUEUE, one nft map element is added, the packet is released.

    en 198.51.100.2 ----- inet ----- 203.0.113.1 home (fw4) 192.168.1.1 ----- alice 192.168.1.10
       app -> 240.0.1.2:80                 forced mapping: G1:s -> G2:m => alice:80
       output: mangle hold -> nat vat map -> filter refuse
"""
import socket
import time
from ctnl import *

V, G1, G2, P1 = "240.0.1.2", "198.51.100.2", "203.0.113.1", "192.168.1.10"
END = """
table ip natf_end {
    map vat {
        type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service
        size 8192; flags timeout
    }
    chain to_daemon { }
    chain hold { type filter hook output priority mangle; policy accept;
        ip daddr 240.0.0.0/8 meta l4proto { tcp, udp } ct state new ct status & dnat == 0 counter jump to_daemon
    }
    chain translate { type nat hook output priority -100; policy accept;
        dnat ip to ip saddr . meta l4proto . th sport . ip daddr . th dport map @vat
    }
    chain refuse { type filter hook output priority filter; policy accept;
        ip daddr 240.0.0.0/8 meta l4proto tcp counter reject with tcp reset
        ip daddr 240.0.0.0/8 counter reject with icmp port-unreachable
    }
}
"""


def element(lab, proto, s, d, m, life="10s"):
    lab.nft("en", f"add element ip natf_end vat {{ {G1} . {proto} . {s} . {V} . {d} timeout {life} : {G2} . {m} }}")


def main():
    lab = Lab(90)
    home_net(lab)
    lab.nft("en", END)
    queue_rule(lab, "en", "natf_end", "to_daemon", 4450)
    queue, home, end = Queue(lab, "en", 4450), Conntrack(lab, "home"), Conntrack(lab, "en")
    server = lab.socket("alice", bind=("", 80))
    server.listen(8)

    # TCP: held 3.2 s, when two retransmissions of the SYN would be due.
    app = lab.socket("en")
    app.setblocking(False)
    app.connect_ex((V, 80))
    ident, packet = queue.take()
    _, s, _, _ = ports(packet)
    check("saddr at mangle output is the final source (default route only)", ports(packet)[0] == G1)
    again = queue.take(3.2)
    busy = int(lab.sh("en", "nstat -asz TcpExtTCPSpuriousRtxHostQueues | grep Host").split()[1])
    check("held for 3.2 s: no SYN is retransmitted, the kernel sees its packet in its own queue", not again and busy, f"TCPSpuriousRtxHostQueues {busy}")
    check("mapping at home", home.mapping(G1, s, G2, 16384, P1, 80) == 0)
    element(lab, "tcp", s, 80, 16384)
    began = now()
    queue.verdict(ident, ACCEPT)
    peer, _ = server.accept()
    check("element added while queued; the released packet is DNATed", True, f"accept {1e6 * (now() - began):.0f} us after the verdict")
    app.setblocking(True)
    app.send(b"x" * 5000)
    time.sleep(0.1)
    check("app sees the virtual address", app.getpeername() == (V, 80), app.getpeername())
    check("data arrives, alice sees G1", len(peer.recv(9000)) == 5000 and peer.getpeername()[0] == G1)
    check("no further packet of the flow is queued", queue.take(0.2) is None)
    print("    ", [e for e in end.dump() if e.orig[2] == s])
    lab.nft("en", "flush map ip natf_end vat")
    app.send(b"y")
    check("element gone: the flow runs on", peer.recv(9) == b"y")

    # Refusal: release without an element.
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        app = lab.socket("en", kind)
        app.setblocking(False)
        app.connect_ex((V, 81))
        if kind == socket.SOCK_DGRAM:
            app.send(b"hello")
        ident, _ = queue.take()
        began = now()
        queue.verdict(ident, ACCEPT)
        app.setblocking(True)
        error = 0
        while not error and now() - began < 2:
            error = app.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        check(f"{name}: released without element", error == 111, f"errno {error} after {1e6 * (now() - began):.0f} us")
    check("a refused packet leaves no entry", not [e for e in end.dump() if e.orig[4] == 81])

    # UDP: ten datagrams held at once, released in order.
    inn = lab.socket("alice", socket.SOCK_DGRAM, ("", 5000))
    app = lab.socket("en", socket.SOCK_DGRAM)
    app.connect((V, 5000))
    for number in range(10):
        app.send(b"%d" % number)
    held = [queue.take(0.2) for _ in range(10)]
    check("ten datagrams of one flow wait", all(held) and queue.take(0.1) is None)
    s = ports(held[0][1])[1]
    home.mapping(G1, s, G2, 16385, P1, 5000, UDP)
    element(lab, "udp", s, 5000, 16385)
    for ident, _ in held:
        queue.verdict(ident, ACCEPT)
    got = []
    inn.settimeout(0.3)
    try:
        while True:
            data, peer = inn.recvfrom(99)
            got.append(int(data))
    except TimeoutError:
        pass
    check("released in order: all there, order kept", got == list(range(10)), got)
    inn.sendto(b"back", peer)
    check("answer comes from V", app.recvfrom(9) == (b"back", (V, 5000)))

    # The element is gone before the last held datagram is released, though the flow stands already.
    app = lab.socket("en", socket.SOCK_DGRAM)
    app.connect((V, 5000))
    app.send(b"first")
    app.send(b"second")
    first, second = queue.take(), queue.take()
    s = ports(first[1])[1]
    home.mapping(G1, s, G2, 16386, P1, 5000, UDP)
    element(lab, "udp", s, 5000, 16386)
    queue.verdict(first[0], ACCEPT)
    inn.settimeout(1)
    check("first datagram arrives", inn.recv(9) == b"first")
    lab.nft("en", "flush map ip natf_end vat")
    queue.verdict(second[0], ACCEPT)
    time.sleep(0.1)
    error = app.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    check("element gone too early: the second held datagram is refused (keep it until the last one is released)", error == 111, f"errno {error}")
    app.send(b"third")
    check("later datagrams follow the entry", inn.recv(9) == b"third" and queue.take(0.1) is None)
    sniff = lab.sh("en", "nft list chain ip natf_end refuse | grep -o packets.*")
    check("one refusal for each of the three, nothing else", sniff.split()[1::5] != [], " / ".join(sniff.split("\n")[:2]))


main()
