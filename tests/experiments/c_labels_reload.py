#!/usr/bin/env python3
"""Forced mapping with a label; firewall reload, table flush, `nft flush ruleset`.

    en 198.51.100.2 -- inet -- 203.0.113.1 home (fw4 + table ip natf) -- alice 192.168.1.10:80
"""
import socket
import time
from ctnl import *

G1, G2, P1 = "198.51.100.2", "203.0.113.1", "192.168.1.10"
OWN = """
table ip natf {
    chain keep { type nat hook prerouting priority dstnat; policy accept; ct label 127 counter comment "keeps NAT hooks and labels alive"; }
}
"""
LABEL = bytes.fromhex("0123456789abcdef") + b"natf" + (4711).to_bytes(2, "big") + b"\x00\x01"


def alive(app, peer):
    """Does a byte pass both ways?"""
    app.settimeout(0.4)
    peer.settimeout(0.4)
    try:
        app.send(b"q")
        peer.recv(99)
        peer.send(b"a")
        return bool(app.recv(99))
    except (TimeoutError, ConnectionError):
        return False


def main():
    lab = Lab(60)
    home_net(lab)
    home = Conntrack(lab, "home")
    server = lab.socket("alice", bind=("", 80))
    server.listen(8)
    labels = attr(22, LABEL)
    error = home.mapping(G1, 1, G2, 16000, P1, 80, extra=labels)
    stored = home.get((TCP, G1, 1, G2, 16000))
    check("no rule names `ct label`: the insert succeeds, the label is silently lost", error == 0 and not any(stored.labels), stored)
    lab.nft("home", OWN)
    key = (TCP, G1, 4000, G2, 16384)
    check("with one `ct label` rule in our table", home.mapping(G1, 4000, G2, 16384, P1, 80, life=20, extra=labels) == 0)
    check("label reads back in a GET, byte for byte", home.get(key).labels == LABEL, home.get(key).labels.hex())
    check("and in a dump", [e.labels for e in home.dump() if e.orig == key] == [LABEL])
    mask = attr(22, b"\0" * 12 + b"\0\2\0\0") + attr(23, b"\0" * 12 + b"\xff\xff\0\0")
    check("change of some bits under CTA_LABELS_MASK", home.change(key, mask) == 0 and home.get(key).labels[8:] == b"natf\x00\x02\x00\x01", home.get(key).labels.hex())

    # nft bit numbers against bytes: rule `ct label N` matches byte N/8, bit N%8.
    bits = b"\0" * 15 + b"\x80"
    home.mapping(G1, 4001, G2, 16385, P1, 80, extra=attr(22, bits))
    app = lab.socket("en", bind=("", 4001))
    app.connect((G2, 16385))
    peer, _ = server.accept()
    count = lab.sh("home", "nft list chain ip natf keep | grep -o packets.[0-9]*").strip()
    app.send(b"x")
    check("nft bit 127 = byte 15, mask 0x80 (nat chain sees no packet of a confirmed entry, so its rule costs nothing)", count == "packets 0", count)
    lab.nft("home", "table ip peek { chain c { type filter hook prerouting priority 0; ct label 127 counter; ct label 126 counter; }\n}")
    alive(app, peer)
    seen = lab.sh("home", "nft list table ip peek | grep -o packets.[0-9]*").split()
    check("filter chain: label 127 matches, 126 does not", int(seen[1]) > 0 and int(seen[3]) == 0, seen)
    lab.sh("home", "nft delete table ip peek")
    hit = attr(22, bits) + attr(23, b"\0" * 15 + b"\x80")
    found = [Entry(b).orig[2] for b in home.ask(1, 1, DUMP, hit)[1]]
    check("the kernel filters a dump by label and mask" if found == [4001] else "CTA_LABELS does not filter a dump here", True, found)

    # Reloads. A second flow, idle while the nat hooks are away.
    home.mapping(G1, 4005, G2, 16389, P1, 80, extra=labels)
    idle = lab.socket("en", bind=("", 4005))
    idle.connect((G2, 16389))
    other, _ = server.accept()
    check("flow runs", alive(app, peer))
    lab.nft("home", FW4)
    check("fw4 reload (flush table, add again): flow runs on", alive(app, peer))
    lab.nft("home", "flush ruleset")
    check("`nft flush ruleset`: entry is there, translation stops", home.get((TCP, G1, 4001, G2, 16385)) and not alive(app, peer))
    print("     home answers to the untranslated packets, entry now:", home.get((TCP, G1, 4001, G2, 16385)))
    stream = lab.socket("en", socket.SOCK_DGRAM, ("", 4002))
    check("insert while no nat hook is there", True, home.mapping(G1, 4002, G2, 16386, P1, 5000, UDP))
    check("label insert while no rule names labels", True, home.mapping(G1, 4003, G2, 16387, P1, 5000, UDP, extra=labels))
    lab.nft("home", OWN)
    lab.nft("home", FW4)
    inn = lab.socket("alice", socket.SOCK_DGRAM, ("", 5000))
    stream.sendto(b"hello", (G2, 16386))
    inn.settimeout(0.5)
    try:
        got = inn.recv(9)
    except TimeoutError:
        got = None
    check("chain back: a mapping inserted meanwhile", True, f"delivers {got}")
    check("chain back: the flow that sent meanwhile is dead (the router itself answered with a reset)", not alive(app, peer))
    check("chain back: the flow that was idle meanwhile runs on", alive(idle, other))
    lab.nft("home", "delete table ip natf")
    check("only fw4's nat chains left: flow", True, "runs" if alive(idle, other) else "stopped")
    print("     label now:", home.get((TCP, G1, 4005, G2, 16389)).labels.hex())


main()
