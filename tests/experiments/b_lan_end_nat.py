#!/usr/bin/env python3
"""N12, the router as EN for its LAN: two maps in nft chains, and beside them one double-NAT ctnetlink entry.

    alice 192.168.1.10 -- 192.168.1.1 home (fw4) 203.0.113.1 -- inet -- 192.0.2.1 home2 (fw4) 192.168.1.1 -- carol 192.168.1.10
       P:s -> V:d          => G1:m1 -> G2:n                              G1:m1 -> G2:n => carol:d
"""
import socket
import time
from ctnl import *

V, P, G1, G2 = "240.0.3.7", "192.168.1.10", "203.0.113.1", "192.0.2.1"
KEY = "ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service; size 8192; flags timeout"
FLOW = "ip saddr . meta l4proto . th sport . ip daddr . th dport"
END = f"""
table ip natf_end {{
    map vat {{ type {KEY}; }}
    map source {{ type {KEY}; }}
    chain to_daemon {{ }}
    chain hold {{ type filter hook prerouting priority mangle; policy accept;
        iifname br-lan ip daddr 240.0.0.0/8 meta l4proto {{ tcp, udp }} ct state new ct status & dnat == 0 counter jump to_daemon
    }}
    chain translate {{ type nat hook prerouting priority dstnat - 1; policy accept; dnat ip to {FLOW} map @vat; }}
    chain own_source {{ type nat hook postrouting priority srcnat - 1; policy accept; snat ip to {FLOW} map @source; }}
    chain refuse {{ type filter hook forward priority filter - 1; policy accept;
        ip daddr 240.0.0.0/8 meta l4proto tcp counter reject with tcp reset
        ip daddr 240.0.0.0/8 counter reject with icmp port-unreachable
    }}
}}
"""
RAW = """
table ip natf_end {
    chain to_daemon { }
    chain keep { type nat hook prerouting priority dstnat - 1; policy accept; }
    chain hold { type filter hook prerouting priority raw - 1; policy accept;
        iifname br-lan ip daddr 240.0.0.0/8 meta l4proto { tcp, udp } counter jump to_daemon
    }
}
"""


def elements(lab, proto, s, d, n, m1):
    lab.nft("home", f"add element ip natf_end vat {{ {P} . {proto} . {s} . {V} . {d} timeout 10s : {G2} . {n} }}\n"
            f"add element ip natf_end source {{ {P} . {proto} . {s} . {G2} . {n} timeout 10s : {G1} . {m1} }}")


def connect(lab, queue, d, kind=socket.SOCK_STREAM):
    app = lab.socket("alice", kind)
    app.setblocking(False)
    app.connect_ex((V, d))
    if kind == socket.SOCK_DGRAM:
        app.send(b"hello")
    ident, packet = queue.take()
    return app, ident, ports(packet)[1]


def main():
    lab = Lab(120)
    home_net(lab, second=True)
    lab.nft("home", END)
    queue_rule(lab, "home", "natf_end", "to_daemon", 4450)
    queue, home, far = Queue(lab, "home", 4450), Conntrack(lab, "home"), Conntrack(lab, "home2")
    server = lab.socket("carol", bind=("", 80))
    server.listen(8)
    inn = lab.socket("carol", socket.SOCK_DGRAM, ("", 5000))

    # The hosts have the same private address.
    app, ident, s = connect(lab, queue, 80)
    check("home2's mapping for G1:m1", far.mapping(G1, 20000, G2, 16384, P, 80) == 0)
    elements(lab, "tcp", s, 80, 16384, 20000)
    queue.verdict(ident, ACCEPT)
    peer, seen = server.accept()
    check("tcp through both fw4 rulesets, m1 is the port we chose", seen == (G1, 20000), seen)
    app.setblocking(True)
    peer.send(b"z" * 3000)
    check("answers come from V:d", app.recv(9999) and app.getpeername() == (V, 80))
    print("    ", home.get((TCP, P, s, V, 80)))

    # A second SYN of the LAN host while the first is held.
    app, ident, s = connect(lab, queue, 80)
    again = queue.take(1.5)
    check("the LAN host retransmits its SYN; it is queued as a second packet", again)
    far.mapping(G1, 20001, G2, 16385, P, 80)
    elements(lab, "tcp", s, 80, 16385, 20001)
    queue.verdict(again[0], ACCEPT)
    queue.verdict(ident, ACCEPT)
    peer, seen = server.accept()
    check("both released: one connection", seen == (G1, 20001))

    # Several datagrams held.
    app, ident, s = connect(lab, queue, 5000, socket.SOCK_DGRAM)
    held = [ident]
    for number in range(5):
        app.send(b"%d" % number)
        held.append(queue.take()[0])
    far.mapping(G1, 20002, G2, 16386, P, 5000, UDP)
    elements(lab, "udp", s, 5000, 16386, 20002)
    [queue.verdict(ident, ACCEPT) for ident in held]
    got = [inn.recvfrom(99)[0] for _ in held]
    check("six datagrams held: order kept, one source port", got == [b"hello"] + [b"%d" % n for n in range(5)], got)

    # Refusal.
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        app, ident, s = connect(lab, queue, 81, kind)
        began = now()
        queue.verdict(ident, ACCEPT)
        error = 0
        while not error and now() - began < 2:
            error = app.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        check(f"{name}: refused at the forward hook", error == 111, f"errno {error} after {1e6 * (now() - began):.0f} us")

    # m1 is taken by a masqueraded flow of bob to the very same G2:n.
    thief = lab.socket("bob", socket.SOCK_DGRAM, ("", 20003))
    thief.sendto(b"mine", (G2, 16387))
    time.sleep(0.1)
    taken = home.get((UDP, G2, 16387, G1, 20003), reply=True)
    check("a GET by the reply tuple G2:n -> G1:m1 shows beforehand that m1 is taken", taken and taken.orig[1] == "192.168.1.11", taken)
    check("and ENOENT where it is free", home.get((UDP, G2, 16387, G1, 20004), reply=True) is None)
    app, ident, s = connect(lab, queue, 5000, socket.SOCK_DGRAM)
    far.mapping(G1, 20003, G2, 16387, P, 5000, UDP)
    elements(lab, "udp", s, 5000, 16387, 20003)
    queue.verdict(ident, ACCEPT)
    inn.settimeout(0.5)
    try:
        print("     arrived:", inn.recvfrom(9))
    except TimeoutError:
        pass
    print("     if it is taken all the same:", home.get((UDP, P, s, V, 5000)) or "packet dropped, no entry")

    # The other way: hold before conntrack, one entry that carries both translations.
    lab.sh("home", "nft delete table ip natf_end")
    lab.nft("home", RAW)
    queue_rule(lab, "home", "natf_end", "to_daemon", 4450)
    app, ident, s = connect(lab, queue, 80)
    far.mapping(G1, 20005, G2, 16388, P, 80)
    both = nat(6, G1, 20005) + nat(13, G2, 16388)
    check("double-NAT entry", home.insert((TCP, P, s, V, 80), both) == 0)
    queue.verdict(ident, ACCEPT)
    queue.verdict(queue.take()[0], ACCEPT)  # the ACK of the handshake
    seen = server.accept()[1]
    check("raw priority + one ctnetlink entry works as well", seen == (G1, 20005))
    print("    ", home.get((TCP, P, s, V, 80)))
    check("m1 taken: the insert itself answers EEXIST", home.insert((UDP, P, 9, V, 5000), nat(6, G1, 20003) + nat(13, G2, 16387)) == 17)
    app.send(b"x")
    check("but at raw priority the rest of the flow is queued too: it needs a set of its own to be let by", queue.take(1))


main()
