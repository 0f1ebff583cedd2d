#!/usr/bin/env python3
"""Conntrack table full; who is evicted; and the port that is used again too early.

    en 198.51.100.2 -- inet -- 203.0.113.1 home (fw4, nf_conntrack_max small) -- alice 192.168.1.10
"""
import socket
import statistics
import time
from ctnl import *

G1, G2, P1 = "198.51.100.2", "203.0.113.1", "192.168.1.10"


LIMIT = int(open("/proc/sys/net/netfilter/nf_conntrack_max").read())


def median(inserts):
    """Median time and the set of answers of several inserts."""
    times, answers = [], []
    for insert in inserts:
        began = now()
        answers.append(insert())
        times.append(1e6 * (now() - began))
    return f"{statistics.median(times):.0f} us, answers {sorted(set(answers))}", answers


def fill(table, status, proto):
    """Fills the namespace's table to its limit, a hundred inserts in a datagram."""
    datagram = b""
    for number in range(LIMIT):
        src, port = f"198.51.{number >> 15}.{number >> 7 & 255}", 1 + (number & 127)
        orig = proto, src, port, G2, 40000
        body = flow(1, *orig) + flow(2, proto, G2, 40000, src, port) + nat(13, P1, 80) + be32(3, status) + be32(7, 300)
        datagram += table.message(1, 0, CREATE | EXCL, body)
        if number % 100 == 99 or number == LIMIT - 1:
            table.sock.send(datagram)
            datagram = b""


def count(lab):
    return int(lab.sh("home", "cat /proc/sys/net/netfilter/nf_conntrack_count"))


def main():
    for name, status, proto in (("unused UDP mappings (0x0a)", SEEN_REPLY | CONFIRMED, UDP), ("unused TCP mappings (0x0a)", SEEN_REPLY | CONFIRMED, TCP),
                                ("assured entries (0x0e)", SEEN_REPLY | CONFIRMED | ASSURED, UDP)):
        lab = Lab(120)
        home_net(lab)
        home = Conntrack(lab, "home")
        server = lab.socket("alice", bind=("", 80))
        server.listen(9)
        home.mapping(G1, 4000, G2, 16384, P1, 80)
        live = lab.socket("en", bind=("", 4000))
        live.connect((G2, 16384))
        peer, _ = server.accept()
        began = now()
        fill(home, status, proto)
        check(f"table full of {name}", count(lab) >= LIMIT - 5, f"{count(lab)} entries in {now() - began:.1f} s")
        figure, answers = median([lambda n=n: home.mapping(G1, 5000 + n, G2, 16390, P1, 80) for n in range(300)])
        check("   300 inserts", True, f"{figure}, refused {sum(map(bool, answers))}")
        inn = lab.socket("en", socket.SOCK_DGRAM, ("", 6000))
        inn.settimeout(0.02)
        passed = 0
        for _ in range(100):
            lab.socket("bob", socket.SOCK_DGRAM).sendto(b"x", (G1, 6000))
            try:
                passed += bool(inn.recv(9))
            except TimeoutError:
                pass
        check("   new flows of the LAN that still get out", True, f"{passed} of 100")
        live.send(b"y")
        check("   the live flow runs", peer.recv(9) == b"y")
        lab.close()

    lab = Lab(60)
    home_net(lab)
    home = Conntrack(lab, "home")
    server = lab.socket("alice", bind=("", 80))
    server.listen(9)
    error = home.mapping(G1, 3999, G2, 16384, P1, 80, extra=nest(5, attr(1, b"nosuch\0")))
    check("a helper that the kernel does not have: insert answers", error != 0, f"errno {error}")

    # The same (G1, s, m) again after the flow has ended.
    for closer, name in ((0, "EN closes first"), (1, "alice closes first")):
        s = 4100 + closer
        home.mapping(G1, s, G2, 16390, P1, 80)
        app = lab.socket("en", bind=("", s))
        app.connect((G2, 16390))
        peer, _ = server.accept()
        for sock in (app, peer) if closer == 0 else (peer, app):
            sock.close()
            time.sleep(0.05)
        entry = home.get((TCP, G1, s, G2, 16390))
        check(f"{name}: entry after the end", entry.tcp_state == 7, entry)
        check("   insert of the same (G1, s, m), now for bob", True, home.mapping(G1, s, G2, 16390, "192.168.1.11", 80))
        try:
            app = lab.socket("en")
            app.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            app.bind(("", s))
            app.settimeout(1.5)
            app.connect((G2, 16390))
            result = f"reaches {server.accept()[0].getsockname()} (the OLD target)"
        except OSError as error:
            result = f"{error}"
        check("   a new SYN on it", True, f"{result}; {home.get((TCP, G1, s, G2, 16390))}")
        home.delete((TCP, G1, s, G2, 16390))
        check("   after a ctnetlink delete the tuple is free at once", home.mapping(G1, s, G2, 16390, P1, 80) == 0)


main()
