#!/usr/bin/env python3
"""Turns a translation (.po, as gettext's tools write it) into LuCI's form of it (.lmo), as the SDK's po2lmo does.

    po2lmo.py INPUT.po OUTPUT.lmo       writes no file if nothing is translated

     0 ┌──────────────────────────────┐
       │ text, padded to 4 bytes      │  for each translated message
       │ …                            │
     n ├──────────────────────────────┤
       │ key    hash of the message   │  for each of them, sorted by key; 32 bits each, big-endian
       │ forms  number of plural forms│  key 0, forms 0: the rule of plurals
       │ offset, length of the text   │
       │ …                            │
       ├──────────────────────────────┤
       │ n                            │
       └──────────────────────────────┘

The key is Paul Hsieh's SuperFastHash of [context \\1] message [\\2 plural form]; LuCI looks messages up by it alone.
"""

import os
import re
import struct
import sys

LINE = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d+)\])?\s*)?"((?:[^"\\]|\\.)*)"$')
MASK = 0xFFFFFFFF


class Wrong(Exception):
    """What cannot be read or written; the text names file and line."""


def super_fast_hash(data, seed=None):
    """The 32-bit hash of some bytes; seeded by their number, as LuCI does it."""
    if not data:
        return 0
    value = len(data) if seed is None else seed
    whole, rest = len(data) & ~3, len(data) & 3
    for low, high in struct.iter_unpack("<HH", data[:whole]):
        value = (value + low) & MASK
        value = ((value << 16) ^ (high << 11) ^ value) & MASK
        value = (value + (value >> 11)) & MASK
    tail = data[whole:]
    if rest >= 2:
        value = (value + int.from_bytes(tail[:2], "little")) & MASK
        if rest == 3:
            value ^= (value << 16) & MASK
            value ^= (_signed(tail[2]) << 18) & MASK
            value = (value + (value >> 11)) & MASK
        else:
            value ^= (value << 11) & MASK
            value = (value + (value >> 17)) & MASK
    elif rest == 1:
        value = (value + _signed(tail[0])) & MASK
        value ^= (value << 10) & MASK
        value = (value + (value >> 1)) & MASK
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value ^= (value << left) & MASK
        value = (value + (value >> right)) & MASK
    return value


def _signed(byte):
    return byte - 256 if byte > 127 else byte


def messages(text, name):
    """The messages of a .po file, each as {"msgctxt": …, "msgid": …, "msgid_plural": …, "msgstr": {form: text}}."""
    message, field, form = {}, None, 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = LINE.match(line)
        if not found or (found[1] is None and field is None):
            raise Wrong(f"{name}:{number}: '{line}' is no part of a message; expected msgctxt, msgid, msgid_plural or msgstr \"text\"")
        if found[1]:
            # A message begins with its context, or its id if it has none.
            if "msgstr" in message and found[1] in ("msgctxt", "msgid"):
                yield message
                message = {}
            field, form = found[1], int(found[2] or 0)
            if field == "msgstr":
                message.setdefault("msgstr", {})[form] = ""
            else:
                message[field] = ""
        # LuCI knows two escapes; others stay as they are.
        piece = re.sub(r'\\(["\\])', r"\1", found[3])
        if field == "msgstr":
            message["msgstr"][form] += piece
        else:
            message[field] += piece
    if "msgstr" in message:
        yield message


def entries(parsed):
    """What an archive has: (key, forms, text), in the order of the file."""
    for message in parsed:
        forms = message["msgstr"]
        if not message["msgid"]:
            plural = re.search(r"(?:^|\\n)Plural-Forms: (.*?)\\n", forms.get(0, ""), re.IGNORECASE)
            if plural:
                yield 0, 0, plural[1].encode()
            continue
        if not forms.get(0):
            continue
        for form, text in sorted(forms.items()):
            key = message["msgid"]
            if "msgctxt" in message:
                key = f"{message['msgctxt']}\x01{key}"
            if "msgid_plural" in message:
                key = f"{key}\x02{form}"
            # What is the same in both languages is found without an archive.
            if text and super_fast_hash(key.encode()) != super_fast_hash(text.encode()):
                yield super_fast_hash(key.encode()), max(forms) + 1, text.encode()


def archive(rows, name):
    """The bytes of an .lmo file; none if there are no rows."""
    texts, index = b"", {}
    for key, forms, text in rows:
        if key in index:
            raise Wrong(f"{name}: '{text.decode()}' belongs to a message that is there twice, or to two messages of one hash, {key:08x}")
        index[key] = struct.pack(">IIII", key, forms, len(texts), len(text))
        texts += text + bytes(-len(text) % 4)
    if not texts:
        return b""
    return texts + b"".join(row for _, row in sorted(index.items())) + struct.pack(">I", len(texts))


def main(source, target):
    with open(source, encoding="utf-8") as file:
        data = archive(entries(messages(file.read(), source)), source)
    if data:
        with open(target, "wb") as file:
            file.write(data)
    elif os.path.exists(target):
        os.remove(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: po2lmo.py INPUT.po OUTPUT.lmo")
    try:
        main(*sys.argv[1:])
    except (OSError, UnicodeDecodeError, Wrong) as error:
        sys.exit(f"po2lmo: {error}")
