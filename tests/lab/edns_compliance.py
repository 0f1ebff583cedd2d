#!/usr/bin/env python3
"""Asks a DNS server what ISC's EDNS compliance test asks, and says which answers are not as they should be.

usage: edns_compliance.py SERVER NAME BIG-NAME      NAME has an A record, BIG-NAME one too big for 512 bytes

Written from the descriptions of the checks (RFC 1035, 6891, 7314, 7766, 7871, 7873); exit status 0 = all clean.
"""
import os
import socket
import struct
import sys

QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
NSID, SUBNET, EXPIRE, COOKIE, UNKNOWN = 3, 8, 9, 10, 100
DO = 0x8000
BADVERS = 16


class Reply:
    """The parts of a reply that the checks look at."""

    def __init__(self, wire, question_wire):
        self.id, self.flags, questions, *counts = struct.unpack("!HHHHHH", wire[:12])
        self.rcode, self.size = self.flags & 15, len(wire)
        at = 12
        for _ in range(questions):
            at = skip_name(wire, at) + 4
        self.question = wire[12:at]
        self.asked = question_wire
        self.answers, self.opt = counts[0], None
        for _ in range(sum(counts)):
            owner = at
            at = skip_name(wire, at)
            kind, size, ttl, length = struct.unpack("!HHIH", wire[at:at + 10])
            if kind == 41:
                assert wire[owner] == 0, "the owner of OPT is the root"
                assert self.opt is None, "one OPT"
                self.opt = {"size": size, "version": ttl >> 16 & 255, "flags": ttl & 0xFFFF,
                            "options": dict(options_of(wire[at + 10:at + 10 + length]))}
                self.rcode |= ttl >> 24 << 4
            at += 10 + length
        assert at == len(wire), "nothing follows the last record"


def options_of(data):
    while data:
        code, length = struct.unpack("!HH", data[:4])
        yield code, data[4:4 + length]
        data = data[4 + length:]


def skip_name(wire, at):
    while wire[at]:
        if wire[at] >= 0xC0:
            return at + 2
        at += 1 + wire[at]
    return at + 1


class Server:
    def __init__(self, address, name, big):
        self.address, self.name, self.big = address, name, big

    def ask(self, flags=RD, opcode=0, kind=1, name=None, edns=None, tcp=False):
        """edns: (version, flags, size, options) or None."""
        number = int.from_bytes(os.urandom(2), "big")
        labels = (name or self.name).split(".")
        question = b"".join(bytes((len(label),)) + label.encode() for label in labels) + struct.pack("!BHH", 0, kind, 1)
        query = struct.pack("!HHHHHH", number, flags | opcode << 11, 1, 0, 0, edns is not None) + question
        if edns is not None:
            version, bits, size, options = edns
            data = b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)
            query += b"\0" + struct.pack("!HHIH", 41, size, version << 16 | bits, len(data)) + data
        wire = self.exchange(query, tcp)
        reply = Reply(wire, question)
        assert reply.id == number and reply.flags & QR, "an answer to the question"
        return reply

    def exchange(self, query, tcp):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as link:
            link.settimeout(5)
            link.connect((self.address, 53))
            if not tcp:
                link.send(query)
                return link.recv(65535)
            link.sendall(struct.pack("!H", len(query)) + query)
            length = struct.unpack("!H", link.recv(2, socket.MSG_WAITALL))[0]
            return link.recv(length, socket.MSG_WAITALL)


def edns(version=0, flags=0, size=4096, *options):
    return (version, flags, size, options)


SUBNET_DATA = bytes((0, 1, 24, 0, 192, 0, 2))
ALL_OPTIONS = ((NSID, b""), (COOKIE, b"\1\2\3\4\5\6\7\x08"), (EXPIRE, b""), (SUBNET, SUBNET_DATA))


def good(reply, with_opt):
    assert reply.rcode == 0, f"rcode {reply.rcode}"
    assert reply.answers > 0, "an answer"
    assert reply.question == reply.asked, "the question as it was asked"
    assert not reply.flags & Z, "the reserved bit is 0"
    assert (reply.opt is not None) == with_opt, "OPT only where it was asked for"
    if with_opt:
        assert reply.opt["version"] == 0, f"version {reply.opt['version']}"
        assert not reply.opt["flags"] & ~DO, "reserved EDNS flags are 0"
        assert UNKNOWN not in reply.opt["options"], "an unknown option is not sent back"
    return reply


def bad_version(reply):
    assert reply.rcode == BADVERS, f"rcode {reply.rcode} instead of BADVERS"
    assert reply.answers == 0, "no answer"
    assert reply.opt and reply.opt["version"] == 0, "our version"
    assert not reply.opt["flags"] & ~DO and UNKNOWN not in reply.opt["options"], "nothing sent back"


def small(reply):
    assert reply.rcode == 0 and reply.opt is not None, "OPT is there"
    assert reply.size <= 512, f"{reply.size} bytes"
    assert reply.flags & TC, "truncated"


def not_implemented(reply):
    assert reply.rcode == 4, f"rcode {reply.rcode} instead of NOTIMP"
    assert not reply.flags & (AA | Z), "flags are not sent back"


def no_data(reply):
    assert reply.rcode == 0 and reply.answers == 0, f"rcode {reply.rcode}, {reply.answers} answers"


def checks(server):
    ask = server.ask
    yield "dns", lambda: good(ask(), False)
    yield "aa", lambda: good(ask(RD | AA), False)
    yield "ad", lambda: good(ask(RD | AD), False)
    yield "cd", lambda: check(good(ask(RD | CD), False).flags & CD, "CD is copied")
    yield "ra", lambda: good(ask(RD | RA), False)
    yield "rd", lambda: check(good(ask(RD), False).flags & (RD | RA) == RD | RA, "RD is copied, RA set")
    yield "tc", lambda: check(not good(ask(RD | TC), False).flags & TC, "TC is not copied")
    yield "zflag", lambda: good(ask(RD | Z), False)
    yield "opcode", lambda: not_implemented(ask(opcode=15))
    yield "opcodeflg", lambda: not_implemented(ask(AA | RD | RA | Z | AD | CD, opcode=15))
    yield "type666", lambda: no_data(ask(kind=666))
    yield "tcp", lambda: good(ask(tcp=True), False)
    yield "edns", lambda: good(ask(edns=edns()), True)
    yield "edns1", lambda: bad_version(ask(edns=edns(1)))
    yield "edns@512", lambda: small(ask(name=server.big, edns=edns(0, 0, 512)))
    yield "edns@0", lambda: small(ask(name=server.big, edns=edns(0, 0, 0)))
    yield "ednsopt", lambda: good(ask(edns=edns(0, 0, 4096, (UNKNOWN, b"abc"))), True)
    yield "edns1opt", lambda: bad_version(ask(edns=edns(1, 0, 4096, (UNKNOWN, b""))))
    yield "do", lambda: check(good(ask(edns=edns(0, DO)), True).opt["flags"] == DO, "DO is copied")
    yield "edns1do", lambda: bad_version(ask(edns=edns(1, DO)))
    yield "ednsflags", lambda: good(ask(edns=edns(0, 0x0080)), True)
    yield "edns1flags", lambda: bad_version(ask(edns=edns(1, 0x0080)))
    yield "docd", lambda: check(good(ask(RD | CD, edns=edns(0, DO)), True).flags & CD, "CD is copied")
    yield "optlist", lambda: good(ask(edns=edns(0, 0, 4096, *ALL_OPTIONS)), True)
    yield "ednsnsid", lambda: good(ask(edns=edns(0, 0, 4096, (NSID, b""))), True)
    yield "ednscookie", lambda: good(ask(edns=edns(0, 0, 4096, (COOKIE, b"12345678"))), True)
    yield "ednsexpire", lambda: good(ask(edns=edns(0, 0, 4096, (EXPIRE, b""))), True)
    yield "ednssubnet", lambda: good(ask(edns=edns(0, 0, 4096, (SUBNET, SUBNET_DATA))), True)
    yield "edns1nsid", lambda: bad_version(ask(edns=edns(1, 0, 4096, (NSID, b""))))
    yield "edns1cookie", lambda: bad_version(ask(edns=edns(1, 0, 4096, (COOKIE, b"12345678"))))
    yield "edns1subnet", lambda: bad_version(ask(edns=edns(1, 0, 4096, (SUBNET, SUBNET_DATA))))
    yield "ednstcp", lambda: good(ask(edns=edns(), tcp=True), True)


def check(fine, what):
    assert fine, what


def main():
    wrong = 0
    found = list(checks(Server(*sys.argv[1:4])))
    for name, test in found:
        try:
            test()
        except (AssertionError, OSError, IndexError, struct.error) as error:
            wrong += 1
            print(f"{name}: {error or type(error).__name__}")
    print(f"{len(found) - wrong} of {len(found)} checks are clean")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
