#!/usr/bin/env python3
"""Order of one flow's datagrams while its held ones are released and the application goes on sending.

    en (5,000 datagrams/s -> 240.0.1.2:5000) -- inet -- 203.0.113.1 home (fw4) -- alice
    variant "plain":    hold = ct state new, not dnat
    variant "draining": flows in a set `draining` are queued as well until the queue has run empty
"""
import socket
import struct
import sys
from ctnl import *

V, G1, G2, P1 = "240.0.1.2", "198.51.100.2", "203.0.113.1", "192.168.1.10"
FLOW = "ip saddr . meta l4proto . th sport . ip daddr . th dport"
END = f"""
table ip natf_end {{
    map vat {{ type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service; size 8192; flags timeout; }}
    set draining {{ type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service; size 8192; flags timeout; }}
    chain to_daemon {{ }}
    chain hold {{ type filter hook output priority mangle; policy accept;
        ip daddr 240.0.0.0/8 {FLOW} @draining jump to_daemon
        ip daddr 240.0.0.0/8 meta l4proto {{ tcp, udp }} ct state new ct status & dnat == 0 jump to_daemon
    }}
    chain translate {{ type nat hook output priority -100; policy accept; dnat ip to {FLOW} map @vat; }}
    chain refuse {{ type filter hook output priority filter; policy accept; ip daddr 240.0.0.0/8 counter reject; }}
}}
"""
SENDER = """
import socket, time
app = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
app.bind(("", 4000))
app.connect(("240.0.1.2", 5000))
start = time.monotonic()
for number in range(5000):
    while time.monotonic() < start + number * 0.0002:
        pass
    try:
        app.send(b"%d" % number)
    except OSError:
        pass
"""


def trial(draining):
    lab = Lab(60)
    home_net(lab)
    lab.nft("en", END)
    queue_rule(lab, "en", "natf_end", "to_daemon", 4450)
    queue, home = Queue(lab, "en", 4450), Conntrack(lab, "home")
    inn = lab.socket("alice", socket.SOCK_DGRAM, ("", 5000))
    inn.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    home.mapping(G1, 4000, G2, 16384, P1, 5000, UDP)
    child = lab.start("en", sys.executable, "-c", SENDER)
    key, link = flow_key(G1, UDP, 4000, V, 5000), Netlink(lab, "en")
    first, held = now() + 3, []
    while now() < first + 0.1:  # hold for 100 ms after the first one
        if taken := queue.take(0.001):
            first = min(first, now())
            held.append(taken[0])
    element(link, "vat", key, socket.inet_aton(G2) + struct.pack("!H2x", 16384))
    if draining:
        element(link, "draining", key)
    for ident in held:
        queue.verdict(ident, ACCEPT)
    late = 0
    while taken := queue.take(0):
        queue.verdict(taken[0], ACCEPT)
        late += 1
    if draining:
        element(link, "draining", key, delete=True)
    while child.poll() is None or queue.backlog:
        if taken := queue.take(0.01):
            queue.verdict(taken[0], ACCEPT)
            late += 1
    inn.settimeout(0.3)
    got = []
    try:
        while True:
            got.append(int(inn.recv(99)))
    except TimeoutError:
        pass
    overtaken = sum(a > b for a, b in zip(got, got[1:]))
    worst = max((a - b for a, b in zip(got, got[1:])), default=0)
    check("draining" if draining else "plain", len(got) == 5000, f"held {len(held)}, queued later {late}, arrived {len(got)}, inversions {overtaken}, worst by {worst} places")
    lab.close()


for _ in range(3):
    trial(False)
    trial(True)
