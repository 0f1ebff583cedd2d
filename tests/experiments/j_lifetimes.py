#!/usr/bin/env python3
"""Which timeouts the kernel gives a forced mapping as its flow goes on.

    en 198.51.100.2:7000 -- inet -- 203.0.113.1:m home (fw4) -- alice 192.168.1.10
"""
import socket
import time
from ctnl import *

G1, G2, P1 = "198.51.100.2", "203.0.113.1", "192.168.1.10"


def main():
    lab = Lab(60)
    home_net(lab)
    home = Conntrack(lab, "home")
    server = lab.socket("alice", bind=("", 80))
    server.listen(9)
    s = 7000
    stage = lambda name, proto, m: print(f"     {name:34}", home.get((proto, G1, s, G2, m)))
    home.mapping(G1, s, G2, 16500, P1, 80)
    stage("TCP inserted with 5 s", TCP, 16500)
    lab.nft("home", "table ip mute { chain c { type filter hook forward priority 0; iifname br-lan tcp sport 80 drop; }\n}")
    app = lab.socket("en", bind=("", s))
    app.setblocking(False)
    app.connect_ex((G2, 16500))
    time.sleep(0.1)
    stage("after SYN (alice's answer lost)", TCP, 16500)
    lab.nft("home", "delete table ip mute")
    app.setblocking(True)
    time.sleep(1.5)
    stage("established", TCP, 16500)
    peer = server.accept()[0]
    app.send(b"x")
    time.sleep(0.1)
    stage("after data", TCP, 16500)
    app.close()
    time.sleep(0.1)
    stage("EN closed its half", TCP, 16500)
    peer.close()
    time.sleep(0.1)
    stage("both closed", TCP, 16500)
    inn = lab.socket("alice", socket.SOCK_DGRAM, ("", 5000))
    app = lab.socket("en", socket.SOCK_DGRAM, ("", s))
    home.mapping(G1, s, G2, 16501, P1, 5000, UDP)
    stage("UDP inserted with 5 s", UDP, 16501)
    for name in ("one datagram", "two datagrams", "three datagrams"):
        app.sendto(b"x", (G2, 16501))
        peer = inn.recvfrom(9)[1]
        stage(f"after {name} of the EN", UDP, 16501)
    inn.sendto(b"y", peer)
    time.sleep(0.1)
    stage("after an answer", UDP, 16501)
    time.sleep(2.2)
    app.sendto(b"x", (G2, 16501))
    inn.recv(9)
    stage("2 s later, one more", UDP, 16501)


main()
