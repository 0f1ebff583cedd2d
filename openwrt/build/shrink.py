#!/usr/bin/env python3
"""Cuts from ELF programs what is never loaded: .pdr of MIPS (10 % of the file, which strip leaves), .comment, the table of sections.

    shrink.py PROGRAM...        in place

The kernel loads by program headers alone. OpenWrt's own build drops the same sections.
"""

import struct
import sys


def shrink(path):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if data[:4] != b"\x7fELF" or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise SystemExit(f"shrink: '{path}' is no ELF file")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    # Offsets in the file's header: e_phoff, e_shoff, e_phentsize; then e_phnum, e_shentsize, e_shnum, e_shstrndx follow.
    word, phoff, shoff, phentsize = ("Q", 32, 40, 54) if wide else ("I", 28, 32, 42)
    (table,) = struct.unpack_from(order + word, data, phoff)
    entry, count = struct.unpack_from(order + "HH", data, phentsize)
    end = table + entry * count
    for number in range(count):
        header = table + entry * number
        # p_offset, p_filesz
        (offset,) = struct.unpack_from(order + word, data, header + (8 if wide else 4))
        (size,) = struct.unpack_from(order + word, data, header + (32 if wide else 16))
        (kind,) = struct.unpack_from(order + "I", data, header)
        # PT_LOAD; what else there is lies inside of one.
        if kind == 1:
            end = max(end, offset + size)
    struct.pack_into(order + word, data, shoff, 0)
    # Another size of entries than the standard's, or a zero, confuses readers less than a table that is not there.
    struct.pack_into(order + "HH", data, phentsize + 6, 0, 0)
    with open(path, "wb") as file:
        file.write(data[:end])


if __name__ == "__main__":
    for program in sys.argv[1:]:
        shrink(program)
