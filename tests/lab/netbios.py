#!/usr/bin/env python3
"""A host's NetBIOS name service, as far as node status requests go (RFC 1002, 4.2.18).

netbios.py NAME: answers at UDP port 137 with NAME. A NAME that begins with "!" is hostile: the answer is longer than it says,
comes three times, and the last time with another id.
"""
import socket
import struct
import sys

name = sys.argv[1].lstrip("!")
hostile = sys.argv[1].startswith("!")
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 137))
while True:
    question, client = server.recvfrom(1024)
    if len(question) < 50 or question[46:48] != b"\x00\x21":
        continue
    names = [(b"WORKGROUP", 0, 0x8400), (name.encode(), 0x20, 0x0400), (name.encode(), 0, 0x0400)]
    rows = b"".join(text.ljust(15) + bytes([suffix]) + struct.pack(">H", flags) for text, suffix, flags in names)
    body = bytes([255 if hostile else len(names)]) + rows + bytes(46)
    record = question[12:46] + struct.pack(">HHIH", 0x21, 1, 0, len(body)) + body
    answer = question[:2] + struct.pack(">HHHHH", 0x8400, 0, 1, 0, 0) + record
    server.sendto(answer, client)
    if hostile:
        server.sendto(answer[:60], client)
        server.sendto(bytes([question[0] ^ 1]) + answer[1:], client)
