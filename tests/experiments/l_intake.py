#!/usr/bin/env python3
"""Intake of mapping requests before conntrack and the firewall, and the way of the answer through fw4's output chain.

    en 198.51.100.2 -- ICMP ECHO "NATf.." --> 203.0.113.1 home: raw-1 chain -> NFQUEUE; answer by raw socket
"""
import socket
import struct
import subprocess
from ctnl import *

G1, G2 = "198.51.100.2", "203.0.113.1"
INTAKE = """
table ip natf {
    chain to_daemon { }
    chain intake { type filter hook prerouting priority raw - 1; policy accept;
        fib daddr type local icmp type echo-request @th,64,32 0x4e415466 counter jump to_daemon
        fib daddr type local udp dport 4450 @th,64,32 0x4e415466 counter jump to_daemon
    }
    %s
}
"""
NOTRACK = """chain answer { type filter hook output priority raw; policy accept;
        icmp type echo-reply @th,64,32 0x4e415466 counter notrack
        udp sport 4450 @th,64,32 0x4e415466 counter notrack
    }"""


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo(kind, ident, payload):
    head = struct.pack("!BBHHH", kind, 0, 0, ident, 1)
    return struct.pack("!BBHHH", kind, 0, checksum(head + payload), ident, 1) + payload


def ask(queue, sender, payload, verdict=DROP, ident=77):
    """Sends one echo request; the home side takes it from the queue and answers by hand."""
    sender.sendto(echo(8, ident, payload), (G2, 0))
    taken = queue.take(0.3)
    if taken:
        queue.verdict(taken[0], verdict)
    return taken


def heard(sender, seconds=0.4):
    sender.settimeout(seconds)
    try:
        while True:
            packet = sender.recv(2000)
            if packet[20] == 0:
                return packet[28:]
    except TimeoutError:
        return None


def main():
    lab = Lab(60)
    home_net(lab)
    lab.nft("home", INTAKE % "")
    print(lab.sh("home", "nft list chain ip natf intake").strip())
    sender = lab.socket("en", socket.SOCK_RAW, None, socket.AF_INET, socket.IPPROTO_ICMP)
    magic = b"NATf" + bytes(164)
    queue_rule(lab, "home", "natf", "to_daemon", 4450)
    sender.sendto(echo(8, 77, magic), (G2, 0))
    check("no daemon, rule with bypass: the kernel mirrors, as any router", heard(sender) == magic)
    queue = Queue(lab, "home", 4450)
    check("`fib daddr type local` + `@th,64,32` at raw - 1 catches it", ask(queue, sender, magic))
    check("verdict DROP: no answer of the kernel", heard(sender) is None)
    check("an ordinary ping is not caught and is answered", not ask(queue, sender, b"abcd" * 42) and heard(sender) == b"abcd" * 42)
    check("verdict ACCEPT: the kernel mirrors", ask(queue, sender, magic, ACCEPT) and heard(sender) == magic)
    sender.sendto(echo(8, 77, b"NA"), (G2, 0))
    check("payload shorter than the magic: not caught, mirrored", queue.take(0.2) is None and heard(sender) == b"NA")
    lab.sh("inet", "ip route add 192.168.1.0/24 via 203.0.113.1")
    sender.sendto(echo(8, 78, magic), ("192.168.1.10", 0))
    check("an echo *through* the router is not caught", queue.take(0.2) is None)
    carrier = lab.socket("en", socket.SOCK_DGRAM)
    carrier.sendto(magic, (G2, 4450))
    check("udp carrier is caught", queue.take(0.3))

    raw = lab.socket("home", socket.SOCK_RAW, None, socket.AF_INET, socket.IPPROTO_RAW)

    def answer():
        body = echo(0, 99, magic)  # the kernel itself answered 77 before: that one has a conntrack entry
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 1, 0, socket.inet_aton(G2), socket.inet_aton(G1))
        try:
            raw.sendto(ip + body, (G1, 0))
            return 0
        except OSError as error:
            return error.errno

    ask(queue, sender, magic, ident=99)
    error = answer()
    dropped = lab.sh("home", "nft list chain inet fw4 accept_to_wan | grep -o packets.[0-9]* | head -1").strip()
    check("without notrack fw4 drops our answer as `ct state invalid`", heard(sender) is None, f"send errno {error}, fw4 counter: {dropped}")
    lab.nft("home", "delete table ip natf\n" + INTAKE % NOTRACK)
    queue_rule(lab, "home", "natf", "to_daemon", 4450)
    ask(queue, sender, magic, ident=99)
    error = answer()
    check("with notrack at output/raw it passes", heard(sender) == magic, f"send errno {error}")
    before = len(Conntrack(lab, "home").dump())
    for _ in range(50):
        ask(queue, sender, magic, ident=99)
        answer()
    check("50 questions and answers leave no conntrack entry", len(Conntrack(lab, "home").dump()) <= before)

    # fragmented request
    lab.sh("en", "ip link set eth0 mtu 100")
    sender.sendto(echo(8, 77, magic), (G2, 0))
    taken = queue.take(0.4)
    check("a fragmented request (path MTU 100)", True, "arrives whole: conntrack's defrag stands before raw - 1" if taken and len(taken[1]) == 196 else f"{taken and len(taken[1])}")


main()
