#!/usr/bin/env python3
"""A DNS server that lies, in as many ways as the first label of the question says. For tests of what asks it.

usage: hostile_dns.py ADDRESS

  good          192.0.2.1
  slow          192.0.2.1 after a second
  dead          nothing
  wrong-id      a forged answer with another id, then 192.0.2.1
  wrong-name    a forged answer to another question, then 192.0.2.1
  only-wrong    forged answers only
  truncated     UDP: truncated; TCP: 100 addresses
  cut-off       UDP: truncated; TCP: closed after half an answer
  bailiwick     192.0.2.1, and the address 6.6.6.6 for victim.example.org in every section
  loop          a name that is a compression pointer to itself
  chain         TCP: 64 KB of compression pointers, each to the one before
  garbage       the right id, then random bytes
  empty         a header that promises five answers
  servfail, refused, formerr, nxdomain    such answers
  ttl           192.0.2.1 with a TTL of 2^31
  big           UDP: 60 addresses in 1,000 bytes whatever the question allows
"""
import os
import socket
import struct
import sys
import threading
import time

FORGED, GOOD = bytes((6, 6, 6, 6)), bytes((192, 0, 2, 1))
RCODES = {"formerr": 1, "servfail": 2, "nxdomain": 3, "refused": 5}


def name(text):
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".") if label) + b"\0"


def question_of(query):
    """First label, lower case, and the question section as it was sent."""
    end = 12
    while query[end]:
        end += 1 + query[end]
    return query[13:13 + query[12]].decode("ascii", "replace").lower(), query[12:end + 5], query[end + 1:end + 3]


def record(owner, data, kind=1, ttl=60):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def reply(query, question, answers=(), authority=(), additional=(), rcode=0, truncated=False, number=None, counts=None):
    flags = 0x8180 | rcode | (0x0200 if truncated else 0)
    number = struct.unpack("!H", query[:2])[0] if number is None else number
    counts = counts or (len(answers), len(authority), len(additional))
    return struct.pack("!HHHHHH", number, flags, 1, *counts) + question + b"".join((*answers, *authority, *additional))


POINTER = b"\xc0\x0c"


def lies(query, over_tcp):
    """What to send, one after the other; None = end the connection."""
    label, question, kind = question_of(query)
    other_id = struct.unpack("!H", query[:2])[0] ^ 0x5555
    good = reply(query, question, [record(POINTER, GOOD)] if kind == b"\0\1" else [])
    forged = [record(POINTER, FORGED)]
    if label == "dead":
        return []
    if label == "slow":
        time.sleep(1)
    if label == "wrong-id":
        return [reply(query, question, forged, number=other_id), good]
    if label == "wrong-name":
        return [reply(query, name("another.example.org") + question[-4:], forged), good]
    if label == "only-wrong":
        return [reply(query, question, forged, number=other_id), reply(query, name("another.example.org") + question[-4:], forged)]
    if label in ("truncated", "cut-off") and not over_tcp:
        return [reply(query, question, truncated=True)]
    if label == "truncated":
        return [reply(query, question, [record(POINTER, bytes((192, 0, 2, at))) for at in range(1, 101)])]
    if label == "cut-off":
        return [None]
    if label == "bailiwick":
        poison = record(name("victim.example.org"), FORGED, ttl=86400)
        return [reply(query, question, [record(POINTER, GOOD), poison], [poison], [poison])]
    if label == "loop":
        at = 12 + len(question)
        return [reply(query, question, [record(struct.pack("!H", 0xC000 | at), GOOD)])]
    if label == "chain" and not over_tcp:
        return [reply(query, question, truncated=True)]
    if label == "chain":
        body, start = b"", 12 + len(question)
        while len(body) < 16000:
            body += struct.pack("!H", 0xC000 | max(start + len(body) - 2, 12))
        records = [body + struct.pack("!HHIH", 1, 1, 60, 4) + GOOD]
        last = struct.pack("!H", 0xC000 | (start + len(body) - 2))
        records += [record(last, GOOD)] * 2900
        return [reply(query, question, records)]
    if label == "garbage":
        return [query[:2] + os.urandom(300)]
    if label == "empty":
        return [reply(query, question, counts=(5, 5, 5))]
    if label in RCODES:
        return [reply(query, question, rcode=RCODES[label])]
    if label == "ttl":
        return [reply(query, question, [record(POINTER, GOOD, ttl=2**31)])]
    if label == "big":
        return [reply(query, question, [record(POINTER, bytes((192, 0, 2, at))) for at in range(1, 61)])]
    return [good]


def serve_udp(address):
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind((address, 53))

    def answer(query, sender):
        for message in lies(query, False):
            link.sendto(message, sender)

    while True:
        query, sender = link.recvfrom(4096)
        threading.Thread(target=answer, args=(query, sender), daemon=True).start()


def serve_tcp(address):
    door = socket.create_server((address, 53))

    def answer(link):
        with link:
            while True:
                length = link.recv(2, socket.MSG_WAITALL)
                if len(length) < 2:
                    return
                for message in lies(link.recv(struct.unpack("!H", length)[0], socket.MSG_WAITALL), True):
                    if message is None:
                        link.sendall(b"\x01\x00" + b"half an answer")
                        return
                    link.sendall(struct.pack("!H", len(message)) + message)

    while True:
        threading.Thread(target=answer, args=(door.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    threading.Thread(target=serve_tcp, args=(sys.argv[1],), daemon=True).start()
    serve_udp(sys.argv[1])
