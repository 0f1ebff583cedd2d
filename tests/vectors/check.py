#!/usr/bin/env python3
"""Checks the test vectors with an implementation of its own, written from docs/protocol.md alone.

Needs nothing but Python's standard library: HKDF and XChaCha20-Poly1305 stand below. It shares no code with the
daemons, so that an error made in both the program and its vectors shows. Exit status 0 = all vectors hold.
"""

import hmac
import ipaddress
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
MASK = 0xFFFF_FFFF


# ---- ChaCha20 and Poly1305 (RFC 8439), XChaCha20 (draft-irtf-cfrg-xchacha-03), HKDF (RFC 5869) ----

def rounds(state):
    x = list(state)

    def quarter(a, b, c, d):
        for one, two, three, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[one] = (x[one] + x[two]) & MASK
            mixed = x[three] ^ x[one]
            x[three] = (mixed << by | mixed >> (32 - by)) & MASK

    for _ in range(10):
        for n in range(4):
            quarter(n, 4 + n, 8 + n, 12 + n)
        for n in range(4):
            quarter(n, 4 + (n + 1) % 4, 8 + (n + 2) % 4, 12 + (n + 3) % 4)
    return x


def initial(key, tail):
    return struct.unpack("<16I", b"expand 32-byte k" + key + tail)


def hchacha20(key, nonce):
    x = rounds(initial(key, nonce))
    return struct.pack("<8I", *x[:4], *x[12:])


def chacha20(key, counter, nonce, data):
    out = b""
    for start in range(0, len(data), 64):
        state = initial(key, struct.pack("<I", counter + start // 64) + nonce)
        block = struct.pack("<16I", *((a + b) & MASK for a, b in zip(rounds(state), state)))
        out += bytes(a ^ b for a, b in zip(data[start:start + 64], block))
    return out


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for start in range(0, len(data), 16):
        total = (total + int.from_bytes(data[start:start + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def xchacha20_poly1305(key, nonce, aad, body, seal):
    """Returns (other body, tag): the sealed body where `seal`, else the opened one."""
    key, nonce = hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]
    other = chacha20(key, 1, nonce, body)
    sealed = other if seal else body
    padded = b"".join(part + bytes(-len(part) % 16) for part in (aad, sealed))
    once = chacha20(key, 0, nonce, bytes(32))
    return other, poly1305(once, padded + struct.pack("<QQ", len(aad), len(sealed)))


def hkdf_sha256(secret, info):
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


# ---- The messages, as docs/protocol.md draws them ----

class Refused(Exception):
    """Stage and error, as the vectors name them."""


def parse(message):
    if len(message) != 184:
        raise Refused("parse", "length")
    magic, version, kind, key_id, counter = struct.unpack(">4sBBHQ", message[:16])
    for fine, error in ((magic == b"NATf", "magic"), (version == 1, "version"), (1 <= kind <= 6, "kind")):
        if not fine:
            raise Refused("parse", error)
    return kind, key_id, counter, message[16:40], message[40:168], message[168:]


def open_sealed(keys, message):
    kind, _, _, nonce, sealed, tag = parse(message)
    key = keys["to_router" if kind in (1, 3) else "to_end"]
    body, expected = xchacha20_poly1305(key, nonce, message[:16], sealed, seal=False)
    if not hmac.compare_digest(tag, expected):
        raise Refused("open", "forged")
    return body


def address(raw):
    return str(ipaddress.IPv4Address(raw))


def check_field(fine):
    if not fine:
        raise Refused("body", "field")


def host_name(length, padded):
    name = padded[:length]
    allowed = b"abcdefghijklmnopqrstuvwxyz0123456789-_."
    well_formed = 1 <= length <= 64 and all(byte in allowed for byte in name.lower())
    if not well_formed or not all(name.split(b".")):
        raise Refused("body", "host_name")
    return name.decode().lower()


def mapping_request(body):
    transaction, g1, s, d, g2, protocol, _, length, _ = struct.unpack(">Q4sHH4sBBBB", body[:24])
    check_field(protocol in (6, 17) and s and d)
    return {"transaction": f"{transaction:016x}", "source_address": address(g1), "source_port": s,
            "destination_port": d, "dialled_address": address(g2), "protocol": protocol,
            "host": host_name(length, body[24:88])}


def mapping_response(body):
    transaction, result, kind, pending, lifetime, seen, g2, m, s, d, protocol = struct.unpack(
        ">QBBHI4s4sHHHB", body[:31])
    check_field(protocol in (6, 17))
    # Reasons that this version does not know all mean "refused".
    fields = {"transaction": f"{transaction:016x}", "result": result if result <= 8 else 255,
              "observed_address": address(seen), "source_port": s, "destination_port": d, "protocol": protocol}
    if result == 0:
        check_field(kind in (1, 2, 3) and g2 != bytes(4) and m)
        fields |= {"kind": kind, "pending_lifetime": pending, "lifetime": lifetime,
                   "mapped_address": address(g2), "mapped_port": m}
    return fields


def end(body):
    transaction, g1, s, m, g2, protocol, ended = struct.unpack(">Q4sHH4sBB", body[:22])
    check_field(protocol in (6, 17))
    return {"transaction": f"{transaction:016x}", "source_address": address(g1), "source_port": s,
            "mapped_port": m, "mapped_address": address(g2), "protocol": protocol, "ended": ended == 1}


def stale(body):
    transaction, floor = struct.unpack(">QQ", body[:16])
    return {"transaction": f"{transaction:016x}", "floor": f"{floor:016x}"}


def cookie(body):
    return {"transaction": body[:8].hex(), "cookie": body[8:32].hex()}


READERS = {1: mapping_request, 2: mapping_response, 3: end, 4: end, 5: stale, 6: cookie}


def parse_notice(message):
    if len(message) != 128:
        raise Refused("parse", "length")
    magic, version, kind, key_id, counter = struct.unpack(">4sBBHQ", message[:16])
    for fine, error in ((magic == b"NATf", "magic"), (version == 1, "version"), (kind in (7, 8), "kind")):
        if not fine:
            raise Refused("parse", error)
    return kind, key_id, counter, message[16:88], message[88:112], message[112:]


def open_notice(keys, message):
    kind, _, _, sealed, nonce, tag = parse_notice(message)
    body, expected = xchacha20_poly1305(keys["to_router" if kind == 7 else "to_end"], nonce, message[:16], sealed, seal=False)
    if not hmac.compare_digest(tag, expected):
        raise Refused("open", "forged")
    return kind, body


def notice(kind, body):
    tsn_type, number, outcome, origin = struct.unpack(">BHB4s", body[:8])
    check_field(tsn_type == {7: 1, 8: 2}[kind])
    fields = {"type": tsn_type, "id": number, "origin": address(origin)}
    if kind == 7:
        length = (body[8:] + b"\0").index(0)
        if any(body[8 + length:]):
            raise Refused("body", "host_name")
        return fields | {"host": host_name(length, body[8:])}
    floor, lifetime = struct.unpack(">QI", body[8:20])
    return fields | {"outcome": outcome, "floor": f"{floor:016x}", "lifetime": lifetime}


def fnv1a(name):
    value = 0x811C9DC5
    for byte in name.rstrip(".").lower().encode():
        value = (value ^ byte) * 0x01000193 & MASK
    return value


# ---- The checks ----

def same(name, what, found, wanted):
    if found != wanted:
        raise SystemExit(f"{name}: {what} is\n  {found}\nand not\n  {wanted}")


def check_message(keys, vector):
    name, message = vector["name"], bytes.fromhex(vector["message"])
    kind, key_id, counter, nonce, sealed, tag = parse(message)
    same(name, "header", (kind, key_id, f"{counter:016x}"), (vector["kind"], vector["key_id"], vector["counter"]))
    if key_id == 0:
        same(name, "cookie", nonce.hex(), vector["cookie"])
        same(name, "tag", tag, bytes(16))
        body = sealed
    else:
        try:
            body = open_sealed(keys, message)
        except Refused as refused:
            raise SystemExit(f"{name}: refused, {refused.args}") from None
        again = xchacha20_poly1305(keys[vector["direction"]], nonce, message[:16], body, seal=True)
        same(name, "sealed body and tag", again, (sealed, tag))
    same(name, "body", body.hex(), vector["body"])
    check_body(name, kind, body, vector["fields"])


def check_body(name, kind, body, wanted):
    fields = READERS[kind](body)
    same(name, "fields", {field: fields[field] for field in wanted}, wanted)


def check_refused(keys, vector):
    try:
        message = bytes.fromhex(vector["message"])
        kind = parse(message)[0]
        READERS[kind](open_sealed(keys, message))
    except Refused as refused:
        same(vector["name"], "refusal", refused.args, (vector["stage"], vector["error"]))
    else:
        raise SystemExit(f"{vector['name']}: accepted")


def check_notices(keys, vectors):
    for vector in vectors["notices"]:
        name, message = vector["name"], bytes.fromhex(vector["message"])
        kind, key_id, counter, sealed, nonce, tag = parse_notice(message)
        same(name, "header", (kind, key_id, f"{counter:016x}"), (vector["kind"], vector["key_id"], vector["counter"]))
        body = open_notice(keys, message)[1]
        again = xchacha20_poly1305(keys["to_router" if kind == 7 else "to_end"], nonce, message[:16], body, seal=True)
        same(name, "sealed body and tag", again, (sealed, tag))
        same(name, "body", body.hex(), vector["body"])
        fields = notice(kind, body)
        same(name, "fields", {field: fields[field] for field in vector["fields"]}, vector["fields"])
    for vector in vectors["refused"]:
        try:
            notice(*open_notice(keys, bytes.fromhex(vector["message"])))
        except Refused as refused:
            same(vector["name"], "refusal", refused.args, (vector["stage"], vector["error"]))
        else:
            raise SystemExit(f"{vector['name']}: accepted")


def check_ciphers():
    """The examples of draft-irtf-cfrg-xchacha-03, 2.2.1 and RFC 8439, 2.5.2."""
    same("HChaCha20", "subkey", hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")).hex(),
         "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")
    key = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    same("Poly1305", "tag", poly1305(key, b"Cryptographic Forum Research Group").hex(),
         "a8061dc1305136c6c22b8baf0c0127a9")


def main():
    check_ciphers()
    vectors = json.loads((HERE / "natf-1.json").read_text())
    enrolled, key_id = bytes.fromhex(vectors["enrolled_key"]), struct.pack(">H", vectors["key_id"])
    keys = {way: hkdf_sha256(enrolled, b"NAT-f 1 " + label + key_id)
            for way, label in (("to_router", b"to router"), ("to_end", b"to end"))}
    same("keys", "derived", {way: key.hex() for way, key in keys.items()}, vectors["derived"])
    for vector in vectors["messages"]:
        check_message(keys, vector)
    for vector in vectors["tolerated"]:
        check_body(vector["name"], vector["kind"], bytes.fromhex(vector["body"]), vector["fields"])
    for vector in vectors["refused"]:
        check_refused(keys, vector)
    notices = json.loads((HERE / "tsn-1.json").read_text())
    check_notices(keys, notices)
    addresses = json.loads((HERE / "virtual-addresses.json").read_text())["first_candidates"]
    for vector in addresses:
        c, d = (1 + fnv1a(vector[part]) % 254 for part in ("domain", "host"))
        same(f"{vector['host']}.{vector['domain']}", "virtual address", f"240.0.{c}.{d}", vector["virtual"])
    counts = [len(vectors[part]) for part in ("messages", "tolerated", "refused")]
    counts[2] += len(notices["refused"])
    print(f"vectors: {counts[0]} messages, {len(notices['notices'])} notices, {counts[1]} tolerated, {counts[2]} refused, {len(addresses)} virtual addresses")


if __name__ == "__main__":
    sys.exit(main())
