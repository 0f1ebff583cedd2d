#!/usr/bin/env python3
"""Writes vectors.rs: signed updates and the replies to them, made by dnspython (pip install dnspython)."""

import struct

import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
import dns.version
from dns.rdtypes.ANY.TSIG import TSIG

NOW = 1_763_700_000
SECRET = b"0123456789abcdef0123456789abcdef"
KEYS = {"alice": "hmac-sha256", "old.example.net": "hmac-sha1", "k384": "hmac-sha384", "k512": "hmac-sha512"}


def signed(wire, key, time, request_mac=b"", error=0, other=b"", original_id=None):
    """Adds the TSIG record to a message."""
    original_id = struct.unpack("!H", wire[:2])[0] if original_id is None else original_id
    rdata = TSIG(dns.rdataclass.ANY, dns.rdatatype.TSIG, key.algorithm, time, 300, b"", original_id, error, other)
    rdata, _ = dns.tsig.sign(wire, key, rdata, time, request_mac)
    body = rdata.to_wire()
    record = key.name.to_wire() + struct.pack("!HHIH", 250, 255, 0, len(body)) + body
    count = struct.unpack("!H", wire[10:12])[0] + 1
    return wire[:10] + struct.pack("!H", count) + wire[12:] + record, rdata.mac


def update(time_id):
    message = dns.update.UpdateMessage("home.example.net")
    message.id = time_id
    message.add("alice", 300, "A", "192.0.2.5")
    return message.to_wire()


def reply(wire, rcode):
    zone = wire[12 : 12 + len(dns.name.from_text("home.example.net").to_wire()) + 4]
    return wire[:2] + struct.pack("!BBHHHH", 0xA8, rcode, 1, 0, 0, 0) + zone


def show(name, wire):
    text = wire.hex()
    lines = [text[i : i + 100] for i in range(0, len(text), 100)]
    body = "\\\n    ".join(lines)
    print(f'pub(super) const {name}: &str = "\\\n    {body}";\n')


print(f"//! Made by vectors.py with dnspython {dns.version.version}: `home.example.net`, add `alice 300 A 192.0.2.5`.\n")
for number, (name, algorithm) in enumerate(KEYS.items()):
    key = dns.tsig.Key(name, SECRET, algorithm)
    wire = update(0x1000 + number)
    title = algorithm.removeprefix("hmac-").upper()
    request, mac = signed(wire, key, NOW)
    show(f"{title}_REQUEST", request)
    show(f"{title}_REPLY", signed(reply(wire, 0), key, NOW, mac)[0])
    if title == "SHA256":
        late, mac = signed(wire, key, NOW - 301)
        show("LATE_REQUEST", late)
        other = struct.pack("!Q", NOW)[2:]
        show("LATE_REPLY", signed(reply(wire, 9), key, NOW - 301, mac, dns.rcode.BADTIME, other)[0])
