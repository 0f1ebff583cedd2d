#!/usr/bin/env python3
"""Packets that no well-meaning program sends, for the scenarios; run it on a node.

packets.py record FILE                      waits for the next mapping request that this node sends (ECHO), writes it
packets.py send [--from A] ADDRESS FILE     sends a recorded message (hex) as ECHO once more, from any source
packets.py bad KIND [--from A] [--key K] [--count N] [--udp PORT] ADDRESS
                                            sends messages of one kind: see BAD below
packets.py fill ADDRESS                     fills the node's connection tracking with entries that may not be evicted
packets.py flow tcp|udp [--from A] ADDRESS PORT SPORT
                                            one connection or datagram; prints what becomes of it
"""
import argparse
import os
import socket
import struct
import sys
import time

MAGIC = b"NATf"
SIZE = 184
REQUEST = 1


def header(version=1, kind=REQUEST, key=4711, counter=None):
    if counter is None:
        counter = time.time_ns() // 1000
    return struct.pack("!4sBBHQ", MAGIC, version, kind, key, counter)


def rest(length=SIZE - 16):
    return os.urandom(length)


# What is wrong with a message, and how to make one; each stays a well-formed ping.
BAD = {
    "noise": lambda key: rest(SIZE),
    "truncated": lambda key: (header(key=key) + rest())[: 8 + os.urandom(1)[0] % 168],
    "oversized": lambda key: header(key=key) + rest(1000),
    "version": lambda key: header(version=2, key=key) + rest(),
    "kind": lambda key: header(kind=2, key=key) + rest(),
    "unknown-kind": lambda key: header(kind=99, key=key) + rest(),
    "unknown-key": lambda key: header(key=9999) + rest(),
    "anonymous": lambda key: header(key=0) + rest(),
    "anything": lambda key: MAGIC + rest(SIZE - 4),
    # The router has to open it to see that it is none: what a flood costs most.
    "forged": lambda key: header(key=key) + rest(),
}


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    total = (total >> 16) + (total & 0xFFFF)
    return 0xFFFF ^ (total + (total >> 16) & 0xFFFF)


def echo(payload, sequence):
    packet = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, sequence & 0xFFFF) + payload
    return packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]


def ipv4(source, destination, protocol, payload):
    """The kernel fills in the length, the checksum and, if 0, the source."""
    addresses = socket.inet_aton(source or "0.0.0.0") + socket.inet_aton(destination)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + addresses + payload


def send(source, destination, payloads, udp=None):
    """Several a millisecond, so that no socket on the way overflows."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number, payload in enumerate(payloads):
        if udp:
            protocol, packet = 17, struct.pack("!HHHH", 40000, udp, 8 + len(payload), 0) + payload
        else:
            protocol, packet = 1, echo(payload, number)
        raw.sendto(ipv4(source, destination, protocol, packet), (destination, 0))
        if number % 8 == 7:
            time.sleep(0.0004)


def record(file):
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    sniffer.settimeout(20)
    open(file + ".ready", "w").close()
    while True:
        packet, address = sniffer.recvfrom(2048)
        outgoing = address[2] == socket.PACKET_OUTGOING
        if outgoing and packet[9] == 1 and packet[20] == 8 and packet[28:32] == MAGIC and packet[33] == REQUEST:
            break
    with open(file, "w") as out:
        out.write(packet[28:].hex())


# --- connection tracking --------------------------------------------------------------------------

def attribute(kind, *data):
    body = b"".join(data)
    return struct.pack("=HH", 4 + len(body), kind) + body + b"\0" * (-len(body) % 4)


def nest(kind, *data):
    return attribute(kind | 0x8000, *data)


def tuple_of(kind, source, sport, destination, dport):
    addresses = nest(1, attribute(1, source), attribute(2, destination))
    ports = nest(2, attribute(1, b"\x11"), attribute(2, struct.pack("!H", sport)), attribute(3, struct.pack("!H", dport)))
    return nest(kind, addresses, ports)


def read_number(path):
    with open("/proc/sys/net/netfilter/" + path) as file:
        return int(file.read())


def fill(address):
    """UDP entries, assured, through ctnetlink, many in a datagram."""
    limit, here = read_number("nf_conntrack_max"), socket.inet_aton(address)
    if limit > 600_000:
        sys.exit(77)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    netlink.bind((0, 0))
    rest = attribute(3, struct.pack("!I", 0x0E)) + attribute(7, struct.pack("!I", 120))
    number, deadline = 0, time.monotonic() + 40
    while read_number("nf_conntrack_count") < limit and time.monotonic() < deadline:
        datagram = b""
        for _ in range(200):
            source = struct.pack("!I", 0xC6120000 + (number >> 14))
            sport = 1 + (number & 0x3FFF)
            body = tuple_of(1, source, sport, here, 40000) + tuple_of(2, here, 40000, source, sport) + rest
            datagram += struct.pack("=IHHIIBBH", 20 + len(body), 0x100, 0x601, number + 1, 0, 2, 0, 0) + body
            number += 1
        netlink.send(datagram)
        # Entries that do not fit are answered with errors; nobody reads them.
    print(read_number("nf_conntrack_count"), "of", limit)


def flow(protocol, source, address, port, sport):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((source or "", sport))
        client.settimeout(1)
        begin = time.monotonic()
        try:
            client.connect((address, port))
            if protocol == "udp":
                client.send(b"x")
                client.recv(9)
            what = "answered"
        except OSError as error:
            what = type(error).__name__
        print(f"{what} {1000 * (time.monotonic() - begin):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("record", ["file"]), ("send", ["address", "file"]), ("bad", ["kind", "address"]),
                        ("fill", ["address"]), ("flow", ["protocol", "address", "port", "sport"])):
        command = commands.add_parser(name)
        for word in words:
            command.add_argument(word, type=int if word in ("port", "sport") else str)
        command.add_argument("--from", dest="source")
        command.add_argument("--key", type=int, default=4711)
        command.add_argument("--count", type=int, default=1)
        command.add_argument("--udp", type=int)
    given = parser.parse_args()
    if given.command == "record":
        record(given.file)
    elif given.command == "send":
        with open(given.file) as file:
            message = bytes.fromhex(file.read())
        send(given.source, given.address, [message] * given.count, given.udp)
    elif given.command == "bad":
        send(given.source, given.address, (BAD[given.kind](given.key) for _ in range(given.count)), given.udp)
    elif given.command == "fill":
        fill(given.address)
    else:
        flow(given.protocol, given.source, given.address, given.port, given.sport)


main()
