#!/usr/bin/env python3
"""ICMP errors about a forced mapping, in both directions: port unreachable and fragmentation needed.

    en 198.51.100.2 --(A)-- inet --(B)-- 203.0.113.1 home (fw4) --(C)-- alice 192.168.1.10
       app -> 240.0.1.2 (static vat)            forced mappings          one of A, B, C gets a small MTU
"""
import socket
import threading
from ctnl import *

V, G1, G2, P1 = "240.0.1.2", "198.51.100.2", "203.0.113.1", "192.168.1.10"
END = """
table ip natf_end {
    chain translate { type nat hook output priority -100; policy accept;
        ip daddr 240.0.1.2 tcp dport 80 dnat to 203.0.113.1:16384
        ip daddr 240.0.1.2 udp dport 5000-5099 dnat to 203.0.113.1
    }
    chain watch { type filter hook prerouting priority filter; policy accept;
        icmp type destination-unreachable ct state related counter comment "related"
        icmp type destination-unreachable ct state new counter comment "new"
        icmp type destination-unreachable ct state invalid counter comment "invalid"
    }
}
"""


def states(lab, name):
    text = lab.sh(name, "nft list chain ip natf_end watch | grep -o packets.[0-9]*").split()
    return dict(zip(("related", "new", "invalid"), map(int, text[1::2])))


def move(sender, receiver, size):
    """Sends size bytes one way; the rate is not the point, arrival is."""
    def pump():
        sender.settimeout(8)
        sender.sendall(bytes(size))
    worker = threading.Thread(target=pump, daemon=True)
    worker.start()
    receiver.settimeout(8)
    count, began = 0, now()
    try:
        while count < size:
            count += len(receiver.recv(1 << 16))
    except TimeoutError:
        pass
    return count == size, f"{count} bytes in {now() - began:.2f} s"


def mtu(sock):
    return sock.getsockopt(socket.IPPROTO_IP, 14)


def main():
    lab = Lab(90)
    home_net(lab)
    lab.nft("en", END)
    lab.nft("home", END.replace("chain translate", "chain unused"))
    home = Conntrack(lab, "home")
    server = lab.socket("alice", bind=("", 80))
    server.listen(8)

    # Port unreachable, EN -> alice's closed port and alice -> EN's closed port.
    app = lab.socket("en", socket.SOCK_DGRAM, ("", 4000))
    app.connect((V, 5001))
    home.mapping(G1, 4000, G2, 5001, P1, 7777, UDP)
    app.send(b"x")
    try:
        app.recv(9)
        error = 0
    except OSError as reason:
        error = reason.errno
    check("alice's port is closed: the app's socket to V hears it", error == 111, f"errno {error}, at home {states(lab, 'home')}, at EN {states(lab, 'en')}")
    inn = lab.socket("alice", socket.SOCK_DGRAM, ("", 5000))
    app = lab.socket("en", socket.SOCK_DGRAM, ("", 4001))
    app.connect((V, 5002))
    home.mapping(G1, 4001, G2, 5002, P1, 5000, UDP)
    app.send(b"x")
    peer = inn.recvfrom(9)[1]
    app.close()
    inn.connect(peer)
    inn.send(b"y")
    try:
        inn.recv(9)
        error = 0
    except OSError as reason:
        error = reason.errno
    check("EN's port is closed: alice's socket hears it", error == 111, f"errno {error}, at home {states(lab, 'home')}")

    # Fragmentation needed. Links get small only after the handshake, so that no MSS hides it; where a link touches
    # the sending host itself there is no router to report anything.
    a = (("en", "eth0"), ("inet", "en"))
    b = (("inet", "home"), ("home", "wan"))
    c = (("home", "br-lan"), ("home", "alice"), ("alice", "eth0"))
    for s, (place, way, devices) in enumerate((("A", "alice->en", a), ("B", "en->alice", b), ("B", "alice->en", b), ("C", "en->alice", c)), 5001):
        check("mapping", home.mapping(G1, s, G2, 16384, P1, 80) == 0)
        app = lab.socket("en", bind=("", s))
        app.connect((V, 80))
        peer, _ = server.accept()
        for name, dev in devices:
            lab.sh(name, f"ip link set {dev} mtu 1300")
        sender, receiver = (app, peer) if way == "en->alice" else (peer, app)
        good, figure = move(sender, receiver, 2_000_000)
        check(f"small MTU at {place}, {way}", good and mtu(sender) == 1300, f"{figure}, sender's path MTU {mtu(sender)}")
        for name, dev in devices:
            lab.sh(name, f"ip link set {dev} mtu 1500")
        for name in ("en", "alice"):
            lab.sh(name, "ip route flush cache")
    print("     at home:", states(lab, "home"), "at EN:", states(lab, "en"))


main()
